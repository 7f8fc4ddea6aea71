"""One recording into one folder: who may write, what was started, what is complete already."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import read_json
from synesthete.atlas.files import disk_errors, write_file
from synesthete.atlas.manifest import MANIFEST, is_intact, recipe_differences, sealed
from synesthete.atlas.store import open_atlas
from synesthete.errors import SynestheteError

WORK = ".recording"
SESSION = "session.json"
_LOCK = "lock"


class InUse(SynestheteError):
    """Another process is recording into the folder."""


def is_complete(out: Path, recipe: dict[str, Any]) -> bool:
    """Whether `out` already holds the finished atlas of this recipe.

    Raises
    ------
    SynestheteError
        When it holds another atlas, a damaged one, or something that is no atlas.
    """
    if not out.exists():
        return False
    if not out.is_dir():
        raise SynestheteError(f"{out} is a file; an atlas is a folder", hint="name another --out")
    if (out / MANIFEST).exists():
        atlas = open_atlas(out)
        refuse_other(recipe, atlas.manifest["recipe"], f"{out} holds another atlas")
        return True
    names = {entry.name for entry in out.iterdir()}
    if names and WORK not in names:
        shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
        raise SynestheteError(
            f"{out} holds something else ({shown})", hint="name another --out, or a new folder"
        )
    return False


def refuse_other(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], what: str, *, there: str = "the folder"
) -> None:
    """Raise where a recipe is another than that of what is there, with the differences."""
    differences = recipe_differences(ours, theirs)
    if differences:
        message = "; ".join(differences[:4]) + ("; …" if len(differences) > 4 else "")
        raise SynestheteError(f"{what}: {message}", hint=f"name another --out, or delete {there}")


@contextlib.contextmanager
def claim(out: Path, *, shared: bool = False) -> Iterator[Path]:
    """Make the work folder and hold it alone, or together with others who share it; yields its path.

    The system lets go of the claim when the process ends, however it ends. A work folder that was cleared is removed at the end. Who
    shares it waits for whoever holds it alone.

    Raises
    ------
    InUse
        Another process holds it.
    SynestheteError
        It cannot be written, or is on a file system without locks.
    """
    work = out / WORK
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB
    with contextlib.ExitStack() as stack:
        while True:
            with disk_errors(work):
                work.mkdir(parents=True, exist_ok=True)
                # To be read as well: NFS gives no shared lock otherwise.
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                lock = os.open(work / _LOCK, flags, 0o666)
            one = stack.enter_context(contextlib.ExitStack())
            one.callback(os.close, lock)
            try:
                fcntl.flock(lock, how)
            except BlockingIOError as error:
                raise InUse(f"another process is recording into {out}") from error
            except OSError as error:
                raise SynestheteError(f"{work} cannot be locked: {error.strerror}") from error
            # Whoever held it before may have removed it since.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(lock), (work / _LOCK).stat()):
                    break
            one.close()
        try:
            yield work
        finally:
            cleared = {path.name for path in work.iterdir()} <= {_LOCK} if work.is_dir() else False
            if cleared and not shared:
                (work / _LOCK).unlink(missing_ok=True)
                one.close()
                for folder in (work, out):  # the atlas's own only where nothing was written into it
                    with contextlib.suppress(OSError):
                        folder.rmdir()


def started_forward(out: Path) -> tuple[Any, Any] | None:
    """Precision and micro-batch of the atlas or the unfinished recording that a folder holds; None where it holds neither."""
    for path in (out / MANIFEST, out / WORK / SESSION):
        try:
            recipe = read_json(path, root=out)["recipe"]
            return recipe.get("precision", "fp32"), recipe["micro_batch"]
        except (SynestheteError, KeyError, AttributeError, TypeError):
            continue
    return None


def settle(out: Path, work: Path, recipe: dict[str, Any], shard_size: int) -> int:
    """Begin a recording or take up the one that was started; returns the shard size that holds.

    Raises
    ------
    SynestheteError
        When the one that was started has another recipe.
    """
    path = work / SESSION
    there = path.exists()
    try:
        session = read_json(path, root=out)
        started = is_intact(session) and isinstance(session["recipe"], dict)
    except (SynestheteError, KeyError, AttributeError, TypeError):
        started = False
    if not started:
        with disk_errors(path):
            if there:
                path.unlink(missing_ok=True)
            # Of several who begin at once the first one's holds.
            draft = work / f".{SESSION}.{uuid.uuid4().hex}"
            write_file(draft, sealed({"recipe": recipe, "shard_size": shard_size}))
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
        session = read_json(path, root=out)
    refuse_other(recipe, session["recipe"], f"{out} holds an unfinished recording that is another")
    return int(session["shard_size"])


def clear(out: Path) -> None:
    """Remove everything from the work folder but its lock, which goes with the claim."""
    with disk_errors(out / WORK):
        for path in (out / WORK).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()


def clear_leftovers(out: Path) -> None:
    """Remove the work folder that a kill after the manifest's rename left behind."""
    if (out / WORK).is_dir():
        with contextlib.suppress(InUse), claim(out):
            clear(out)
