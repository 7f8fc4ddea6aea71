"""Fetching a model's files from the hub, and the permission that pickled weights need."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from synesthete._core.environment import ALLOW_PICKLE
from synesthete.errors import SynestheteError

SAFE_WEIGHTS = ("open_clip_model.safetensors", "model.safetensors")
PICKLED_WEIGHTS = ("open_clip_pytorch_model.bin", "pytorch_model.bin")
PATIENCE = 3.0
"""Seconds within which the hub has to answer at all."""
_ANSWERED: set[str] = set()


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception's message on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


@contextmanager
def explained(spec: str, what: str, *, hint: str = "") -> Iterator[None]:
    """Say in one line what a library raises: `SPEC cannot WHAT: …`. Errors of our own pass."""
    try:
        yield
    except SynestheteError:
        raise
    except Exception as error:
        raise SynestheteError(f"{spec} cannot {what}: {one_line(error)}", hint=hint) from error


def pickle_allowed() -> bool:
    """Whether the environment says that pickled weights may be loaded."""
    return os.environ.get(ALLOW_PICKLE, "").strip().lower() in ("1", "true", "yes", "on")


def refuse_pickle(what: str) -> SynestheteError:
    """What to raise where there are pickled weights only."""
    return SynestheteError(
        f"{what} holds weights as a pickle only, which can run code of whoever made it",
        hint=f"if you trust it, set {ALLOW_PICKLE}=1 or pass allow_pickle=True",
    )


def fetch_weights(
    spec: str, repository: str, filename: str, *, pickled: bool, url: str = ""
) -> Path:
    """Weights from the hub's cache or the hub: safetensors if there are, else only with leave."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    safe = str(Path(filename).with_suffix(".safetensors")) if filename else SAFE_WEIGHTS[0]
    pickles = (filename,) if filename and filename != safe else PICKLED_WEIGHTS[:1]
    for candidate in (safe, *(pickles if pickled else ())) if repository else ():
        try:
            return fetch(spec, repository, candidate)
        except SynestheteError as error:
            if not isinstance(error.__cause__, RemoteEntryNotFoundError):
                if candidate == safe and pickled:
                    continue
                raise
    if pickled and url:
        from open_clip.pretrained import download_pretrained_from_url

        try:
            return Path(download_pretrained_from_url(url))
        except (OSError, RuntimeError, ValueError) as error:
            raise unreachable(spec, "", one_line(error, 160)) from error
    if pickled:
        raise SynestheteError(f"{spec} has no weights on the hub that could be loaded")
    raise refuse_pickle(spec)


def fetch(spec: str, repository: str, filename: str) -> Path:
    """One file from the hub's cache, or from the hub; the hub is not asked about what is in its cache.

    Raises
    ------
    SynestheteError
        If there is no such file or repository, or the hub is out of reach.
    """
    from huggingface_hub import hf_hub_download

    with _hub_errors(spec, repository, filename):
        if (found := cached(repository, filename)) is not None:
            return found
        _expect_an_answer(spec, repository)
        return Path(hf_hub_download(repository, filename))


def fetch_some(
    spec: str, repository: str, filenames: Sequence[str], revision: str | None = None
) -> Path:
    """The folder with those of `filenames` that a repository has, of its newest revision or of a named one; errors as for `fetch`."""
    from huggingface_hub import snapshot_download

    with _hub_errors(spec, repository, filenames[0]):
        try:
            _expect_an_answer(spec, repository)
        except SynestheteError as error:
            try:
                return Path(snapshot_download(repository, revision=revision, local_files_only=True))
            except FileNotFoundError:
                raise error from None
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(filenames))
        )


