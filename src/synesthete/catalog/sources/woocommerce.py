"""WooCommerce's export of products: a row for each product, and for each variation one that names its parent.

Columns as https://github.com/woocommerce/woocommerce/wiki/Product-CSV-Import-Schema describes them, in English.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from synesthete._core.row_reader import Row, Rows
from synesthete.catalog.schema import Item, Quarantined
from synesthete.catalog.sources.html_text import decoded, text_of_html
from synesthete.catalog.sources.product import Product, cell_of
from synesthete.catalog.sources.reading import Reading
from synesthete.catalog.sources.watermark import time_of
from synesthete.catalog.tables import ALIASES, as_text, choose, folded
from synesthete.errors import SynestheteError

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("id",),
    "title": ("name",),
    "description": ("description",),
    "category": ("categories",),
    "price": ("regular_price",),
    "images": ("images",),
    "updated": ALIASES["updated"],
    "type": ("type",),
    "sku": ("sku",),
    "gtin": ("gtin,_upc,_ean,_or_isbn",),
    "published": ("published",),
    "visibility": ("visibility_in_catalog",),
    "short description": ("short_description",),
    "sale price": ("sale_price",),
    "sale starts": ("date_sale_price_starts",),
    "sale ends": ("date_sale_price_ends",),
    "tags": ("tags",),
    "brand": ("brands",),
    "parent": ("parent",),
}
_TELLING = (
    "regular_price",
    "short_description",
    "visibility_in_catalog",
    "parent",
    "attribute_1_name",
)
_ATTRIBUTE = re.compile(r"attribute_(\d+)_name")
_COMMA = re.compile(r"(?<!\\),")
_NEWLINE = re.compile(r"\\\\n|\\n")


def recognises(names: Iterable[str]) -> bool:
    """Whether a table's columns are those of this export.

    Examples
    --------
    >>> recognises(["ID", "Type", "SKU", "Name", "Published", "Regular price"]), recognises(["id", "type"])
    (True, False)
    """
    known = set(map(folded, names))
    return {"type", "sku", "name", "published"} <= known and not known.isdisjoint(_TELLING)


def items(
    table: str, rows: Callable[[], Rows], names: Sequence[str], reading: Reading
) -> Iterator[Item | Quarantined]:
    """Items of an export, a product each with its variations; those that customers cannot find are counted.

    Parameters
    ----------
    table, rows, names, reading
        As for Shopify's; rows are read twice, since variations may stand before or after their parents.
    """
    parts = choose(table, names, reading.columns, COLUMNS, ("id", "sku"))
    reading.require_updated(table, parts)
    attributes = _attributes(names)
    variations: dict[str, list[tuple[int, Row]]] = {}
    for line, row in rows():
        if not isinstance(row, SynestheteError) and _is_variation(row, parts):
            filled = {name: value for name, value in row.items() if value}
            variations.setdefault(cell_of(row, parts, "parent"), []).append((line, filled))
    for line, row in rows():
        if isinstance(row, SynestheteError):
            yield Quarantined(f"{table}, line {line}", "row", str(row))
        elif not _is_variation(row, parts):
            number, sku = cell_of(row, parts, "id"), cell_of(row, parts, "sku")
            named = [f"id:{number}", *filter(None, [sku])]
            own = [one for name in named for one in variations.pop(name, ())]
            group = [row, *(variation for _, variation in sorted(own, key=lambda one: one[0]))]
            yield from _product(number or sku, group, parts, attributes, reading)
    for parent, orphans in variations.items():
        for line, _ in orphans:
            reason = f"a variation of the product {parent[:80]!r}, which is not in the table"
            yield Quarantined(f"{table}, line {line}", "row", reason)


def _attributes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Columns with the names and the values of attributes."""
    by_folded = {folded(name): name for name in names}
    numbers = [match[1] for name in by_folded if (match := _ATTRIBUTE.fullmatch(name))]
    return [
        (by_folded[f"attribute_{number}_name"], by_folded[f"attribute_{number}_value(s)"])
        for number in numbers
        if f"attribute_{number}_value(s)" in by_folded
    ]


def _product(
    item_id: str,
    rows: Sequence[Row],
    parts: Mapping[str, str],
    attributes: Iterable[tuple[str, str]],
    reading: Reading,
) -> Iterator[Item | Quarantined]:
    main = rows[0]
    if not reading.is_current(*(row.get(parts.get("updated", "")) for row in rows)):
        return
    if not _is_published(main, parts) or cell_of(main, parts, "visibility").lower() == "hidden":
        reading.left_out.unpublished += 1
        return
    product = Product(item_id, reading)
    for row in (main, *(one for one in rows[1:] if _is_published(one, parts))):
        for name, values in attributes:
            product.note(decoded(as_text(row.get(name))), _values(as_text(row.get(values))))
        for code in ("sku", "gtin"):
            product.note(code, [cell_of(row, parts, code)])
        product.offer(_price(row, parts))
        product.show(_values(cell_of(row, parts, "images")))
    paths = [path.split(">") for path in _values(cell_of(main, parts, "category"))]
    category = paths[0][-1].strip() if paths else ""
    places = {place.strip(): None for path in paths for place in path}
    product.note("categories", places if len(places) > 1 else ())
    product.note("brand", _values(cell_of(main, parts, "brand")))
    product.note("tags", _values(cell_of(main, parts, "tags")))
    texts = (
        _description(cell_of(main, parts, part)) for part in ("short description", "description")
    )
    yield from product.finished(
        title=decoded(cell_of(main, parts, "title")),
        description="\n".join(filter(None, texts)),
        category=category,
    )


def _is_variation(row: Row, parts: Mapping[str, str]) -> bool:
    return "variation" in _values(cell_of(row, parts, "type").lower())


def _is_published(row: Row, parts: Mapping[str, str]) -> bool:
    """1 is published, 0 private, -1 a draft, 2 pending; without a value the importer publishes."""
    return cell_of(row, parts, "published") in ("", "1", "true", "TRUE")


def _price(row: Row, parts: Mapping[str, str]) -> str:
    """The price for which the product is sold today."""
    now = datetime.now(UTC)
    starts, ends = (time_of(cell_of(row, parts, f"sale {edge}")) for edge in ("starts", "ends"))
    on_sale = (starts is None or starts <= now) and (ends is None or now.date() <= ends.date())
    return (on_sale and cell_of(row, parts, "sale price")) or cell_of(row, parts, "price")


def _values(cell: str) -> list[str]:
    r"""Values with commas between them; a comma within one has a backslash before it.

    Examples
    --------
    >>> _values(r"Red, Oak\, oiled, Salt &amp; pepper")
    ['Red', 'Oak, oiled', 'Salt & pepper']
    """
    values = (decoded(one.replace("\\,", ",")).strip() for one in _COMMA.split(cell))
    return [value for value in values if value]


def _description(cell: str) -> str:
    r"""The text of a description, in which an export writes a line end as `\n`, and `\n` itself as `\\n`."""
    return text_of_html(_NEWLINE.sub(lambda found: "\n" if len(found[0]) == 2 else r"\n", cell))
