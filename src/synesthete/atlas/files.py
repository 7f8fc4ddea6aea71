"""Files of an atlas: safe paths, writes that are complete or absent, hashes, disk errors in one line."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
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
    """Open a file for writing, emptied; raises `OSError` where a link or a pipe lies in its place."""
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
    temporary = path.with_name(f".{path.name}.tmp")
    digest, size = hashlib.sha256(), 0
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_to_write(temporary) as file:
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        if sync:
            sync_folder(path.parent)
    return FileEntry(size, digest.hexdigest())


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
