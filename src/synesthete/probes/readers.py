"""Probe sets out of the user's own data: a folder of images and texts, a table of metadata, parquet files."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from synesthete._core.row_reader import Rows, csv_rows, jsonl_rows
from synesthete._core.user_files import (
    UnusableFile,
    decoded,
    leads_out,
    read_inside,
    relative_name,
)
from synesthete.errors import SynestheteError
from synesthete.probes.labels import ALIASES, LabelTable, modality_name
from synesthete.probes.parquet import read_parquet
from synesthete.probes.probe_set import MODALITIES, TEXT, ProbeSet
from synesthete.probes.sources import MISSING, OUTSIDE, FileSource

LAYOUT = (
    "make it FOLDER/CONCEPT/IMAGE or FOLDER/CONCEPT/MODALITY/IMAGE, "
    "or list the images in a metadata.csv"
)
TEXT_SUFFIX = ".txt"
MAX_TEXT_BYTES = 16 * 1024 * 1024
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def read_path(path: Path) -> ProbeSet:
    """Read a probe set from a folder, a metadata file or a parquet file.

    Parameters
    ----------
    path
        Of something that exists: a folder (with `metadata.csv` or `.jsonl`: read by that; with parquet files only: read as
        one table; otherwise `concept/` or `concept/modality/`), a `.csv`, `.jsonl` or `.parquet`.

    Raises
    ------
    SynestheteError
        A kind of file that is not read, or nothing usable in it.
    """
    if path.is_dir():
        for name in METADATA_FILES:
            if (path / name).is_file():
                return read_metadata(path / name, root=path)
        visible = [p for p in sorted(path.iterdir()) if not _ignored(p.name)]
        if visible and all(p.suffix.lower() == ".parquet" for p in visible):
            return read_parquet(*visible, name=path.resolve().name, root=path)
        return read_folder(path)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".jsonl"):
        return read_metadata(path)
    if suffix == ".parquet":
        return read_parquet(path)
    raise SynestheteError(
        f"'{path}' is no probe set", hint="give a folder, a .csv, a .jsonl or a .parquet file"
    )


def read_folder(path: Path) -> ProbeSet:
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
    root = path.resolve()
    files = list(_walk(root, root))
    if not files:
        raise SynestheteError(f"no images in the folder '{path}'", hint=LAYOUT)
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
        if not problem and (root / file).is_symlink() and leads_out(root, root / file):
            problem = OUTSIDE
        values = {"concept": concept.replace("_", " "), "modality": modality}
        text = None
        if file.lower().endswith(TEXT_SUFFIX):
            text, unreadable = ("", "") if problem else _text_of(root, file)
            problem = problem or unreadable
        labels.add(key, values, problem, text)
    if len(labels.problems) == len(labels):
        # Not the first by name, which is often a README beside the folders.
        row = max(labels.problems, key=lambda row: len(parts[row]))
        raise SynestheteError(
            f"no usable image in the folder '{path}': '{files[row]}' {labels.problems[row]}"
        )
    return ProbeSet(root.name, labels.table(), FileSource(root, files), problems=labels.problems)


def _text_of(root: Path, file: str) -> tuple[str, str]:
    """The text of a file, and why it cannot be read."""
    try:
        data = read_inside(root, root / file, max_bytes=MAX_TEXT_BYTES)
        return decoded(data, Path(file)), ""
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
FILE_COLUMN = "file_name"
FIELD_CHARACTERS = 131_072


def read_metadata(path: Path, *, root: Path | None = None) -> ProbeSet:
    """Read a table that names image files and says what they show.

    Parameters
    ----------
    path
        A `.csv` (comma, semicolon or tab; the first line names the columns) or `.jsonl` (an object a
        line) in UTF-8. Column `file_name`, relative to the table's folder, or for a text `text`; further `concept` or
        `label`, `modality`, `caption` or `text`, `artist`, `family`, `source`, `licence` or
        `license`, `author`; other columns are ignored.
    root
        The folder that the table was found in, where the user named no file: it must lie inside.

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
    folder = (path if root is None else root / path.name).parent.resolve()
    labels = LabelTable()
    files: list[str] = []
    columns: set[str] = set()
    parents: dict[str, bool] = {}
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
        file = _inside(folder, file, where, parents)
        files.append(file)
        if file.lower().endswith(TEXT_SUFFIX):
            text, problem = _text_of(folder, file)
            labels.add(file, values, problem, text)
        else:
            labels.add(file, values, "" if _exists(folder / file) else MISSING)
    if not files:
        raise SynestheteError(f"'{path}' lists no images")
    if not columns.intersection(ALIASES["concept"]):
        hint = f"name one of its columns concept: {', '.join(sorted(columns))}"
        raise SynestheteError(f"'{path}' has no column concept or label", hint=hint)
    if len(labels.problems) == len(labels):
        at, reason = next(iter(labels.problems.items()))
        raise SynestheteError(f"no usable image in '{path}': '{files[at]}' has {reason}")
    return ProbeSet(
        folder.name, labels.table(), FileSource(folder, files), problems=labels.problems
    )


def _rows(path: Path, root: Path | None) -> Rows:
    if path.suffix.lower() == ".jsonl":
        hint = f'write {{"{FILE_COLUMN}": "a.png", "concept": "apple"}}'
        return jsonl_rows(path, root=root, hint=hint)
    columns, rows = csv_rows(path, root=root, field_characters=FIELD_CHARACTERS)
    if FILE_COLUMN not in columns and TEXT not in columns:
        hint = f"its columns are {', '.join(columns) or 'none'}"
        raise SynestheteError(f"'{path}' has no column {FILE_COLUMN}", hint=hint)
    return rows


def _inside(folder: Path, file: str, where: str, parents: dict[str, bool]) -> str:
    """The path relative to the folder, or an error when it leads out of it.

    `parents` remembers which folders lead out: a table names few folders and many files.
    """
    try:
        relative = relative_name(file)
    except UnusableFile as error:
        raise SynestheteError(f"{where}: {error.message}", hint=error.hint) from None
    path = folder / relative
    parent = str(path.parent)
    if parent not in parents:
        parents[parent] = leads_out(folder, path.parent)
    try:
        link = path.is_symlink()
    except OSError:
        # A name longer than the file system allows: it leads nowhere, and counts as missing.
        return relative
    if parents[parent] or (link and leads_out(folder, path)):
        raise SynestheteError(f"{where}: '{file}' is a link that leads out of the table's folder")
    return relative


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # A name longer than the file system allows.
        return False


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
