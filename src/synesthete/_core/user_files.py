"""Files that a user's folder holds: opened only if they are regular files inside that folder, and of bounded size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from synesthete.errors import SynestheteError

MAX_BYTES = 512 * 1024 * 1024


class UnusableFile(SynestheteError):
    """A file that is missing, leads out of its folder, is not a regular file, or is too large."""


def resolve_inside(root: Path, path: Path) -> Path:
    """The real path of a file or folder, links followed, if that lies inside `root`.

    Parameters
    ----------
    root
        The folder that nothing may lie outside of; it may be a link itself.
    path
        A path under `root`, absolute or relative to the working directory.

    Raises
    ------
    UnusableFile
        A path with NUL in it, a circle of links, nothing there, or a place outside `root`.

    Examples
    --------
    >>> here = Path(__file__)
    >>> resolve_inside(here.parent, here) == here.resolve()
    True
    >>> resolve_inside(here.parent, here.parent / "..")
    Traceback (most recent call last):
    ...
    synesthete._core.user_files.UnusableFile: '..' leads out of the folder (copy the file into the folder)
    """
    try:
        base, real = root.resolve(strict=True), path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unusable(path, error) from None
    if not real.is_relative_to(base):
        raise UnusableFile(
            f"{_shown(path)} leads out of the folder", hint="copy the file into the folder"
        )
    return real


def open_inside(root: Path, path: Path, *, max_bytes: int = MAX_BYTES) -> BinaryIO:
    """Open a file of the folder `root` for reading.

    Parameters
    ----------
    root
        As for `resolve_inside`.
    path
        The file, under `root`.
    max_bytes
        Size above which the file is refused.

    Raises
    ------
    UnusableFile
        As for `resolve_inside`; and a folder, device, socket or named pipe, no permission, or too large.
    """
    real = resolve_inside(root, path)
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return _open(path, real, flags, max_bytes)


def open_named(path: Path, *, max_bytes: int = MAX_BYTES) -> BinaryIO:
    """Open a file that the user named directly: a link may lead anywhere, the rest is as for `open_inside`."""
    return _open(path, path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0), max_bytes)


def read_inside(root: Path, path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file of the folder `root`; parameters and errors as for `open_inside`."""
    with open_inside(root, path, max_bytes=max_bytes) as file:
        return _read(file, path, max_bytes)


def read_named(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file that the user named directly; errors as for `open_inside`."""
    with open_named(path, max_bytes=max_bytes) as file:
        return _read(file, path, max_bytes)


def _open(path: Path, real: Path, flags: int, max_bytes: int) -> BinaryIO:
    try:
        descriptor = os.open(real, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None
    try:
        # Of the opened file, not of its name: nothing can be exchanged in between.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableFile(f"{_shown(path)} is not a regular file", hint="leave it out")
        if status.st_size > max_bytes:
            raise _too_large(path, max_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _read(file: BinaryIO, path: Path, max_bytes: int) -> bytes:
    try:
        data = file.read(max_bytes + 1)
    except OSError as error:
        raise _unusable(path, error) from None
    if len(data) > max_bytes:  # it grew
        raise _too_large(path, max_bytes)
    return data


def _unusable(path: Path, error: Exception) -> UnusableFile:
    if isinstance(error, FileNotFoundError):
        return UnusableFile(f"no such file: {_shown(path)}", hint="check the name")
    reason = getattr(error, "strerror", None) or str(error)
    return UnusableFile(f"{_shown(path)} cannot be read: {reason}")


def _too_large(path: Path, max_bytes: int) -> UnusableFile:
    size = f"{max_bytes >> 20:,} MiB" if max_bytes >= 1 << 20 else f"{max_bytes:,} bytes"
    return UnusableFile(f"{_shown(path)} is larger than the limit of {size}")


def _shown(path: Path) -> str:
    """A file name for messages: without control characters and lone surrogates."""
    name = path.name or str(path)
    return "'" + "".join(one if one.isprintable() else "�" for one in name)[:120] + "'"
