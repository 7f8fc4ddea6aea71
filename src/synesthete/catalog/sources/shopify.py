"""Shopify's export of products: a row for each variant and each further image of a product, which share a handle.

Columns as https://help.shopify.com/en/manual/products/import-export/using-csv describes them, under their present names
(`URL handle`, `SKU`, `Product image URL`) and those before (`Handle`, `Variant SKU`, `Image Src`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from synesthete._core.row_reader import Row, Rows
from synesthete.catalog.schema import Item, Quarantined
from synesthete.catalog.sources.html_text import text_of_html
from synesthete.catalog.sources.product import Product, cell_of
from synesthete.catalog.sources.reading import Reading
from synesthete.catalog.tables import ALIASES, as_text, choose, folded
from synesthete.errors import SynestheteError

_OPTIONS = (1, 2, 3)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("handle", "url_handle"),
    "title": ("title",),
    "description": ("body_(html)", "description"),
    "category": ("type",),
    "price": ("variant_price", "price"),
    "images": ("image_src", "product_image_url"),
    "updated": ALIASES["updated"],
    "position": ("image_position",),
    "variant image": ("variant_image", "variant_image_url"),
    "product category": ("product_category",),
    "vendor": ("vendor",),
    "tags": ("tags",),
    "sku": ("variant_sku", "sku"),
    "barcode": ("variant_barcode", "barcode"),
    "status": ("status",),
    "published": ("published", "published_on_online_store"),
    **{f"option {n} name": (f"option{n}_name",) for n in _OPTIONS},
    **{f"option {n}": (f"option{n}_value",) for n in _OPTIONS},
}
_TELLING = (
    "body_(html)", "option1_name", "option1_value", "variant_sku", "variant_price", "variant_image", "image_src",
    "product_image_url", "variant_image_url",
)  # fmt: skip
_METAFIELD = re.compile(r"(.+) \(product\.metafields\..+\)")
_HIDDEN = ("draft", "archived", "unlisted")


def recognises(names: Iterable[str]) -> bool:
    """Whether a table's columns are those of this export.

    Examples
    --------
    >>> recognises(["Handle", "Title", "Body (HTML)", "Variant Price"]), recognises(["handle", "title"])
    (True, False)
    """
    known = set(map(folded, names))
    handle = known.intersection(COLUMNS["id"])
    return bool(handle) and "title" in known and len(known.intersection(_TELLING)) >= 2


def items(
    table: str, rows: Callable[[], Rows], names: Sequence[str], reading: Reading
) -> Iterator[Item | Quarantined]:
    """Items of an export, a handle each; those that customers cannot find are counted.

    Parameters
    ----------
    table
        Its name, for messages.
    rows
        Reads the rows; called twice, so that the rows of a handle need not stand together and few are in memory.
    names
        Its columns.
    reading
        How rows become items.
    """
    parts = choose(table, names, reading.columns, COLUMNS, ("id",))
    reading.require_updated(table, parts)
    facts = {name: match[1] for name in names if (match := _METAFIELD.fullmatch(name))}
    left = Counter(handle for _, handle, _ in _with_handles(rows(), parts))
    waiting: dict[str, list[Row]] = {}
    for line, handle, row in _with_handles(rows(), parts):
        where = f"{table}, line {line}"
        if isinstance(row, SynestheteError):
            yield Quarantined(where, "row", str(row))
        elif not handle:
            yield Quarantined(where, "row", "a product without a handle")
        else:
            waiting.setdefault(handle, []).append(row)
            left[handle] -= 1
            if not left[handle]:
                yield from _product(handle, waiting.pop(handle), parts, facts, reading)


def _with_handles(
    rows: Rows, parts: Mapping[str, str]
) -> Iterator[tuple[int, str, Row | SynestheteError]]:
    """Rows with their handles; one without handle and title goes on with the product before it."""
    handle = ""
    for line, row in rows:
        if isinstance(row, SynestheteError):
            yield line, "", row
            continue
        if cell_of(row, parts, "id") or cell_of(row, parts, "title"):
            handle = cell_of(row, parts, "id")
        yield line, handle, row


def _product(
    handle: str,
    rows: Sequence[Row],
    parts: Mapping[str, str],
    facts: Mapping[str, str],
    reading: Reading,
) -> Iterator[Item | Quarantined]:
    def cells(part: str) -> list[str]:
        return [cell_of(row, parts, part) for row in rows]

    def first(part: str) -> str:
        return next(filter(None, cells(part)), "")

    if not reading.is_current(*(row.get(parts.get("updated", "")) for row in rows)):
        return
    if first("status").lower() in _HIDDEN or first("published").lower() == "false":
        reading.left_out.unpublished += 1
        return
    product = Product(handle, reading)
    for number in _OPTIONS:
        # A product without variants has the option Title with this value.
        values = (value for value in cells(f"option {number}") if value != "Default Title")
        product.note(first(f"option {number} name"), values)
    product.note("vendor", [first("vendor")])
    product.note("tags", first("tags").split(","))
    kind, path = first("category"), [one.strip() for one in first("product category").split(">")]
    product.note("product category", path[-1:] if kind else ())
    for column, name in facts.items():
        product.note(name, (value for row in rows for value in as_text(row.get(column)).split(";")))
    for code in ("sku", "barcode"):
        # With an apostrophe before them, which keeps spreadsheets from changing numbers.
        product.note(code, (value.removeprefix("'") for value in cells(code)))
    for price in cells("price"):
        product.offer(price)
    shown = zip(map(_position, cells("position")), cells("images"), strict=True)
    product.show(image for _, image in sorted(shown, key=lambda one: one[0]))
    product.show(cells("variant image"))
    yield from product.finished(
        title=first("title"),
        description=text_of_html(first("description")),
        category=kind or path[-1],
    )


def _position(cell: str) -> float:
    return float(cell) if cell.isdecimal() else float("inf")
