"""Export and import of reviews: JSON Lines that round-trip, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from synesthete._core.json_reader import InvalidJson
from synesthete._core.row_reader import Row, jsonl_rows
from synesthete._core.user_files import UnusableFile
from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError
from synesthete.reviews.acts import COLUMNS, Act, Subjects, check, log_of

LONGEST_LINE = 250_000
_LIKE_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Imported:
    """What an import did: acts that were new, acts known before, and lines set aside with the reason."""

    added: int
    known: int
    aside: dict[int, str]


def export_reviews(folder: str | Path, path: str | Path) -> int:
    """Write all acts of an atlas, or of a catalogue's queue, to a `.jsonl` (for `import_reviews`) or `.csv` (for people); returns how many.

    The file is there completely or not at all. A text that a spreadsheet would take for a formula gets an apostrophe in front in CSV.

    Raises
    ------
    SynestheteError
        When the path has another ending or cannot be written.
    """
    log, path = log_of(folder), Path(path)
    acts = log.read()
    if path.suffix not in (".jsonl", ".csv"):
        raise SynestheteError(f"{path} must end in .jsonl or .csv")
    file = io.StringIO(newline="")
    if path.suffix == ".jsonl":
        file.writelines(
            json.dumps({"schema": log.subjects.schema, **act.as_dict()}, ensure_ascii=False) + "\n"
            for act in acts
        )
    else:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([_plain(getattr(act, key)) for key in COLUMNS] for act in acts)
    write_file(path, file.getvalue().encode())
    return len(acts)


def import_reviews(folder: str | Path, path: str | Path) -> Imported:
    """Add the acts of a `.jsonl` file to an atlas or to a catalogue's queue; an act that is there already counts as known.

    Lines that are no acts are set aside with the reason, the rest goes in. Acts of another model or atlas go
    in too, and count only where they belong (`belongs`).

    Raises
    ------
    SynestheteError
        When the file cannot be read, or its first line is not of this format.
    """
    log, path = log_of(folder), Path(path)
    acts: list[Act] = []
    aside: dict[int, str] = {}
    try:
        rows = list(jsonl_rows(path, line_characters=LONGEST_LINE))
    except UnusableFile as error:
        raise SynestheteError(f"{path} cannot be read: {error.reason}", hint=error.hint) from None
    for number, row in rows:
        try:
            acts.append(_act(row, log.subjects))
        except SynestheteError as error:
            if number == 1:
                raise SynestheteError(
                    f"{path} holds no reviews: line 1: {error}",
                    hint="export them with: synesthete reviews export",
                ) from error
            aside[number] = str(error)
    added = log.append(acts)
    return Imported(added, len(acts) - added, aside)


def _act(row: Row | SynestheteError, subjects: Subjects) -> Act:
    if isinstance(row, InvalidJson) and row.reason:
        raise SynestheteError(f"not JSON ({row.reason})")
    if isinstance(row, SynestheteError):
        raise row
    if row.pop("schema", None) != subjects.schema:
        raise SynestheteError(f"not of the schema {subjects.schema}")
    if set(row) != set(COLUMNS) or not all(isinstance(value, str) for value in row.values()):
        raise SynestheteError("its keys or types are not those of a review")
    act = Act(**row)
    check(act, subjects)
    return act


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_LIKE_FORMULA) else text
