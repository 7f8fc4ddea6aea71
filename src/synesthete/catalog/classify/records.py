"""Records: a table of pictures with texts and labels, read so that nothing of a person gets further than it must."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synesthete.catalog.checking import picture_bytes
from synesthete.errors import SynestheteError, near
from synesthete.probes.decoding import UnreadableImage

Template = Literal["general", "health"]
TEMPLATES: tuple[Template, ...] = ("general", "health")
COLUMNS = ("image", "text", "label", "group")
LONGEST_TEXT = 1_000_000
LONGEST_LABEL = 100
# Columns that name or point to a person; under the health template they are not even kept in memory.
PERSONAL = re.compile(
    r"(?:^|_)(?:patient|name|surname|forename|birth|birthdate|dob|born|mrn|ssn|nhs|insurance|address|street|city"
    r"|zip|postcode|phone|mobile|fax|email|mail|contact|record|id|identifier|account|ip|admission|discharge|physician"
    r"|doctor|nurse|relative)(?:$|_)"
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Record:
    """One record. It has no printed form, so that it cannot end up in a log by mistake.

    Attributes
    ----------
    row
        Its line in the table, from 1.
    reference
        What it is known by everywhere else: the start of the SHA-256 of its picture and its text.
    image
        The encoded picture, or None.
    text
        Its text, empty where there is none.
    label
        What it is, empty where that is not known.
    group
        Records of the same group (a patient, a visit) are never split between fitting and testing.
    """

    row: int
    reference: str
    image: bytes | None
    text: str
    label: str
    group: str

    def __repr__(self) -> str:
        return f"<Record of row {self.row}>"


@dataclass(frozen=True)
class Records:
    """A table of records.

    Attributes
    ----------
    records
        Those that can be used.
    aside
        Row → why not; says nothing of what the row holds.
    ignored
        Names of columns that were not read.
    """

    records: list[Record]
    aside: dict[int, str]
    ignored: tuple[str, ...]


def make_record(
    image: bytes | None, text: str, *, row: int = 1, label: str = "", group: str = ""
) -> Record:
    """A record from its parts.

    Examples
    --------
    >>> make_record(None, "a mole, brown, 4 mm", row=7)
    <Record of row 7>
    """
    plain = " ".join(text.replace("\0", " ").encode("utf-8", "replace").decode().split())
    digest = hashlib.sha256((image or b"") + b"\0" + plain.encode()).hexdigest()
    return Record(row, digest[:20], image, plain, " ".join(label.split()), group)


def read_records(path: str | Path, *, template: Template = "general") -> Records:
    """Read a table of records: CSV, JSON Lines or Parquet, with the columns `image` (a path, from the table's folder),
    `text`, `label` and `group`, of which `image` or `text` is needed.

    Parameters
    ----------
    template
        `health`: groups are kept as hashes of this one reading, and the columns that may name a person are not read.

    Raises
    ------
    SynestheteError
        No such file, another format, no column of a picture or a text, or not one row that can be used.
    """
    path = Path(path)
    if template not in TEMPLATES:
        raise SynestheteError(
            f"no such template: {template!r}",
            hint=near(template, TEMPLATES) or ", ".join(TEMPLATES),
        )
    records, aside, ignored = [], {}, set()
    folder = path.parent.resolve()
    for number, row in enumerate(_rows(path), start=1):
        ignored |= {str(name) for name in row if name not in COLUMNS}
        if number == 1 and not {"image", "text"} & set(row):
            raise SynestheteError(
                f"{path.name} has neither a column image nor a column text",
                hint="name one of its columns so",
            )
        try:
            records.append(_record(number, row, folder, template))
        except SynestheteError as error:
            aside[number] = error.message
    if not records:
        first = f": row {min(aside)}: {aside[min(aside)]}" if aside else ""
        raise SynestheteError(f"{path.name} has no record that can be used{first}")
    return Records(records, aside, tuple(sorted(ignored)))


def personal(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the columns that may name a person.

    Examples
    --------
    >>> personal(("patient_name", "Date of Birth", "lesion", "MRN"))
    ('patient_name', 'Date of Birth', 'MRN')
    """
    return tuple(
        name for name in columns if PERSONAL.search(re.sub(r"[^a-z]+", "_", name.casefold()))
    )


def _record(number: int, row: dict[str, Any], folder: Path, template: Template) -> Record:
    given = {name: _text(row.get(name)) for name in COLUMNS}
    if max(len(given["text"]), len(given["image"])) > LONGEST_TEXT:
        raise SynestheteError(f"a text of more than {LONGEST_TEXT:,} characters")
    if len(given["label"]) > LONGEST_LABEL or not given["label"].isprintable():
        raise SynestheteError(f"a label has at most {LONGEST_LABEL} printable characters")
    image = None
    if given["image"]:
        place = (folder / given["image"]).resolve()
        # A table may come from elsewhere: it does not reach beyond its own folder.
        if not place.is_relative_to(folder):
            raise SynestheteError("the picture lies outside of the table's folder")
        try:
            image = picture_bytes(place)
        except UnreadableImage as error:
            raise SynestheteError(f"the picture {_plain(error)}") from None
    if image is None and not given["text"].strip():
        raise SynestheteError("neither a picture nor a text")
    group = given["group"]
    if group and template == "health":
        group = hashlib.sha256(f"{folder} {group}".encode("utf-8", "replace")).hexdigest()
    return make_record(image, given["text"], row=number, label=given["label"], group=group)


def _plain(error: UnreadableImage) -> str:
    """What is wrong with a picture, without its name."""
    return "is missing" if "no such file" in error.message else "cannot be read"


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return str(value)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise SynestheteError(
            f"{path} is no file", hint="give a .csv, .jsonl or .parquet of records"
        )
    ending = path.suffix.lower()
    try:
        if ending == ".csv":
            csv.field_size_limit(64 * 2**20)
            yield from csv.DictReader(
                io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
            )
        elif ending in (".jsonl", ".ndjson"):
            for number, line in enumerate(
                path.read_bytes().decode("utf-8-sig").split("\n"), start=1
            ):
                if line.strip():
                    yield _object(line, number)
        elif ending == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                for batch in pq.ParquetFile(path).iter_batches(batch_size=1024, use_threads=False):
                    yield from batch.to_pylist()
            except pa.ArrowException:
                raise SynestheteError(f"{path.name} is no Parquet file that can be read") from None
        else:
            raise SynestheteError(f"{path.name} is no .csv, .jsonl or .parquet")
    except UnicodeDecodeError:
        raise SynestheteError(f"{path.name} is no UTF-8 text", hint="save it as UTF-8") from None
    except csv.Error:
        raise SynestheteError(f"{path.name} is no CSV that can be read") from None


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        # Python's own message would quote the line, and with it what it says of a person.
        raise SynestheteError(f"line {number} is no JSON") from None
    if not isinstance(found, dict):
        raise SynestheteError(f"line {number} is no JSON object")
    return found
