"""Folders that a probe set is read from: of this machine, or of an object store by URL."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from synesthete._core.remote_files import check_url, list_files, shown
from synesthete._core.user_files import (
    FileInside,
    UnusableFile,
    leads_out,
    read_inside,
    relative_name,
)
from synesthete.errors import SynestheteError
from synesthete.probes.locations import Located
from synesthete.probes.probe_set import ImageSource
from synesthete.probes.sources import OUTSIDE, FileSource, RemoteSource

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
MAX_TEXT_BYTES = 16 * 1024 * 1024
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


class Folder(Protocol):
    """A folder of files, here or elsewhere."""

    name: str

    def __str__(self) -> str: ...

    def names(self) -> list[str]:
        """The files in it by their paths from here, in an order that does not depend on the disk; those that are hidden left out."""
        ...

    def table(self) -> str:
        """The name of the metadata table in it; empty without one."""
        ...

    def files(self, names: Sequence[str]) -> list[Located]:
        """The files of these names."""
        ...

    def problem(self, name: str) -> str:
        """Why a file that was listed must not be read; empty where nothing is known."""
        ...

    def inside(self, name: str, where: str) -> str:
        """The path of a file that a table names; raises `SynestheteError` where it leads out."""
        ...

    def missing(self, name: str) -> bool:
        """Whether a file that a table names is not there."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a text file; raises `UnusableFile`."""
        ...

    def source(self, names: Sequence[str]) -> ImageSource:
        """The images of these names, row by row."""
        ...


class LocalFolder:
    """A folder of this machine.

    Parameters
    ----------
    path
        As the user named it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.resolve()
        self.name = self.root.name
        self._leading_out: dict[str, bool] = {}  # a table names few folders and many files

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> list[str]:
        """The files, in the order of their names, folder by folder."""
        return list(_walk(self.root, self.root))

    def table(self) -> str:
        """`metadata.csv` or `metadata.jsonl`."""
        return next((name for name in METADATA_FILES if (self.path / name).is_file()), "")

    def files(self, names: Sequence[str]) -> list[Located]:
        """Their paths; each must lie inside when it is opened."""
        return [FileInside.of(self.root, self.path / name) for name in names]

    def problem(self, name: str) -> str:
        """A link may lead out."""
        path = self.root / name
        return OUTSIDE if path.is_symlink() and leads_out(self.root, path) else ""

    def inside(self, name: str, where: str) -> str:
        """The path relative to the folder, or an error when it leads out of it."""
        relative = _relative(name, where)
        path = self.root / relative
        parent = str(path.parent)
        if parent not in self._leading_out:
            self._leading_out[parent] = leads_out(self.root, path.parent)
        try:
            link = path.is_symlink()
        except OSError:
            # A name longer than the file system allows: it leads nowhere, and counts as missing.
            return relative
        if self._leading_out[parent] or (link and leads_out(self.root, path)):
            raise SynestheteError(
                f"{where}: '{name}' is a link that leads out of the table's folder"
            )
        return relative

    def missing(self, name: str) -> bool:
        """Whether there is nothing of the name."""
        try:
            return not (self.root / name).exists()
        except OSError:
            # A name longer than the file system allows.
            return True

    def read(self, name: str) -> bytes:
        """The bytes of a text file."""
        return read_inside(self.root, self.root / name, max_bytes=MAX_TEXT_BYTES)

    def source(self, names: Sequence[str]) -> ImageSource:
        """The images."""
        return FileSource(self.root, names)


class RemoteFolder:
    """A folder by its URL, listed once.

    Parameters
    ----------
    url
        As `check_url` lets it pass.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self.name = shown(self.url).rpartition("/")[2] or "probes"
        self._found = list_files(self.url)
        if not self._found:
            raise SynestheteError(f"there are no files under {self}")

    def __str__(self) -> str:
        return shown(self.url)

    def names(self) -> list[str]:
        """The files, in the order of their names, folder by folder, as on a disk."""
        seen = [name for name in self._found if not any(map(_ignored, name.split("/")))]
        return sorted(seen, key=lambda name: name.split("/"))

    def table(self) -> str:
        """`metadata.csv` or `metadata.jsonl`."""
        return next((name for name in METADATA_FILES if name in self._found), "")

    def files(self, names: Sequence[str]) -> list[Located]:
        """As they were listed."""
        if lost := [name for name in names if name not in self._found]:
            raise SynestheteError(f"there is no {self}/{lost[0]}")
        return [self._found[name] for name in names]

    def problem(self, name: str) -> str:
        """There are no links there."""
        del name
        return ""

    def inside(self, name: str, where: str) -> str:
        """The path relative to the folder."""
        return _relative(name, where)

    def missing(self, name: str) -> bool:
        """Whether it was not listed."""
        return name not in self._found

    def read(self, name: str) -> bytes:
        """The bytes of a text file."""
        if name not in self._found:
            raise UnusableFile.of(Path(name), "no such file", "correct its name or leave it out")
        if self._found[name].size > MAX_TEXT_BYTES:
            raise UnusableFile.of(Path(name), f"more than {MAX_TEXT_BYTES >> 20} MiB of text")
        return self._found[name].read()

    def source(self, names: Sequence[str]) -> ImageSource:
        """The images."""
        return RemoteSource([self._found.get(name) for name in names])


def _relative(name: str, where: str) -> str:
    try:
        return relative_name(name)
    except UnusableFile as error:
        raise SynestheteError(f"{where}: {error.message}", hint=error.hint) from None


def _walk(folder: Path, root: Path) -> Iterator[str]:
    """Files under a folder, relative to root, in an order that does not depend on the disk."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SynestheteError(f"cannot list '{folder}' ({error.strerror})") from None
    for entry in entries:
        if _ignored(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), root)
        elif entry.is_symlink() and Path(entry.path).is_dir():
            # Followed, a link may lead in a circle or out of the folder; skipped, images are lost.
            raise SynestheteError(
                f"'{entry.path}' is a link to a folder", hint="copy the folder to its place"
            )
        else:
            yield str(Path(entry.path).relative_to(root))


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LITTER
