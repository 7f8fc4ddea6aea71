"""Backups of a catalogue: a copy that is of one moment of each file, though others write and serve it, verified; and the way back.

A backup is a folder or a zip archive with `backup.json`, which lists every file with its size and SHA-256. It is prepared beside its
place and moved there when it is complete and was read again, so a kill leaves nothing that could be taken for a backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import shutil
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from synesthete import __version__
from synesthete._core.json_reader import parse_json
from synesthete._core.sqlite import connect
from synesthete._core.user_files import ANY_SIZE, open_inside, open_named, read_inside
from synesthete.atlas.files import (
    FileEntry,
    claim_draft,
    disk_errors,
    entry_of_file,
    inside,
    sync_folder,
)
from synesthete.catalog.catalog import Catalog
from synesthete.catalog.server.idempotency import CLAIMS
from synesthete.catalog.store.location import LOCK, POINTER, Folder, check_url, location_of
from synesthete.catalog.store.manifest import FILE as MANIFEST
from synesthete.catalog.store.manifest import home_of, read_manifest, write_manifest
from synesthete.catalog.store.table import ItemTable
from synesthete.errors import SynestheteError

FILE, FORMAT, VERSION = "backup.json", "synesthete-backup", 1
ARCHIVE = ".zip"
# What refers to other files comes first, so that what it refers to is in the backup: a request's response is noted after its
# items were written, and a webhook's place after its decisions.
FIRST = ("requests.sqlite", "webhooks.sqlite")
DATABASE, BESIDE = ".sqlite", ("-wal", "-shm", "-journal")
LINKED = ".backup"
UNFINISHED, TABLE = ".part", ".lance"
WAIT_SECONDS = 30.0
MOST_LISTED = 64 * 2**20
BLOCK = 2**20


@dataclass(frozen=True)
class Backup:
    """What is in a backup.

    Attributes
    ----------
    files, bytes, items
        How many.
    """

    files: int
    bytes: int
    items: int


def back_up(catalog: str | Path, to: str | Path) -> Backup:
    """Copy a catalogue, which may be written and served meanwhile, and verify the copy.

    Databases are copied by SQLite's own backup, each as of one moment; LanceDB's files, which never change once they are
    written, are linked while writers wait, which takes moments, and copied afterwards. Only the owner may read the copy.
    Items in an object store are read from there, as of one moment, and are in the copy as in a folder. Events in PostgreSQL are not
    in it.

    Parameters
    ----------
    catalog
        The folder.
    to
        A new folder, or a new archive where the name ends in `.zip`.

    Raises
    ------
    SynestheteError
        Something is there already; no catalogue, a damaged one, one with links in it; the disk is full.
    """
    source, place = Path(catalog), Path(to)
    read_manifest(source)
    _refuse_existing(place)
    if place.resolve().is_relative_to(source.resolve()):
        raise SynestheteError(
            "a backup cannot be inside the catalogue", hint="choose another folder"
        )
    with claim_draft(_draft_of(place)) as draft, disk_errors(place):
        content = draft / "content"
        content.mkdir(mode=0o700)
        entries = dict(
            sorted({**dict(_copy(source, content)), **_out_of_store(source, content)}.items())
        )
        items = _verify(content, entries)
        facts = {
            "format": FORMAT,
            "version": VERSION,
            "synesthete": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "items": items,
            "files": {name: entry.as_dict() for name, entry in entries.items()},
        }
        listed = json.dumps(facts, indent=1, ensure_ascii=False).encode()
        if place.suffix == ARCHIVE:
            _move(_archive(draft, content, listed, entries), place)
        else:
            with _new_file(content / FILE) as file:
                file.write(listed)
            _move(content, place)
    return Backup(len(entries), sum(entry.bytes for entry in entries.values()), items)


def restore(backup: str | Path, catalog: str | Path, *, store: str | None = None) -> Backup:
    """Make a catalogue of a backup, every file of it compared with what was backed up.

    Parameters
    ----------
    backup
        The folder or archive.
    catalog
        A new folder.
    store
        URL of an object store for the items, as for `Catalog.create`; in the folder without it, also where they were in a store.

    Raises
    ------
    SynestheteError
        Something is there already, in the store, too; not a backup, an incomplete or changed one; names that lead out of the
        folder, or links.
    """
    source, place = Path(backup), Path(catalog)
    _refuse_existing(place)
    with _opened(source) as given, claim_draft(_draft_of(place)) as draft, disk_errors(place):
        content = draft / "content"
        content.mkdir(mode=0o700)
        entries = _listed(given.listed(), content, source)
        for name, entry in entries.items():
            with given.open(name) as file:
                copied = _write(file, content, name, most=entry.bytes)
            if copied != entry:
                raise SynestheteError(
                    f"{source}: {name} has other content than when it was backed up"
                )
        items = _verify(content, entries)
        if store is not None:
            _into_store(content, store)
        _move(content, place)
    return Backup(len(entries), sum(entry.bytes for entry in entries.values()), items)


def _copy(source: Path, content: Path) -> Iterator[tuple[str, FileEntry]]:
    """Copy everything that a catalogue is; what it holds of locks, and what is being prepared in it, is left out."""
    databases = {path.name for path in source.iterdir() if path.name.endswith(DATABASE)}
    for name in sorted(databases, key=lambda name: (name not in FIRST, name)):
        _copy_database(source / name, content / name)
        yield name, entry_of_file(content / name)
    with claim_draft(source / LINKED) as linked:
        with Folder(home_of(source, read_manifest(source)), source).writing():
            names = [name for name in _files(source) if _link(source, linked, name)]
        for name in names:
            with open_inside(linked, linked / name, max_bytes=ANY_SIZE) as file:
                yield name, _write(file, content, name)


def _files(source: Path) -> Iterator[str]:
    """Names of the files that are no database's."""
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != CLAIMS)
        for name in (*folders, *files):
            if (Path(folder) / name).is_symlink():
                shown = (Path(folder) / name).relative_to(source)
                raise SynestheteError(f"{shown} is a link", hint="replace it by what it leads to")
        top = Path(folder) == source
        for name in sorted(files):
            database = name.endswith((DATABASE, *(DATABASE + ending for ending in BESIDE)))
            prepared = name.startswith(".") or name.endswith(UNFINISHED)
            if not (prepared or (top and (database or name == LOCK))):
                yield (Path(folder) / name).relative_to(source).as_posix()