def cached(repository: str, filename: str) -> Path | None:
    """One file of the hub's cache on this machine, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, filename)
    return Path(found) if isinstance(found, str) else None


def in_cache(spec: str, repository: str, filename: str) -> Path:
    """One file of the hub's cache on this machine; the hub is not asked.

    Raises
    ------
    SynestheteError
        If it is not there.
    """
    found = cached(repository, filename)
    if found is None:
        raise SynestheteError(
            f"{spec} needs {filename} of {repository}, which is not in the hub's cache",
            hint="a folder never makes anything be fetched: load a model of the hub that uses it once",
        )
    return found


def root_of(folder: Path) -> Path:
    """The folder that a model's files may lie in: its own, or its repository's in the hub's cache.

    In that cache, the files of `models--ORG--NAME/snapshots/REVISION` are links to `models--ORG--NAME/blobs`.

    Examples
    --------
    >>> root_of(Path("/cache/models--org--name/snapshots/0a1b")).as_posix()
    '/cache/models--org--name'
    >>> root_of(Path("/models/mine")).as_posix()
    '/models/mine'
    """
    real = Path(os.path.realpath(folder))
    repository = real.parent.parent
    cached = real.parent.name == "snapshots" and repository.name.startswith("models--")
    return repository if cached else folder


@contextmanager
def _hub_errors(spec: str, repository: str, filename: str) -> Iterator[None]:
    """What the hub's client raises, as one line for the user."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except SynestheteError:
        raise
    except RemoteEntryNotFoundError as error:
        raise SynestheteError(
            f"{spec}: the hub's {repository} has no file {filename}",
            hint="open_clip cannot load it",
        ) from error
    except GatedRepoError as error:
        raise SynestheteError(
            f"{spec}: {repository} is gated", hint="ask for access on the hub and log in"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise SynestheteError(
            f"{spec}: the hub has no model {repository}", hint="check the name, or log in"
        ) from error
    except Exception as error:
        # No disk space, broken connections, time-outs: the client raises what its transport raises.
        if offline():
            raise unreachable(spec, repository, "HF_HUB_OFFLINE forbids it") from error
        raise SynestheteError(
            f"{spec}: the download of {filename} broke off: {one_line(error, 160)}",
            hint="run it again; nothing of a half file is used",
        ) from error


def offline() -> bool:
    """Whether the environment forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _expect_an_answer(spec: str, repository: str) -> None:
    """Refuse at once where the hub does not answer: its client would try again and again for most of a minute."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    endpoint = constants.ENDPOINT
    if offline() or endpoint in _ANSWERED:
        return
    failed: list[str] = ["no answer in time"]

    def ask() -> None:
        # Whatever it answers is an answer, but for a gateway that says that there is nobody behind it.
        try:
            status = get_session().head(endpoint, timeout=PATIENCE).status_code
            failed[:] = [f"it answers {status}"] if status >= 500 else []
        except Exception as error:  # noqa: BLE001 (of the transport, whichever it is)
            failed[:] = [one_line(error, 80)]

    # Looking up a name cannot be given a time limit, but can be left behind.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if failed:
        raise unreachable(spec, repository, f"{endpoint} cannot be reached ({failed[0]})")
    _ANSWERED.add(endpoint)


def unreachable(spec: str, repository: str, reason: str) -> SynestheteError:
    """What to raise where a model cannot be fetched, with all that can be done instead."""
    from huggingface_hub import constants

    architecture = spec.rpartition("/")[0] if ":" not in spec else ""
    if spec.startswith(("timm:", "torchvision:")):
        architecture = spec.partition("/")[0]
    folder = "models--" + repository.replace("/", "--")
    ways = [
        "connect once to fetch it",
        "unset HF_HUB_OFFLINE" if offline() else "set HF_ENDPOINT to a mirror",
        f"copy {folder} from another machine's cache into {constants.HF_HUB_CACHE} (set by HF_HOME)",
    ]
    if not spec.startswith("the "):  # a whole model, and not a part of one
        ways[-1] += ", or the files of its snapshot into a folder and name that local-dir:PATH"
        ways.append(f"meanwhile, {architecture or 'ViT-B-32'}/random has random weights")
    return SynestheteError(
        f"{spec} is not on this machine and could not be downloaded: {reason}",
        hint="; ".join(ways if repository else [ways[0], ways[-1]]),
    )
