"""Probe sets out of the user's own data, here or by URL: a folder of images and texts, a table of metadata, parquet files, tars."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from synesthete._core.remote_files import check_url, is_url, list_files, shown
from synesthete._core.row_reader import Rows, csv_rows, jsonl_rows
from synesthete._core.user_files import (
    FileInside,
    UnusableFile,
    decoded,
    leads_out,
    read_inside,
    relative_name,
)
from synesthete.errors import SynestheteError
from synesthete.probes.labels import ALIASES, LabelTable, modality_name
from synesthete.probes.locations import Located, expanded, is_pattern, opened
from synesthete.probes.parquet import read_parquet
from synesthete.probes.probe_set import MODALITIES, TEXT, ImageSource, ProbeSet
from synesthete.probes.sources import MISSING, OUTSIDE, FileSource, RemoteSource
from synesthete.probes.webdataset import read_tars

LAYOUT = (
    "make it FOLDER/CONCEPT/IMAGE or FOLDER/CONCEPT/MODALITY/IMAGE, "
    "or list the images in a metadata.csv"
)
TEXT_SUFFIX = ".txt"
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


def read_path(path: Path) -> ProbeSet:
    """Read a probe set from a folder, a metadata file, a parquet file or a tar.

    Parameters
    ----------
    path
        Of something that exists: a folder (with `metadata.csv` or `.jsonl`: read by that; with parquet files or tars only: read as
        one table; otherwise `concept/` or `concept/modality/`), a `.csv`, `.jsonl`, `.parquet` or `.tar`.

    Raises
    ------
    SynestheteError
        A kind of file that is not read, or nothing usable in it.
    """
    if path.is_dir():
        return _read_folder(LocalFolder(path))
    if path.suffix.lower() in METADATA:
        return read_metadata(path)
    return read_files([path], path.stem)


def read_spec(spec: str) -> ProbeSet:
    """Read a probe set from a URL, or from files that a pattern names.

    Raises
    ------
    SynestheteError
        A URL of a kind that is not allowed, nothing there, or as `read_path`.
    """
    if not is_url(spec):
        return read_files(expanded(spec), Path(spec).parent.name or "probes")
    url = check_url(spec)
    ending = PurePosixPath(url.partition("?")[0]).suffix.lower()
    if is_pattern(url) or ending in COLUMNAR:
        files = expanded(url)
        shown_name = str(files[0]).rpartition("/")[0].rpartition("/")[2]
        return read_files(files, files[0].stem if len(files) == 1 else shown_name)
    if ending in METADATA:
        folder, _, name = url.rpartition("/")
        return _metadata_elsewhere(RemoteFolder(folder), name)
    return _read_folder(RemoteFolder(url))


def read_files(files: Sequence[Located], name: str) -> ProbeSet:
    """Read parquet files, or tars, as one set.

    Raises
    ------
    SynestheteError
        They are of different kinds, or of none that is read.
    """
    kinds = {file.suffix.lower() for file in files}
    if kinds == {".tar"}:
        return read_tars(files, name)
    if kinds == {".parquet"}:
        return read_parquet(*files, name=name)
    if len(kinds) > 1:
        raise SynestheteError(
            f"files of different kinds ({', '.join(sorted(kinds))})", hint="give one kind at a time"
        )
    raise SynestheteError(
        f"'{files[0]}' is no probe set",
        hint="give a folder, a .csv, .jsonl, .parquet or .tar file",
    )


def _read_folder(folder: Folder) -> ProbeSet:
    if table := folder.table():
        return _metadata_of(folder, table)
    names = folder.names()
    kinds = {PurePosixPath(name).suffix.lower() for name in names}
    flat = not any("/" in name for name in names)
    if flat and len(kinds) == 1 and kinds <= set(COLUMNAR):
        return read_files(folder.files(names), folder.name)
    return _labelled_by_place(folder, names)


def _labelled_by_place(folder: Folder, files: list[str]) -> ProbeSet:
    """Read `CONCEPT/IMAGE` and `CONCEPT/MODALITY/IMAGE`; a `.txt` file in an image's place is a text. Underscores in concepts count as spaces.

    A folder in a concept is a modality when it bears the name of one (`photo`, `drawing`, `symbol`,
    `word`, for texts `name`, `translation`, `synonym`, `description`, `anecdote`, or their plurals), or, in a set that has such folders throughout, when every such name is
    shared by concepts and they are fewer than the concepts. When all the outermost folders bear names of modalities, the order is read
    as `MODALITY/CONCEPT/IMAGE`. A folder that holds images and no folders is a set without concepts. Hidden files are ignored. Every other file becomes a row of the
    set; what cannot be used raises `UnreadableImage` with the reason when it is asked for.

    Raises
    ------
    SynestheteError
        The folder holds no file, or none of them lies where a concept can be inferred.
    """
    if not files:
        raise SynestheteError(f"no images in the folder '{folder}'", hint=LAYOUT)
    parts = [list(Path(file).parts) for file in files]
    placed = [part for part in parts if len(part) > 1]
    swapped = all(len(p) == 3 and modality_name(p[0]) in MODALITIES for p in placed)
    own_modalities = _own_modalities(placed)
    labels = LabelTable(concepts=bool(placed))
    for file, part in zip(files, parts, strict=True):
        key = "/".join(part)
        concept, modality, problem = (
            _place(part, swapped, own_modalities) if placed else ("", "", "")
        )
        problem = problem or folder.problem(file)
        values = {"concept": concept.replace("_", " "), "modality": modality}
        text = None
        if file.lower().endswith(TEXT_SUFFIX):
            text, unreadable = ("", "") if problem else _text_of(folder, file)
            problem = problem or unreadable
        labels.add(key, values, problem, text)
    if len(labels.problems) == len(labels):
        # Not the first by name, which is often a README beside the folders.
        row = max(labels.problems, key=lambda row: len(parts[row]))
        raise SynestheteError(
            f"no usable image in the folder '{folder}': '{files[row]}' {labels.problems[row]}"
        )
    return ProbeSet(folder.name, labels.table(), folder.source(files), problems=labels.problems)


def _text_of(folder: Folder, file: str) -> tuple[str, str]:
    """The text of a file, and why it cannot be read."""
    try:
        return decoded(folder.read(file), Path(file)), ""
    except UnusableFile as error:
        return "", error.reason


def _place(parts: list[str], swapped: bool, own_modalities: frozenset[str]) -> tuple[str, str, str]:
    """Concept, modality and problem by where a file lies."""
    if len(parts) == 1:
        return "", "", f"lies outside every concept's folder: {LAYOUT}"
    if len(parts) == 2:
        return parts[0], "", ""
    if len(parts) > 3:
        return parts[0], "", f"lies {len(parts) - 1} folders deep: {LAYOUT}"
    if swapped:
        return parts[1], parts[0], ""
    if modality_name(parts[1]) in MODALITIES or parts[1] in own_modalities:
        return parts[0], parts[1], ""
    known = ", ".join(MODALITIES)
    return parts[0], "", f"is in '{parts[1]}', which is not a known modality ({known}): {LAYOUT}"


def _own_modalities(parts: list[list[str]]) -> frozenset[str]:
    """Second-level folder names to take as the user's own modalities.

    A few ways of showing are repeated under many concepts. Names that are not may be concepts within
    a family or within a source, and to read `animal/badger` as the badger way of showing an animal
    would quietly spoil every number.
    """
    concepts: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        if len(part) != 3:
            return frozenset()
        concepts[part[1]].add(part[0])
    unknown = {name for name in concepts if modality_name(name) not in MODALITIES}
    if any(len(concepts[name]) == 1 for name in unknown):
        return frozenset()
    if len(unknown) == len(concepts) and len(concepts) >= len({part[0] for part in parts}):
        return frozenset()
    return frozenset(unknown)


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


METADATA_FILES = ("metadata.csv", "metadata.jsonl")
METADATA, COLUMNAR = (".csv", ".jsonl"), (".parquet", ".tar")
FILE_COLUMN = "file_name"
FIELD_CHARACTERS = 131_072


def read_metadata(path: Path) -> ProbeSet:
    """Read a table that names image files and says what they show.

    Parameters
    ----------
    path
        A `.csv` (comma, semicolon or tab; the first line names the columns) or `.jsonl` (an object a
        line) in UTF-8. Column `file_name`, relative to the table's folder, or for a text `text`; further `concept` or
        `label`, `modality`, `caption` or `text`, `artist`, `family`, `source`, `licence` or
        `license`, `author`; other columns are ignored.

    Raises
    ------
    SynestheteError
        The table cannot be parsed, lacks `file_name` or a concept column, names a file outside its
        folder (by `..`, an absolute path or a link), or none of its files is there.

    Notes
    -----
    A file that does not exist, an empty text, or a line without a concept, stays in the set as an unusable image
    or text with its reason. Of a line with a file, `text` is a caption.
    """
    return _table_of(LocalFolder(path.parent), path, None)


def _metadata_of(folder: Folder, name: str) -> ProbeSet:
    if isinstance(folder, LocalFolder):
        return _table_of(folder, folder.path / name, folder.path)
    return _metadata_elsewhere(folder, name)


def _metadata_elsewhere(folder: Folder, name: str) -> ProbeSet:
    """The table is read from a copy, which is gone afterwards; the files that it names are read where they are."""
    (file,) = folder.files([name])
    with tempfile.TemporaryDirectory() as scratch, opened(file) as content:
        copy = Path(scratch) / Path(name).name
        with copy.open("wb") as out:
            shutil.copyfileobj(content, out)
        return _table_of(folder, copy, None)


def _table_of(folder: Folder, path: Path, root: Path | None) -> ProbeSet:
    """As `read_metadata`, of a table that must lie inside `root`, where the user named no file."""
    labels = LabelTable()
    files: list[str] = []
    columns: set[str] = set()
    for line, row in _rows(path, root):
        if isinstance(row, SynestheteError):
            raise row
        values = {name: _as_text(value) for name, value in row.items()}
        where = f"{path.name}, line {line}"
        columns.update(values)
        file = values.get(FILE_COLUMN, "").strip()
        if not file and TEXT in values:
            files.append("")
            key = values.get("key", "").strip() or f"{path.stem}/{line:07d}"
            labels.add(key, values, text=values[TEXT])
            continue
        if not file:
            hint = f"its columns are {', '.join(sorted(columns)) or 'none'}"
            raise SynestheteError(f"{where}: no {FILE_COLUMN}", hint=hint)
        file = folder.inside(file, where)
        files.append(file)
        if file.lower().endswith(TEXT_SUFFIX):
            text, problem = _text_of(folder, file)
            labels.add(file, values, problem, text)
        else:
            labels.add(file, values, MISSING if folder.missing(file) else "")
    if not files:
        raise SynestheteError(f"'{path}' lists no images")
    if not columns.intersection(ALIASES["concept"]):
        hint = f"name one of its columns concept: {', '.join(sorted(columns))}"
        raise SynestheteError(f"'{path}' has no column concept or label", hint=hint)
    if len(labels.problems) == len(labels):
        at, reason = next(iter(labels.problems.items()))
        raise SynestheteError(f"no usable image in '{path}': '{files[at]}' has {reason}")
    return ProbeSet(folder.name, labels.table(), folder.source(files), problems=labels.problems)


def _rows(path: Path, root: Path | None) -> Rows:
    if path.suffix.lower() == ".jsonl":
        hint = f'write {{"{FILE_COLUMN}": "a.png", "concept": "apple"}}'
        return jsonl_rows(path, root=root, hint=hint)
    columns, rows = csv_rows(path, root=root, field_characters=FIELD_CHARACTERS)
    if FILE_COLUMN not in columns and TEXT not in columns:
        hint = f"its columns are {', '.join(columns) or 'none'}"
        raise SynestheteError(f"'{path}' has no column {FILE_COLUMN}", hint=hint)
    return rows


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


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
