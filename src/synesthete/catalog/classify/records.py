"""Records of image, text and label: read so that nothing of a person gets further than it must, and embedded."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synesthete._core.arrays import Bool, Float32
from synesthete._core.json_reader import InvalidJson
from synesthete._core.text import storable
from synesthete.catalog.encode import image_bytes
from synesthete.catalog.tables import inside, rows_and_errors
from synesthete.errors import SynestheteError, one_of
from synesthete.probes.decoding import UnreadableImage
from synesthete.probes.request_images import RequestImageTooLarge, see

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

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
)

AT_ONCE = 32


@dataclass(frozen=True, kw_only=True, repr=False)
class Record:
    """One record. It has no printed form, so that it cannot end up in a log by mistake.

    Attributes
    ----------
    row
        Its line in the table, from 1.
    reference
        What it is known by everywhere else: the start of the SHA-256 of its image and its text.
    image
        The encoded image, or None.
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
    plain = " ".join(storable(text).split())
    digest = hashlib.sha256((image or b"") + b"\0" + plain.encode()).hexdigest()
    return Record(
        row=row,
        reference=digest[:20],
        image=image,
        text=plain,
        label=" ".join(label.split()),
        group=group,
    )


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
        No such file, another format, no column of an image or a text, or not one row that can be used.
    """
    path = Path(path)
    if template not in TEMPLATES:
        raise SynestheteError(
            f"no such template: {template!r}",
            hint=one_of(template, TEMPLATES),
        )
    records: list[Record] = []
    aside: dict[int, str] = {}
    ignored: set[str] = set()
    unread: list[SynestheteError] = []
    folder = path.parent.resolve()
    if not path.is_file():
        hint = "give a .csv, .jsonl or .parquet of records"
        raise SynestheteError(f"{path} is not a file", hint=hint)
    try:
        for number, (_, row) in enumerate(rows_and_errors(path), start=1):
            if isinstance(row, SynestheteError):
                aside[number] = _unread(row)
                unread.append(row)
                continue
            ignored |= {str(name) for name in row if name not in COLUMNS}
            if not records and not aside and not {"image", "text"} & set(row):
                raise SynestheteError(
                    f"{path.name} has neither a column image nor a column text",
                    hint="name one of its columns so",
                )
            try:
                records.append(_record(number, row, folder, template))
            except SynestheteError as error:
                aside[number] = error.message
    except SynestheteError as error:
        # The reader ends so where no row can be read: reported below, without what the row says of a person.
        if error not in unread:
            raise
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
        # A table may come from elsewhere: it does not reach beyond its own folder.
        place = inside(folder, given["image"])
        if isinstance(place, str):
            raise SynestheteError("the image lies outside of the table's folder")
        try:
            image = image_bytes(place)
        except UnreadableImage as error:
            raise SynestheteError(f"the image {_plain(error)}") from None
    if image is None and not given["text"].strip():
        raise SynestheteError("neither an image nor a text")
    group = given["group"]
    if group and template == "health":
        group = hashlib.sha256(f"{folder} {group}".encode("utf-8", "replace")).hexdigest()
    return make_record(image, given["text"], row=number, label=given["label"], group=group)


def _unread(error: SynestheteError) -> str:
    """What is wrong with a row that cannot be read, without what it says of a person."""
    if isinstance(error, InvalidJson):
        return "the row is no JSON object"
    return (
        "the row cannot be read: it is not UTF-8, has more fields than columns, or a quote is wrong"
    )


def _plain(error: UnreadableImage) -> str:
    """What is wrong with an image, without its name."""
    return "is missing" if "no such file" in error.message else "cannot be read"


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return str(value)


@dataclass(frozen=True)
class Embedded:
    """Embeddings of records.

    Attributes
    ----------
    images, texts
        `[records, dim]`, at unit length; a row of zeros where there is none.
    unreadable
        Places of records whose image could not be decoded.
    """

    images: Float32
    texts: Float32
    unreadable: tuple[int, ...] = ()

    @property
    def usable(self) -> Bool:
        """`[records]`: which have an image or a text."""
        return np.asarray(self.images.any(axis=1) | self.texts.any(axis=1))


def embed(model: ImageTextModel, records: Sequence[Record]) -> Embedded:
    """Embed records, a batch of images at a time; an image that cannot be decoded is left out."""
    import torch

    images = np.zeros((len(records), model.embedding_dim), np.float32)
    texts = np.zeros_like(images)
    unreadable = []
    waiting: list[tuple[int, torch.Tensor]] = []
    for place, record in enumerate(records):
        if record.image is not None:
            try:
                waiting.append((place, see(record.image, model.preprocess)))
            except RequestImageTooLarge:
                raise  # who asks shall know, and not be judged by the text alone
            except UnreadableImage:
                unreadable.append(place)
        if waiting and (len(waiting) == AT_ONCE or place == len(records) - 1):
            seen = model.encode_images(torch.stack([pixels for _, pixels in waiting]))
            images[[one for one, _ in waiting]] = seen
            waiting.clear()
    with_text = [place for place, record in enumerate(records) if record.text]
    if with_text:
        texts[with_text] = model.encode_texts([records[place].text for place in with_text])
    return Embedded(images, texts, tuple(unreadable))


def fuse(images: Float32, texts: Float32) -> Float32:
    """Features `[records, 3 dim + 2]`: image, text, their product coordinate by coordinate, and which are missing.

    Linear in the image for a given text, so that what a probe says can be traced to units of the image tower.

    Examples
    --------
    >>> fuse(np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 0.0]], np.float32)).tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    scale = np.float32(math.sqrt(images.shape[1]))
    missing = np.stack([~images.any(axis=1), ~texts.any(axis=1)], axis=1)
    return np.concatenate(
        [images, texts, images * texts * scale, missing], axis=1, dtype=np.float32
    )


def image_direction(weights: Float32, text: Float32) -> Float32:
    """Of a probe's weights `[3 dim + 2]`, what they ask of the image `[dim]` beside this text `[dim]`."""
    dim = len(text)
    scale = np.float32(math.sqrt(dim))
    return np.asarray(weights[:dim] + scale * weights[2 * dim : 3 * dim] * text, np.float32)
