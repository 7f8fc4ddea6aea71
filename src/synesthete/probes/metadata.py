"""Probe sets out of `metadata.csv` or `metadata.jsonl` beside the images, as Hugging Face's ImageFolder."""

from __future__ import annotations

import json
from pathlib import Path

from synesthete._core.row_reader import Rows, csv_rows, jsonl_rows
from synesthete._core.user_files import UnusableFile, leads_out, relative_name
from synesthete.errors import SynestheteError
from synesthete.probes.labels import ALIASES, LabelTable
from synesthete.probes.probe_set import ProbeSet
from synesthete.probes.sources import MISSING, FileSource

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN = "file_name"
FIELD_CHARACTERS = 131_072


def read_metadata(path: Path, *, root: Path | None = None) -> ProbeSet:
    """Read a table that names image files and says what they show.

    Parameters
    ----------
    path
        A `.csv` (comma, semicolon or tab; the first line names the columns) or `.jsonl` (an object a
        line) in UTF-8. Column `file_name`, relative to the table's folder; further `concept` or
        `label`, `modality`, `caption` or `text`, `artist`, `family`, `source`, `licence` or
        `license`, `author`; other columns are passed over.
    root
        The folder that the table was found in, where the user named no file: it must lie inside.

    Raises
    ------
    SynestheteError
        The table cannot be parsed, lacks `file_name` or a concept column, names a file outside its
        folder (by `..`, an absolute path or a link), or none of its files is there.

    Notes
    -----
    A file that does not exist, or a line without a concept, stays in the set as an unusable image
    with its reason.
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
        if not file:
            hint = f"its columns are {', '.join(sorted(columns)) or 'none'}"
            raise SynestheteError(f"{where}: no {FILE_COLUMN}", hint=hint)
        file = _inside(folder, file, where, parents)
        files.append(file)
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
    if FILE_COLUMN not in columns:
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
        # A name longer than the file system allows: it leads nowhere, and is told as missing.
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
