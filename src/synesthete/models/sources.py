"""Where a model's configuration and weights come from, and every way in which they can be missing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synesthete.errors import SynestheteError, near

MINI = Path(__file__).parent / "mini"
PICKLE_VARIABLE = "SYNESTHETE_ALLOW_PICKLE"
FORMS = "mini, ARCHITECTURE/TAG, hf-hub:ORG/NAME or local-dir:PATH"
CONFIGURATION = "open_clip_config.json"
SAFE_WEIGHTS = ("open_clip_model.safetensors", "model.safetensors")
PICKLED_WEIGHTS = ("open_clip_pytorch_model.bin", "pytorch_model.bin")
PICKLE_SUFFIXES = (".bin", ".pth", ".pt")


@dataclass(frozen=True)
class Source:
    """A model found: enough to build it, fill it and read texts with it.

    Attributes
    ----------
    spec
        What the user asked for.
    open_clip_name
        What open_clip's factory calls it.
    tokenizer_name
        What open_clip's tokenizer factory calls it.
    config
        open_clip's `model_cfg`.
    checkpoint
        File of weights; None for random ones.
    seed
        Of random weights.
    quick_gelu
        The weights were trained with QuickGELU although the architecture's name does not say so.
    preprocess
        Preprocessing that goes with the weights.
    architecture, pretrained
        For the description.
    """

    spec: str
    open_clip_name: str
    tokenizer_name: str
    config: dict[str, Any]
    checkpoint: Path | None
    architecture: str
    pretrained: str
    seed: int = 0
    quick_gelu: bool = False
    preprocess: dict[str, Any] = field(default_factory=dict)


def resolve(spec: str, *, allow_pickle: bool | None = None) -> Source:
    """Find configuration and weights of `spec`, fetching them from the hub where needed.

    Raises
    ------
    SynestheteError
        If there is no such model, or its files are missing, damaged, pickled or out of reach.
    """
    pickled = _pickle_allowed() if allow_pickle is None else allow_pickle
    if spec == "mini":
        if not (MINI / CONFIGURATION).is_file():
            raise SynestheteError(
                "the shipped model mini is missing from this installation",
                hint="install the package again, or name another model: " + FORMS,
            )
        return _from_folder(spec, MINI, "mini", pickled=False)
    if spec.startswith("local-dir:"):
        folder = Path(spec.removeprefix("local-dir:")).expanduser()
        return _from_folder(spec, folder, folder.name, pickled=pickled)
    if spec.startswith("hf-hub:"):
        return _from_hub(spec, spec.removeprefix("hf-hub:"), pickled=pickled)
    return _from_open_clip(spec, pickled=pickled)


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception's message on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _pickle_allowed() -> bool:
    return os.environ.get(PICKLE_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def _refuse_pickle(what: str) -> SynestheteError:
    return SynestheteError(
        f"{what} holds weights as a pickle only, which can run code of whoever made it",
        hint=f"if you trust it, set {PICKLE_VARIABLE}=1 or pass allow_pickle=True",
    )


def _from_folder(spec: str, folder: Path, pretrained: str, *, pickled: bool) -> Source:
    """A folder with `open_clip_config.json` and weights beside it."""
    if not folder.is_dir():
        raise SynestheteError(f"{spec}: there is no such folder", hint="check the path")
    config = _configuration(folder / CONFIGURATION, spec)
    name = f"local-dir:{folder}"
    return Source(
        spec=spec,
        open_clip_name=name,
        tokenizer_name=name,
        config=config,
        checkpoint=_weights_in(folder, spec, pickled=pickled),
        architecture=_shape(config),
        pretrained=pretrained,
    )


def _configuration(path: Path, spec: str) -> dict[str, Any]:
    damaged = f"{spec}: {path.name} "
    hint = "expected what open_clip saves: model_cfg with embed_dim, vision_cfg and text_cfg"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SynestheteError(damaged + "is missing", hint=hint) from error
    except (OSError, ValueError) as error:
        raise SynestheteError(f"{damaged}is damaged: {one_line(error)}", hint=hint) from error
    config = found.get("model_cfg") if isinstance(found, dict) else None
    if not isinstance(config, dict):
        raise SynestheteError(damaged + "has no model_cfg", hint=hint)
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if missing:
        raise SynestheteError(f"{damaged}lacks {', '.join(missing)}", hint=hint)
    return config


def _weights_in(folder: Path, spec: str, *, pickled: bool) -> Path:
    """The folder's weights: safetensors first, whatever else lies there."""

    def rank(path: Path) -> tuple[int, str]:
        known = SAFE_WEIGHTS + PICKLED_WEIGHTS
        return known.index(path.name) if path.name in known else len(known), path.name

    files = sorted((path for path in folder.iterdir() if path.is_file()), key=rank)
    for path in files:
        if path.suffix == ".safetensors":
            return path
    for path in files:
        if path.suffix in PICKLE_SUFFIXES:
            if pickled:
                return path
            raise _refuse_pickle(spec)
    raise SynestheteError(
        f"{spec}: there are no weights in the folder", hint=f"expected {SAFE_WEIGHTS[0]}"
    )