def _link(source: Path, linked: Path, name: str) -> bool:
    """Keep a file as it is, whoever removes it; a copy where the disk knows no links.

    Returns whether it was there: fetched images are replaced without a turn to write, and what is gone is not the catalogue's.
    """
    path, to = source / name, linked / name
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, to)
    except OSError:
        try:
            shutil.copyfile(path, to)
        except FileNotFoundError:
            if any(part.endswith(TABLE) for part in PurePosixPath(name).parts):
                raise
            return False
    return True


def _copy_database(path: Path, to: Path) -> None:
    try:
        with (
            contextlib.closing(connect(path, wait_seconds=WAIT_SECONDS)) as before,
            contextlib.closing(connect(to, wait_seconds=WAIT_SECONDS, private=True)) as after,
        ):
            before.backup(after)
            after.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except sqlite3.Error as error:
        raise SynestheteError(f"{path} cannot be copied: {error}") from error
    with to.open("rb+") as file:
        os.fsync(file.fileno())


def _make_folder(path: Path) -> None:
    """A folder that only the owner may open, and those that it is in."""
    if not path.exists():
        _make_folder(path.parent)
        path.mkdir(mode=0o700)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that only the owner may read, on the disk at the end."""
    _make_folder(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write(file: IO[bytes], root: Path, name: str, *, most: int = ANY_SIZE) -> FileEntry:
    """Write a stream under a folder, up to one byte more than `most`; returns its size and hash."""
    digest, size = hashlib.sha256(), 0
    with _new_file(inside(root, name)) as written:
        while size <= most and (block := file.read(min(BLOCK, most + 1 - size))):
            written.write(block)
            digest.update(block)
            size += len(block)
    return FileEntry(size, digest.hexdigest())


def _out_of_store(source: Path, content: Path) -> dict[str, FileEntry]:
    """Bring items that are in an object store into a copy of their catalogue's folder; returns the files that are new."""
    manifest = read_manifest(content)
    if manifest.pop("store", None) is None:
        return {}
    write_manifest(content, manifest)
    home = home_of(content, manifest)
    before = set(home.iterdir())
    table = ItemTable(location_of(source, read_manifest(source)))
    table.copy_to(Folder(home))
    table.close()
    written = [path for top in set(home.iterdir()) - before for path in (top, *top.rglob("*"))]
    for path in written:
        path.chmod(0o700 if path.is_dir() else 0o600)
    files = [content / MANIFEST, *(path for path in written if path.is_file())]
    return {path.relative_to(content).as_posix(): entry_of_file(path) for path in files}


def _into_store(content: Path, url: str) -> None:
    """Bring the items of a restored catalogue into an object store, out of its folder."""
    manifest = read_manifest(content)
    home, url = home_of(content, manifest), check_url(url)
    in_store = {**manifest, "store": url + (f"/{home.name}" if home != content else "")}
    table = ItemTable(Folder(home, content))
    table.copy_to(location_of(content, in_store))
    table.close()
    for folder in home.glob(f"*{TABLE}"):
        shutil.rmtree(folder)
    (home / POINTER).unlink()
    write_manifest(content, in_store)


