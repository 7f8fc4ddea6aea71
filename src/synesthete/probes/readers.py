"""Probe sets out of the user's own data, here or by URL: a folder of images and texts, a table of metadata, parquet files, tars, COCO."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from synesthete._core.remote_files import check_url, is_url
from synesthete._core.row_reader import Rows, csv_rows, jsonl_rows
from synesthete._core.user_files import UnusableFile, decoded
from synesthete.errors import SynestheteError
from synesthete.probes.coco import ANNOTATIONS, coco_files, read_coco
from synesthete.probes.folders import Folder, LocalFolder, RemoteFolder
from synesthete.probes.labels import ALIASES, LabelTable, modality_name
from synesthete.probes.locations import Located, expanded, is_pattern, opened
from synesthete.probes.parquet import read_parquet
from synesthete.probes.probe_set import MODALITIES, TEXT, ProbeSet
from synesthete.probes.sources import MISSING
from synesthete.probes.webdataset import read_tars

LAYOUT = (
    "make it FOLDER/CONCEPT/IMAGE or FOLDER/CONCEPT/MODALITY/IMAGE, "
    "or list the images in a metadata.csv"
)
TEXT_SUFFIX = ".txt"


def read_path(path: Path) -> ProbeSet:
    """Read a probe set from a folder, a metadata file, a parquet file, a tar, or captions and instances of COCO.

    Parameters
    ----------
    path
        Of something that exists: a folder (with `metadata.csv` or `.jsonl`: read by that; with parquet files or tars only: read as
        one table; with `annotations/captions_*.json` or `instances_*.json`: read as COCO; otherwise `concept/` or
        `concept/modality/`), a `.csv`, `.jsonl`, `.parquet` or `.tar`, or one of those `.json`.

    Raises
    ------
    SynestheteError
        A kind of file that is not read, or nothing usable in it.
    """
    if path.is_dir():
        return _read_folder(LocalFolder(path))
    if path.suffix.lower() in METADATA:
        return read_metadata(path)
    if path.suffix.lower() == COCO:
        whole = path.absolute()
        root, name = _coco_root(str(whole.parent), whole.name)
        return read_coco(LocalFolder(Path(root)), name)
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
    if ending == COCO:
        folder, _, name = url.rpartition("/")
        root, name = _coco_root(folder, name)
        return read_coco(RemoteFolder(root), name)
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
        hint="give a folder, a .csv, .jsonl, .parquet or .tar file, or captions_X.json of COCO",
    )


def described_elsewhere(folder: Folder, names: Sequence[str]) -> bool:
    """Whether a table, and not where they lie, says what a folder's images show."""
    return bool(folder.table() or coco_files(list(names)) or _is_columnar(names))


def _is_columnar(names: Sequence[str]) -> bool:
    kinds = {PurePosixPath(name).suffix.lower() for name in names}
    flat = not any("/" in name for name in names)
    return flat and len(kinds) == 1 and kinds <= set(COLUMNAR)


def _read_folder(folder: Folder) -> ProbeSet:
    if table := folder.table():
        return _metadata_of(folder, table)
    names = folder.names()
    if _is_columnar(names):
        return read_files(folder.files(names), folder.name)
    if found := coco_files(names):
        return read_coco(folder, *found)
    return _labelled_by_place(folder, names)


def _coco_root(folder: str, name: str) -> tuple[str, str]:
    """The folder that holds annotations and images, and the path of a file of annotations in it."""
    root, _, last = folder.rpartition("/")
    return (root or "/", f"{last}/{name}") if last == ANNOTATIONS else (folder, name)


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


METADATA, COLUMNAR, COCO = (".csv", ".jsonl"), (".parquet", ".tar"), ".json"
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
