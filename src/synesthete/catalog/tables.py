"""Tables of queries and signals, and what all tables share: rows of CSV, JSON lines and Parquet, their columns and cells."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete._core.row_reader import Row, Rows, csv_rows, jsonl_rows
from synesthete._core.user_files import (
    ANY_SIZE,
    FileInside,
    UnusableFile,
    leads_out,
    open_inside,
    open_named,
    relative_name,
)
from synesthete.catalog.schema import ImageSource, Signal
from synesthete.errors import SynestheteError, near

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_BATCH = 64


# Names under which tables have these columns; the first that holds something counts.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "item_id", "sku", "product_id", "article", "asin", "key"),
    "title": ("title", "name", "product_name", "item_name"),
    "description": ("description", "text", "caption", "body"),
    "category": ("category", "type", "class", "label", "concept", "department"),
    "reviews": ("reviews", "review"),
    "price": ("price",),
    "updated": (
        "updated_at",
        "updated",
        "last_updated",
        "date_updated",
        "modified_at",
        "modified",
        "last_modified",
        "date_modified",
    ),
    "attributes": ("attributes",),
    "images": (
        "pictures",
        "picture",
        "images",
        "image",
        "file_name",
        "image_path",
        "photo",
        "path",
    ),
}
QUERY_ALIASES: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "query", "q"),
    "image": ("picture", "image", "file_name", "image_path", "photo", "path"),
    "relevant": ("relevant", "relevant_ids", "item_id", "item", "id", "target", "label"),
    "category": ("category",),
}
# An image each: `image_2`, `Photo 3`.
NUMBERED = re.compile(r"(?:pictures?|images?|photos?)[ _-]?\d+")
_PRICE = re.compile(r"[-+]?\d[\d.,' \u00a0]*")
SIGNAL_KEYS = frozenset({"side", "item", "text", "image", "weight", "age_days"})


def read_rows(path: Path, *, root: Path | None = None) -> Iterator[tuple[int, Row]]:
    """Rows of a table with their line numbers (from 1; a CSV's first line is its header).

    Parameters
    ----------
    path, root
        As for `rows_and_errors`.

    Raises
    ------
    SynestheteError
        What `rows_and_errors` raises, and the first row that cannot be read.
    """
    for line, row in rows_and_errors(path, root=root):
        if isinstance(row, SynestheteError):
            raise row
        yield line, row


def rows_and_errors(path: Path, *, root: Path | None = None) -> Rows:
    """As `read_rows`; in place of a row that cannot be read, why not.

    Parameters
    ----------
    path
        A file that the user named or, with `root`, one of the user's folder `root`.

    Raises
    ------
    SynestheteError
        No such file, another kind of file, one that leads out of `root`; none of its rows can be read.
    """
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, ".ndjson"):
        raise SynestheteError(f"'{path}' is not a table", hint=f"give one of {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        found = _parquet_rows(path, root)
    elif suffix in (".jsonl", ".ndjson"):
        found = jsonl_rows(path, root=root)
    else:
        _, found = csv_rows(path, root=root)
    first: SynestheteError | None = None
    some = False
    try:
        for line, row in found:
            if isinstance(row, SynestheteError):
                first = first or row
            else:
                some = True
            yield line, row
    except OSError as error:
        raise SynestheteError(f"cannot read '{path}': {error.strerror or error}") from None
    if first is not None and not some:
        raise first


def _parquet_rows(path: Path, root: Path | None) -> Rows:
    number = 0
    raw = (
        open_named(path, max_bytes=ANY_SIZE)
        if root is None
        else open_inside(root, path, max_bytes=ANY_SIZE)
    )
    with raw:
        try:
            file = pq.ParquetFile(raw, pre_buffer=False)
            counts = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, error) from None
        for group, rows in enumerate(counts):
            start = number
            try:
                for batch in file.iter_batches(_BATCH, row_groups=[group], use_threads=False):
                    for row in _batch_rows(path.name, batch, number):
                        number += 1
                        yield number, row
            except (pa.ArrowException, OSError) as error:
                yield number + 1, _damaged(path, error, f", rows {number + 1} to {start + rows}")
                number = start + rows


def _batch_rows(name: str, batch: pa.RecordBatch, before: int) -> Iterator[Row | SynestheteError]:
    """Rows of a batch one by one: a value that Python cannot hold spoils its own row."""
    columns = list(zip(batch.schema.names, batch.columns, strict=True))
    for place in range(batch.num_rows):
        row: Row = {}
        for column, values in columns:
            try:
                row[column] = values[place].as_py()
            # Arrow's conversions raise what datetime, decimal and the codecs raise.
            except Exception as error:  # noqa: BLE001
                message = (str(error).splitlines() or [type(error).__name__])[0][:120]
                where = f"{name}, line {before + place + 1}"
                yield SynestheteError(f"{where}: the column {column!r} cannot be read: {message}")
                break
        else:
            yield row


def _damaged(path: Path, error: Exception, where: str = "") -> SynestheteError:
    message = (str(error).splitlines() or [type(error).__name__])[0]
    return SynestheteError(f"'{path}'{where} cannot be read as Parquet: {message}")


@dataclass(frozen=True)
class QueryRow:
    """A row of a table of queries."""

    text: str
    image: ImageSource | None
    relevant: tuple[str, ...]
    categories: tuple[str, ...]


def query_rows(
    path: Path, *, columns: Mapping[str, str] | None = None, root: Path | None = None
) -> Iterator[tuple[int, QueryRow]]:
    """Queries of a table, with their line numbers; `columns`, `root` as for `item_rows`.

    Raises
    ------
    SynestheteError
        A table that cannot be read, or without a column of right answers.
    """
    folder = path.parent.resolve()
    for line, row in read_rows(path, root=root):
        chosen = choose(path.name, row, columns or {}, QUERY_ALIASES, ("relevant", "category"))
        cell = row.get(chosen.get("image", ""))
        found = cell_images(cell, partial(inside, folder))
        images = list(found) if cell not in (None, "") else []
        if images and isinstance(images[0], str):
            raise SynestheteError(f"{path.name}, line {line}: {images[0]}")
        yield (
            line,
            QueryRow(
                as_text(row.get(chosen.get("text", ""))).strip(),
                images[0] if images and not isinstance(images[0], str) else None,
                tuple(split(row.get(chosen.get("relevant", "")))),
                tuple(split(row.get(chosen.get("category", "")))),
            ),
        )


def split(cell: Any) -> list[str]:
    """The values of a cell: a list, a JSON list, or text with `|` between them.

    Examples
    --------
    >>> split("red | white"), split('["a|b"]'), split(None), split([1, 2])
    (['red', 'white'], ['a|b'], [], ['1', '2'])
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        with contextlib.suppress(InvalidJson):
            cell = parse_json(cell, "a cell")
    parts = cell if isinstance(cell, list | tuple) else as_text(cell).split("|")
    return [text for part in parts if (text := as_text(part).strip())]


def as_text(value: Any) -> str:
    """A cell as text; nothing is empty, a whole number has no decimals.

    Examples
    --------
    >>> as_text(None), as_text(2.0), as_text(True), as_text({"a": 1}), as_text(Decimal("2.50"))
    ('', '2', 'true', '{"a": 1}', '2.50')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, bool | float | list | tuple | dict):
        # Parquet's nested types may hold anything.
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def price_of(cell: Any, *, grouped: bool = True) -> float | None:
    """A price as a number.

    A number is taken as it is. In a text, of `.` and `,` the one that stands last marks the decimals where both occur; where
    one occurs, it groups thousands if it occurs twice or three digits follow it, and marks the decimals otherwise.

    Parameters
    ----------
    cell
        Of a table.
    grouped
        Whether thousands may be grouped; where they never are, three digits after the mark are decimals.

    Raises
    ------
    SynestheteError
        No number, or several, in it.

    Examples
    --------
    >>> price_of("€ 1.299,50"), price_of("1,299"), price_of("12.5 kr"), price_of(""), price_of(1.299)
    (1299.5, 1299.0, 12.5, None, 1.299)
    >>> price_of("1.299", grouped=False)
    1.299
    """
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        try:
            number = float(cell)
        except OverflowError:
            raise SynestheteError("the price is too large") from None
        return number if math.isfinite(number) else None
    text = as_text(cell).strip()
    if not text:
        return None
    found = [one.strip(" .,'\u00a0") for one in _PRICE.findall(text)]
    if len(found) != 1:
        raise SynestheteError(
            f"the price {text[:40]!r} is not a valid number", hint="write one number, such as 12.50"
        )
    digits = re.sub(r"[' \u00a0]", "", found[0])
    mark = max(digits.rfind("."), digits.rfind(","))
    decimals = len(digits) - mark - 1
    both = "." in digits and "," in digits
    repeated = mark >= 0 and digits.count(digits[mark]) > 1
    if mark >= 0 and not both and (repeated or (grouped and decimals == 3)):
        digits = re.sub(r"[.,]", "", digits)
    elif mark >= 0:
        digits = re.sub(r"[.,]", "", digits[:mark]) + "." + digits[mark + 1 :]
    price = float(digits)
    if not math.isfinite(price):
        raise SynestheteError(f"the price {text[:40]!r} is too large")
    return price


def inside(root: Path, name: str) -> Path | str:
    """The path of an image named relative to a folder, or why it is not taken."""
    try:
        path = FileInside.of(root, root / relative_name(name))
    except UnusableFile as error:
        return str(error)
    if leads_out(root, path):
        return f"'{name[:80]}' is a link that leads out of the folder of images"
    return path


def image_at(root: Path, name: str, where: str) -> Path:
    """As `inside`; raises `SynestheteError` where it is not taken."""
    found = inside(root.resolve(), name)
    if isinstance(found, str):
        raise SynestheteError(f"{where}: {found}")
    return found


def cell_images(
    cell: Any, find: Callable[[str], ImageSource | str | None]
) -> Iterator[ImageSource | str]:
    """Images of a cell; a text says why one is not taken.

    Parameters
    ----------
    cell
        Encoded bytes, names, a dictionary of Hugging Face's datasets, or a list of these.
    find
        The image of a name, or why there is none, or None to leave it out.
    """
    if isinstance(cell, dict):
        # An image of Hugging Face's datasets: its bytes, or where they are.
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        yield cell
    elif isinstance(cell, list | tuple) and any(isinstance(one, dict | bytes) for one in cell):
        for one in cell:
            yield from cell_images(one, find)
    elif cell is not None:
        yield from (one for one in map(find, split(cell)) if one is not None)


def folded(name: str) -> str:
    """The name of a column as it is compared: `Product Name` is `product_name`."""
    return name.strip().casefold().replace(" ", "_")


def choose(
    table: str,
    names: Iterable[str],
    given: Mapping[str, str],
    aliases: Mapping[str, tuple[str, ...]],
    needed: Sequence[str],
) -> dict[str, str]:
    """Part to column.

    Parameters
    ----------
    table
        Its name, for messages.
    names
        Its columns.
    given
        Part to column, as the user named them.
    aliases
        Part to the usual names of its column.
    needed
        Parts, one of which there must be.

    Raises
    ------
    SynestheteError
        An unknown part, a column that is not there, none of the needed ones.
    """
    names = list(names)
    by_folded = {folded(name): name for name in names}
    known = set(names)
    for part, column in given.items():
        if part not in aliases:
            raise SynestheteError(
                f"there is no part {part!r}", hint=f"there are {', '.join(aliases)}"
            )
        if column not in known:
            raise SynestheteError(f"'{table}' has no column {column!r}", hint=near(column, names))
    chosen = dict(given)
    for part, options in aliases.items():
        found = [by_folded[option] for option in options if option in by_folded]
        free = [name for name in found if name not in chosen.values()]
        if part not in chosen and free:
            chosen[part] = free[0]
    if not any(part in chosen for part in needed):
        hint = f"its columns are {', '.join(map(str, names[:100]))[:300]}; name one of them {needed[0]}"
        raise SynestheteError(f"'{table}' has no column {needed[0]}", hint=hint)
    return chosen


def read_signals(path: Path) -> list[Signal]:
    """Signals of a file, an object a line: `{"side": "like", "item": "42", "age_days": 3}`.

    Images are named relative to the file's folder.

    Raises
    ------
    SynestheteError
        A file that cannot be read, an unknown key, a value of the wrong kind.
    """
    return [_signal(f"{path.name}, line {line}", row, path) for line, row in read_rows(path)]


def _signal(where: str, row: dict[str, Any], path: Path) -> Signal:
    given = {key: value for key, value in row.items() if value not in (None, "")}
    unknown = set(given) - SIGNAL_KEYS - {"picture"}  # what image was called at first
    if unknown:
        hint = f"there are {', '.join(sorted(SIGNAL_KEYS))}"
        raise SynestheteError(f"{where}: no key {sorted(unknown)[0]!r}", hint=hint)
    if given.get("side", "like") not in ["like", "dislike"]:
        raise SynestheteError(
            f"{where}: the side is {given['side']!r}", hint="write like or dislike"
        )
    try:
        numbers = {key: float(given[key]) for key in ("weight", "age_days") if key in given}
    except (TypeError, ValueError, OverflowError):
        raise SynestheteError(f"{where}: weight and age_days are numbers") from None
    image = given.get("image", given.get("picture"))
    return Signal(
        given.get("side", "like"),
        item=str(given["item"]) if "item" in given else None,
        text=str(given["text"]) if "text" in given else None,
        image=None if image is None else image_at(path.parent, str(image), where),
        weight=numbers.get("weight", 1.0),
        age_days=numbers.get("age_days", 0.0),
    )