def _verify(content: Path, entries: Mapping[str, FileEntry]) -> int:
    """Read a copy again, file by file, and open it as a catalogue; returns how many items it has."""
    for name, entry in entries.items():
        if entry_of_file(content / name) != entry:
            raise SynestheteError(
                f"{name} cannot be read back as it was written", hint="check the disk"
            )
        if "/" not in name and name.endswith(DATABASE):
            _check_database(content / name)
    catalog = Catalog.open(content)
    try:
        catalog.quarantine()
        return sum(1 for _ in catalog.snapshot().page("", 1)) and len(catalog)
    finally:
        catalog.close()


def _check_database(path: Path) -> None:
    try:
        with contextlib.closing(connect(path, wait_seconds=WAIT_SECONDS)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise SynestheteError(f"{path.name} is damaged: {found}")


def _archive(draft: Path, content: Path, listed: bytes, entries: Mapping[str, FileEntry]) -> Path:
    """Pack a copy, and compare every file in the archive with what it should be."""
    path = draft / "archive"
    with _new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in entries:
            archive.write(content / name, name)
        archive.writestr(FILE, listed)
    with _Archive(path) as packed:
        for name, entry in entries.items():
            digest = hashlib.sha256()
            with packed.open(name) as one:
                while block := one.read(BLOCK):
                    digest.update(block)
            if digest.hexdigest() != entry.sha256:
                raise SynestheteError(
                    f"{name} cannot be read back from the archive", hint="check the disk"
                )
    return path


def _move(draft: Path, place: Path) -> None:
    _refuse_existing(place)
    draft.rename(place)
    sync_folder(place.parent)


def _draft_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.draft")


def _refuse_existing(place: Path) -> None:
    if os.path.lexists(place):
        raise SynestheteError(f"'{place}' is there already", hint="choose another name")


def _listed(data: bytes, root: Path, source: Path) -> dict[str, FileEntry]:
    """What a backup says that it holds, once every name in it was found to be of a file inside the folder."""
    found = parse_json(data, FILE)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise SynestheteError(f"{source} is not a backup of a catalogue")
    if found.get("version") != VERSION:
        shown = found.get("version")
        raise SynestheteError(
            f"{source} is of format {shown!r}, not {VERSION}", hint="update synesthete"
        )
    files: Any = found.get("files")
    if not isinstance(files, dict) or not files:
        raise SynestheteError(f"{source} is damaged: it lists no files")
    entries = {}
    for name, facts in files.items():
        inside(root, name)
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        valid = isinstance(facts, dict) and set(facts) == {"bytes", "sha256"}
        if hidden or name == FILE or not valid or not isinstance(facts["bytes"], int):
            raise SynestheteError(f"{source} is damaged: {FILE} lists {name[:80]!r} wrongly")
        entries[name] = FileEntry(facts["bytes"], str(facts["sha256"]))
    return entries


def _opened(source: Path) -> _Folder | _Archive:
    if not source.exists():
        raise SynestheteError(f"no such backup: '{source}'")
    return _Folder(source) if source.is_dir() else _Archive(source)


class _Folder:
    """A backup as a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *error: object) -> None: ...

    def listed(self) -> bytes:
        if not (self._path / FILE).is_file():
            raise SynestheteError(f"{self._path} is not a backup: it has no {FILE}")
        return read_inside(self._path, self._path / FILE, max_bytes=MOST_LISTED)

    def open(self, name: str) -> IO[bytes]:
        path = self._path / name
        if any(one.is_symlink() for one in (path, *path.parents) if one.is_relative_to(self._path)):
            raise SynestheteError(f"{path} is a link; a backup has none")
        return open_inside(self._path, path, max_bytes=ANY_SIZE)


class _Archive:
    """A backup as a zip archive; links and folders that it may name are not made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_named(path, max_bytes=ANY_SIZE)

    def __enter__(self) -> _Archive:
        try:
            with self._errors():
                self._archive = zipfile.ZipFile(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()
        self._file.close()

    def listed(self) -> bytes:
        with self.open(FILE) as file, self._errors():
            data = file.read(MOST_LISTED + 1)
        if len(data) > MOST_LISTED:
            raise SynestheteError(f"{self._path} is damaged: {FILE} is too large")
        return data

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self._errors():
            if name not in self._archive.NameToInfo:
                raise SynestheteError(f"{self._path} is not a complete backup: it has no {name}")
            with self._archive.open(name) as file:
                yield file

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
            EOFError,
            ValueError,
            zlib.error,
            lzma.LZMAError,
        ) as error:
            raise SynestheteError(f"{self._path} is not a sound archive: {error}") from error
