"""Files of an atlas: safe paths, writes that are complete or absent, hashes, disk errors in one line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from synesthete._core.user_files import ANY_SIZE, FileInside, leads_out, open_file
from synesthete.errors import SynestheteError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of a file, as listed in a manifest."""

    bytes: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """The entry as JSON writes it."""
        return {"bytes": self.bytes, "sha256": self.sha256}


@contextlib.contextmanager
def disk_errors(path: Path, *, hint: str = "") -> Iterator[None]:
    """Turn an `OSError` of a write into a one-line `SynestheteError` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "free some space, then run the same command again; finished work is kept"
            raise SynestheteError(f"disk full while writing {path}", hint=hint or advice) from error
        reason = error.strerror or str(error)
        raise SynestheteError(f"cannot write {path}: {reason}", hint=hint) from error


def inside(root: Path, relative: str) -> FileInside:
    """Path of a file named by a manifest, which must lie under `root`.

    Raises
    ------
    SynestheteError
        If the name is absolute, climbs out with `..`, or leaves the folder through a link.

    Examples
    --------
    >>> inside(Path("/tmp"), "../etc/passwd")
    Traceback (most recent call last):
    synesthete.errors.SynestheteError: the file name '../etc/passwd' leads out of /tmp
    """
    pure = PurePosixPath(relative)
    clean = bool(relative) and "\\" not in relative and "\0" not in relative
    if clean and not pure.is_absolute() and ".." not in pure.parts and str(pure) == relative:
        path = FileInside.of(root, root.joinpath(*pure.parts))
        if not leads_out(root, path):
            return path
    raise SynestheteError(f"the file name {relative!r} leads out of {root}")


def open_to_write(path: Path) -> BinaryIO:
    """Open a file for writing, emptied; raises `OSError` where a link or a pipe is in its place."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def sync_folder(path: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes | Iterable[bytes], *, sync: bool = True) -> FileEntry:
    """Write a file so that it is there completely or not at all (temporary file, fsync, rename).

    Parameters
    ----------
    path
        Where it goes; folders on the way are made.
    data
        The content, whole or in pieces (streamed, so memory stays bounded).
    sync
        Whether to make the rename itself survive a power cut; whoever writes many files does it
        once per folder, with `sync_folder`.

    Raises
    ------
    SynestheteError
        When the disk is full or the place cannot be written; nothing half-written stays.
    """
    pieces = [data] if isinstance(data, bytes) else data
    with disk_errors(path), _staged(path, pieces) as (temporary, entry):
        temporary.replace(path)
        if sync:
            sync_folder(path.parent)
    return entry


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files that belong together: a reader who finds the last of them finds all, of one writing.

    All are written aside; then the old last one is removed, the others take their places, and the new last one comes in. Killed
    in between, there is no last one: run the same again.

    Parameters
    ----------
    folder
        Where they go; made when it does not exist.
    contents
        Name → content; the last is what readers look for.

    Raises
    ------
    SynestheteError
        When the disk is full or the place cannot be written; then the files are as they were.
    """
    *_, last = contents
    with disk_errors(folder), contextlib.ExitStack() as stack:
        staged = {
            folder / name: stack.enter_context(_staged(folder / name, [data]))[0]
            for name, data in contents.items()
        }
        (folder / last).unlink(missing_ok=True)
        for path, temporary in staged.items():
            if path.name == last:
                sync_folder(folder)
            temporary.replace(path)
        sync_folder(folder)


@contextlib.contextmanager
def _staged(path: Path, pieces: Iterable[bytes]) -> Iterator[tuple[Path, FileEntry]]:
    """A file written beside its place, on the disk; gone at the end unless it was moved."""
    temporary = path.with_name(f".{path.name}.tmp")
    digest, size = hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open_to_write(temporary) as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        yield temporary, FileEntry(size, digest.hexdigest())
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def lock_alone(descriptor: int, path: Path) -> bool:
    """Lock an open file or folder for this process alone, at once or not at all; the system frees it when the process ends.

    Returns
    -------
    bool
        False when another holds it, or the one who held it has moved or removed the file at `path` since.

    Raises
    ------
    OSError
        The file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


class DraftInUse(SynestheteError):
    """Another process prepares something in the folder of a draft."""


@contextlib.contextmanager
def claim_draft(draft: Path) -> Iterator[Path]:
    """An empty folder to prepare something in, held by this process alone; gone at the end unless it was moved.

    What a killed process left in it is removed.

    Raises
    ------
    DraftInUse
        When another process holds it.
    SynestheteError
        When it cannot be written, or is a link.
    """
    with disk_errors(draft), contextlib.ExitStack() as stack:
        draft.mkdir(parents=True, exist_ok=True)
        in_use = DraftInUse(f"another process is writing {draft}", hint="wait until it ends")
        try:
            # Not what a link leads to: everything in it is removed.
            descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise in_use from None
        stack.callback(os.close, descriptor)
        if not lock_alone(descriptor, draft):
            raise in_use
        stack.callback(shutil.rmtree, draft, ignore_errors=True)
        for entry in draft.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        yield draft


def entry_of(data: bytes) -> FileEntry:
    """The entry of a file with this content."""
    return FileEntry(len(data), hashlib.sha256(data).hexdigest())


def entry_of_file(path: Path) -> FileEntry:
    """The entry of a file on disk, read in blocks."""
    digest, size = hashlib.sha256(), 0
    with open_file(path, max_bytes=ANY_SIZE) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return FileEntry(size, digest.hexdigest())


def difference(root: Path, relative: str, listed: FileEntry, *, hashes: bool) -> str:
    """What differs between a file and its entry, in words; empty when nothing does.

    Parameters
    ----------
    root, relative, listed
        The folder, the file's name in it and what the manifest says of it.
    hashes
        Read the whole file and compare its hash; otherwise only presence and size.
    """
    path = inside(root, relative)
    if not path.is_file():
        return f"{relative} is missing"
    size = path.stat().st_size
    if size != listed.bytes:
        return f"{relative} has {size:,} bytes instead of {listed.bytes:,}"
    if hashes and entry_of_file(path).sha256 != listed.sha256:
        return f"{relative} has other content than when it was written (SHA-256 differs)"
    return ""
