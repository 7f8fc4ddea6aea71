"""Files that a user's folder holds: opened only if they are regular files inside that folder, and of bounded size."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from synesthete.errors import SynestheteError

MAX_BYTES = 512 * 1024 * 1024
ANY_SIZE = sys.maxsize  # for what is read piece by piece, or mapped


class UnusableFile(SynestheteError):
    """A file that is missing, leads out of its folder, is not a regular file, or is too large.

    Attributes
    ----------
    reason
        The message without the name of the file.
    """

    reason = ""

    @classmethod
    def of(cls, path: Path, reason: str, hint: str = "") -> UnusableFile:
        """The error for a file."""
        message = reason if reason.startswith("cannot") else f"cannot be read: {reason}"
        created = cls(f"{_shown(path.name or str(path))} {message}", hint=hint)
        created.reason = reason
        return created


class FileInside(type(Path())):  # type: ignore[misc]
    """The path of a file that was found or named in a folder, and may be read only from within it.

    Attributes
    ----------
    folder
        The folder; links are followed as long as they lead to a place inside it.

    Examples
    --------
    >>> path = FileInside.of(Path("/photos"), Path("/photos/a.png"))
    >>> path == Path("/photos/a.png"), path.folder
    (True, PosixPath('/photos'))
    """

    folder: Path

    @classmethod
    def of(cls, folder: Path, path: Path) -> FileInside:
        """A path under `folder`."""
        created = cls(path)
        created.folder = folder
        return created

    def __reduce__(self) -> tuple[Any, ...]:
        return FileInside.of, (self.folder, Path(self))


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
    synesthete._core.user_files.UnusableFile: '..' cannot be read: it leads out of the folder (copy the file into the folder)
    """
    try:
        base, real = root.resolve(strict=True), path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unusable(path, error) from None
    if not real.is_relative_to(base):
        raise UnusableFile.of(path, "it leads out of the folder", "copy the file into the folder")
    return real


def leads_out(root: Path, path: Path) -> bool:
    """Whether a path, links followed, lies outside `root`; there need not be anything there.

    Examples
    --------
    >>> leads_out(Path("/tmp"), Path("/tmp/../etc")), leads_out(Path("/tmp"), Path("/tmp/none"))
    (True, False)
    """
    try:
        return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    except (OSError, ValueError):
        return True


def relative_name(name: str) -> str:
    r"""The name of a file as a table gives it, relative to a folder; Windows' separators count as `/`.

    Whether a link leads out of the folder is not looked at here; `open_inside` does that when the file is read.

    Raises
    ------
    UnusableFile
        NUL, an address on the web, an absolute path, `..`, nothing.

    Examples
    --------
    >>> relative_name("a\\b.png")
    'a/b.png'
    >>> relative_name("../a.png")
    Traceback (most recent call last):
    ...
    synesthete._core.user_files.UnusableFile: '../a.png' leads out of the folder
    """
    shown = _shown(name)
    if "\0" in name or "://" in name:
        raise UnusableFile(
            f"{shown} is not a file name: images on the web are never fetched",
            hint="download the images and give their paths",
        )
    windows = PureWindowsPath(name)
    if windows.drive or windows.root or PurePosixPath(name).is_absolute():
        raise UnusableFile(f"{shown} is an absolute path", hint="give it relative to the folder")
    # Windows writes a\b.png; the file name a\b.png does not occur anywhere in practice.
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or not parts:
        raise UnusableFile(f"{shown} leads out of the folder")
    return "/".join(parts)


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


def open_file(path: Path, *, max_bytes: int = MAX_BYTES) -> BinaryIO:
    """Open a `FileInside` from within its folder, or a file that the user named; errors as for `open_inside`."""
    if isinstance(path, FileInside):
        return open_inside(path.folder, path, max_bytes=max_bytes)
    return open_named(path, max_bytes=max_bytes)


def read_file(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of what `open_file` opens."""
    with open_file(path, max_bytes=max_bytes) as file:
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
            raise UnusableFile.of(path, "not a regular file", "leave it out")
        if status.st_size > max_bytes:
            raise _too_large(path, status.st_size, max_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _read(file: BinaryIO, path: Path, max_bytes: int) -> bytes:
    try:
        data = file.read(max_bytes + 1 if max_bytes < ANY_SIZE else -1)
    except OSError as error:
        raise _unusable(path, error) from None
    if len(data) > max_bytes:  # it grew
        raise _too_large(path, len(data), max_bytes)
    return data


def decoded(data: bytes, path: Path) -> str:
    """Text of a file's bytes: UTF-8, with or without a byte order mark; line ends as Python has them.

    Raises
    ------
    UnusableFile
        Not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 (byte {error.start})"
        raise UnusableFile.of(path, reason, "save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unusable(path: Path, error: Exception) -> UnusableFile:
    if isinstance(error, FileNotFoundError):
        return UnusableFile.of(path, "no such file", "correct its name or leave it out")
    if isinstance(error, OSError) and error.errno != errno.ELOOP:
        return UnusableFile.of(path, f"cannot be read: {error.strerror or error}")
    reason = getattr(error, "strerror", None) or "a circle of links, or NUL in it"
    return UnusableFile.of(path, f"no usable path ({reason})", "copy the file into the folder")


def _too_large(path: Path, size: int, limit: int) -> UnusableFile:
    def message(count: int) -> str:
        return f"{count >> 20:,} MiB" if limit >= 1 << 20 else f"{count:,} bytes"

    reason = f"a file of {message(size)}, more than the limit of {message(limit)}"
    return UnusableFile.of(path, reason, "make it smaller")


def _shown(name: str) -> str:
    """A file name for messages: without control characters and lone surrogates."""
    return "'" + "".join(one if one.isprintable() else "�" for one in name[:120]) + "'"