def _from_hub(spec: str, repository: str, *, pickled: bool) -> Source:
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise SynestheteError(
            f"{spec!r} names no model of the hub", hint="expected hf-hub:ORG/NAME"
        )
    folder = _fetch(spec, repository, CONFIGURATION).parent
    config = _configuration(folder / CONFIGURATION, spec)
    return Source(
        spec=spec,
        # The hub's cache holds the configuration in a folder that open_clip takes as it is.
        open_clip_name=f"local-dir:{folder}",
        tokenizer_name=spec,
        config=config,
        checkpoint=_fetch_weights(spec, repository, "", pickled=pickled),
        architecture=_shape(config),
        pretrained=repository,
    )


def _from_open_clip(spec: str, *, pickled: bool) -> Source:
    """One of open_clip's architectures, with pretrained or random weights."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    path, _, tag = spec.rpartition("/")
    # open_clip itself accepts "ViT-B/32" for "ViT-B-32".
    architecture = path.replace("/", "-")
    config = open_clip.get_model_config(architecture) if architecture else None
    if config is None:
        raise _no_such_model(spec)
    common: dict[str, Any] = {
        "spec": spec,
        "open_clip_name": architecture,
        "tokenizer_name": architecture,
        "config": config,
        "architecture": architecture,
        "pretrained": tag,
    }
    word, _, seed = tag.partition(":")
    if word == "random":
        if seed and not seed.isdecimal():
            raise SynestheteError(f"{spec!r}: the seed {seed!r} is no number", hint="random:0")
        return Source(**common, checkpoint=None, seed=int(seed or 0))
    settings = get_pretrained_cfg(architecture, tag)
    if not settings:
        tags = [*open_clip.list_pretrained_tags_by_model(architecture), "random"]
        hint = "; ".join(filter(None, [near(tag, tags), "it has " + ", ".join(tags)]))
        raise SynestheteError(f"open_clip has no weights {tag!r} for {architecture}", hint=hint)
    repository, _, filename = str(settings.get("hf_hub", "")).rpartition("/")
    return Source(
        **common,
        checkpoint=_fetch_weights(
            spec, repository, filename, pickled=pickled, url=str(settings.get("url", ""))
        ),
        quick_gelu=bool(settings.get("quick_gelu", False)),
        preprocess={
            key: settings[key]
            for key in ("mean", "std", "interpolation", "resize_mode", "fill_color")
            if key in settings
        },
    )


def _no_such_model(spec: str) -> SynestheteError:
    import open_clip

    known = ["mini", *(f"{name}/{tag}" for name, tag in open_clip.list_pretrained())]
    with_tags = [name for name in known if name.lower().startswith(spec.lower() + "/")]
    if with_tags or spec in open_clip.list_models():
        choice = ", ".join([*with_tags, f"{spec}/random"])
        return SynestheteError(f"{spec!r} names no weights", hint="expected " + choice)
    if Path(spec).expanduser().is_dir():
        return SynestheteError(f"no such model {spec!r}", hint=f"a folder is local-dir:{spec}")
    parts = [near(spec, known), f"expected {FORMS}", "`synesthete models list` names them all"]
    return SynestheteError(f"no such model {spec!r}", hint="; ".join(filter(None, parts)))


def _fetch_weights(
    spec: str, repository: str, filename: str, *, pickled: bool, url: str = ""
) -> Path:
    """Weights from the hub's cache or the hub: safetensors if there are, else only with leave."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    safe = str(Path(filename).with_suffix(".safetensors")) if filename else SAFE_WEIGHTS[0]
    pickles = (filename,) if filename and filename != safe else PICKLED_WEIGHTS[:1]
    for candidate in (safe, *(pickles if pickled else ())) if repository else ():
        try:
            return _fetch(spec, repository, candidate)
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
            raise _unreachable(spec, error) from error
    if pickled:
        raise SynestheteError(f"{spec} has no weights on the hub that could be loaded")
    raise _refuse_pickle(spec)


def _fetch(spec: str, repository: str, filename: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(repository, filename))
    except RemoteEntryNotFoundError as error:
        raise SynestheteError(
            f"{spec}: the hub's {repository} has no file {filename}",
            hint="it is no model that open_clip can load",
        ) from error
    except GatedRepoError as error:
        raise SynestheteError(
            f"{spec}: {repository} is gated", hint="ask for access on the hub and log in"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise SynestheteError(
            f"{spec}: the hub has no model {repository}", hint="check the name, or log in"
        ) from error
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise _unreachable(spec, error) from error
    except Exception as error:
        raise _unreachable(spec, error) from error


def _unreachable(spec: str, error: BaseException) -> SynestheteError:
    offline = os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")
    reason = "HF_HUB_OFFLINE forbids it" if offline else one_line(error, 160)
    return SynestheteError(
        f"{spec} is not on this machine and could not be downloaded: {reason}",
        hint="connect once to fetch it, or copy its folder here and name it local-dir:PATH"
        + ("; or unset HF_HUB_OFFLINE" if offline else ""),
    )


def _shape(config: dict[str, Any]) -> str:
    """A few words for an architecture that has no name."""
    vision = config["vision_cfg"] if isinstance(config["vision_cfg"], dict) else {}
    if vision.get("timm_model_name"):
        return str(vision["timm_model_name"])
    layers, width = vision.get("layers"), vision.get("width")
    if isinstance(layers, list):
        return f"ModifiedResNet {'-'.join(map(str, layers))} width {width}"
    return f"VisionTransformer {layers} layers width {width} patch {vision.get('patch_size')}"
