"""Probe sets out of `metadata.csv` or `metadata.jsonl` beside the images, as Hugging Face's ImageFolder."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from synesthete._core.json_reader import json_objects
from synesthete.errors import SynestheteError
from synesthete.probes.labels import ALIASES, LabelTable
from synesthete.probes.probe_set import ProbeSet
from synesthete.probes.sources import MISSING, FileSource

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN = "file_name"


def read_metadata(path: Path) -> ProbeSet:
    """Read a table that names image files and says what they show.

    Parameters
    ----------
    path
        A `.csv` (comma, semicolon or tab; the first line names the columns) or `.jsonl` (an object a
        line) in UTF-8. Column `file_name`, relative to the table's folder; further `concept` or
        `label`, `modality`, `caption` or `text`, `artist`, `family`, `source`, `licence` or
        `license`, `author`; other columns are passed over.

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
    folder = path.resolve().parent
    lines = _jsonl(path) if path.suffix.lower() == ".jsonl" else _csv(path)
    labels = LabelTable()
    files: list[str] = []
    columns: set[str] = set()
    parents: dict[str, str] = {}
    for line, values in lines:
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
        row, reason = next(iter(labels.problems.items()))
        raise SynestheteError(f"no usable image in '{path}': '{files[row]}' has {reason}")
    return ProbeSet(
        folder.name, labels.table(), FileSource(folder, files), problems=labels.problems
    )


def _inside(folder: Path, file: str, where: str, parents: dict[str, str]) -> str:
    """The path relative to the folder, or an error when it leads out of it.

    `parents` remembers where folders really are: a table names few folders and many files.
    """
    if "\0" in file:
        raise SynestheteError(f"{where}: {FILE_COLUMN} holds a zero byte")
    if "://" in file:
        raise SynestheteError(
            f"{where}: '{file}' is an address on the web, which is never fetched",
            hint="download the images and give their paths",
        )
    windows = PureWindowsPath(file)
    if windows.drive or windows.root or PurePosixPath(file).is_absolute():
        raise SynestheteError(
            f"{where}: '{file}' is an absolute path", hint="give it relative to the table"
        )
    # Windows writes a\b.png; the file name a\b.png does not occur anywhere in practice.
    parts = PurePosixPath(file.replace("\\", "/")).parts
    if ".." in parts or not parts:
        raise SynestheteError(f"{where}: '{file}' leads out of the table's folder")
    relative = str(PurePosixPath(*parts))
    path = folder / relative
    try:
        parent = str(path.parent)
        if parent not in parents:
            parents[parent] = os.path.realpath(parent)
        link = path.is_symlink()
    except OSError:
        # A name longer than the file system allows: it leads nowhere, and is told as missing.
        return relative
    real = os.path.realpath(path) if link else f"{parents[parent]}/{path.name}"
    if not Path(real).is_relative_to(folder):
        raise SynestheteError(f"{where}: '{file}' is a link that leads out of the table's folder")
    return relative


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # A name longer than the file system allows.
        return False


def _csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    text = _read(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        fields = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = fields
        if FILE_COLUMN not in fields:
            hint = f"its columns are {', '.join(fields) or 'none'}"
            raise SynestheteError(f"'{path}' has no column {FILE_COLUMN}", hint=hint)
        for row in reader:
            if None in row:
                raise SynestheteError(
                    f"{path.name}, line {reader.line_num}: more fields than the {len(fields)} columns",
                    hint='write a text with a delimiter in it as "a, b"',
                )
            yield reader.line_num, {name: value or "" for name, value in row.items()}
    except csv.Error as error:
        raise SynestheteError(f"{path.name}, after line {reader.line_num}: {error}") from None


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    hint = f'write {{"{FILE_COLUMN}": "a.png", "concept": "apple"}}'
    for number, row in json_objects(_read(path).split("\n"), path.name, hint=hint):
        yield number, {name: _as_text(value) for name, value in row.items()}


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SynestheteError(
            f"'{path}' is not UTF-8 (byte {error.start})", hint="save it as UTF-8"
        ) from None
    except OSError as error:
        raise SynestheteError(f"cannot read '{path}' ({error.strerror})") from None
