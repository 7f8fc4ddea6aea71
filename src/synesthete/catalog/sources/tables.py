"""Items out of the rows of a table, whose columns are known by their usual names, or of a shop's export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete._core.row_reader import Row, Rows
from synesthete.catalog.schema import ImageSource, Item, Quarantined
from synesthete.catalog.sources import shopify, woocommerce
from synesthete.catalog.sources.reading import Reading
from synesthete.catalog.tables import (
    ALIASES,
    NUMBERED,
    as_text,
    cell_images,
    choose,
    folded,
    price_of,
    rows_and_errors,
    split,
)
from synesthete.errors import SynestheteError

_USUAL = frozenset(chain.from_iterable(ALIASES.values()))


def item_rows(
    path: Path, reading: Reading | None = None, *, root: Path | None = None
) -> Iterator[Item | Quarantined]:
    """Items of a table.

    Columns are known by their usual names: `id` (or `sku`, ...), `title`, `description`, `category`, `reviews`, `price`,
    `images`, `attributes` (a JSON object), `updated`; every other column is an attribute. Several images, reviews or values
    of an attribute are a JSON list, or stand with `|` between them. Exports of Shopify and WooCommerce are known by their
    header.

    Parameters
    ----------
    reading
        How rows become items; images are named in the table's own folder where it has none.
    root
        The folder that the table was found in, where the user named no file.

    Raises
    ------
    SynestheteError
        A table that cannot be read, or without a column of ids; none of its rows can be read.
    """
    reading = (reading or Reading()).within(path.parent)

    def rows() -> Rows:
        return rows_and_errors(path, root=root)

    names = list(next((row for _, row in rows() if not isinstance(row, SynestheteError)), ()))
    for shop in (shopify, woocommerce):
        if shop.recognises(names):
            yield from shop.items(path.name, rows, names, reading)
            return
    yield from row_items(path.name, rows(), reading)


def row_items(name: str, rows: Rows, reading: Reading) -> Iterator[Item | Quarantined]:
    """Items of rows with columns of usual names; `name` is the table's, for messages."""
    columns: _Columns | None = None
    for line, row in rows:
        where = f"{name}, line {line}"
        if isinstance(row, SynestheteError):
            yield Quarantined(where, "row", str(row))
            continue
        columns = columns or _Columns(name, reading)
        columns.see(row)
        if reading.is_current(row.get(columns.parts.get("updated", ""))):
            yield from _item(where, row, columns, reading)


class _Columns:
    """What the columns of a table are; rows of JSON may bring further ones."""

    def __init__(self, table: str, reading: Reading) -> None:
        self._table, self._reading = table, reading
        self._names: dict[str, None] = {}
        self.parts: Mapping[str, str] = {}
        self.numbered: list[str] = []
        self.not_attributes: set[str] = set()

    def see(self, row: Iterable[str]) -> None:
        """Take in columns that no row before had."""
        new = [name for name in row if name not in self._names]
        if not new:
            return
        self._names.update(dict.fromkeys(new))
        given = self._reading.columns
        if not self.parts or any(folded(name) in _USUAL for name in new):
            self.parts = choose(self._table, self._names, given, ALIASES, ("id",))
            self._reading.require_updated(self._table, self.parts)
        taken = set(self.parts.values())
        self.numbered += [name for name in new if NUMBERED.fullmatch(name.casefold())]
        self.numbered = [name for name in self.numbered if name not in taken]
        self.not_attributes = {*taken, *self.numbered}


def _item(
    where: str, row: Row, columns: _Columns, reading: Reading
) -> Iterator[Item | Quarantined]:
    cell = partial(_cell, row, columns.parts)
    item_id = as_text(cell("id")).strip()
    shown = item_id[:80] or where
    images: list[ImageSource] = []
    for value in (cell("images"), *(row.get(name) for name in columns.numbered)):
        for one in cell_images(value, reading.image):
            if isinstance(one, str):
                yield Quarantined(shown, "image", one)
            else:
                images.append(one)
    attributes = {}
    for name, value in row.items():
        if name not in columns.not_attributes and (values := split(value)):
            attributes[name] = tuple(values)
    attributes.update(_object(cell("attributes")))
    price = None
    try:
        price = price_of(cell("price"))
    except SynestheteError as error:
        yield Quarantined(shown, "price", str(error))
    yield Item(
        item_id,
        title=as_text(cell("title")),
        description=as_text(cell("description")),
        category=as_text(cell("category")),
        reviews=tuple(split(cell("reviews"))),
        price=price,
        attributes=attributes,
        images=tuple(images),
    )


def _cell(row: Row, parts: Mapping[str, str], part: str) -> Any:
    return row.get(parts.get(part, ""))


def _object(cell: Any) -> dict[str, tuple[str, ...]]:
    """Attributes in one cell: an object, or `colour=red; size=L`."""
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        with contextlib.suppress(InvalidJson):
            cell = parse_json(cell, "a cell")
    if isinstance(cell, list) and all(isinstance(one, tuple) and len(one) == 2 for one in cell):
        pairs = [(as_text(key), values) for key, values in cell]  # a map of Parquet
    elif isinstance(cell, dict):
        pairs = [(str(key), values) for key, values in cell.items()]
    else:
        parts = (part.partition("=") for part in as_text(cell).split(";"))
        pairs = [(key, value) for key, mark, value in parts if mark]
    return {key.strip(): tuple(split(values)) for key, values in pairs if split(values)}
