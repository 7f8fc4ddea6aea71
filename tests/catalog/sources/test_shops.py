"""Exports of Shopify and WooCommerce: products out of rows, without a word about columns."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthete.catalog import Item, Quarantined
from synesthete.catalog.sources import LeftOut, RemoteImages, read_items
from synesthete.catalog.sources.html_text import LENGTH, text_of_html
from synesthete.errors import SynestheteError

DATA = Path(__file__).parent / "data"
CDN = "https://cdn.shopify.com/s/files/1/0001/files/"
UPLOADS = "https://shop.example/wp-content/uploads/2026/01/"


def read(path: Path, **options: object) -> tuple[dict[str, Item], list[Quarantined], LeftOut]:
    """Items by id with the addresses of their images as they would be fetched, what was set aside, what was left out."""
    left_out = LeftOut()
    remote = RemoteImages(path.parent / "unused", ["cdn.shopify.com", "shop.example"])
    remote.fetched = lambda items: iter(items)  # type: ignore[method-assign]
    found = list(read_items(path, remote=remote, left_out=left_out, **options))  # type: ignore[arg-type]
    items = {one.id: one for one in found if isinstance(one, Item)}
    assert len(items) == sum(isinstance(one, Item) for one in found)
    return items, [one for one in found if isinstance(one, Quarantined)], left_out


def addresses(item: Item) -> list[str]:
    return [image.url for image in item.images]  # type: ignore[union-attr]


def test_shopify() -> None:
    items, aside, left_out = read(DATA / "shopify.csv")
    assert aside == []
    # An archived, a draft and a hidden product, of four rows.
    assert left_out.unpublished == 3
    assert list(items) == ["teapot", "linen-shirt"]
    shirt = items["linen-shirt"]
    assert shirt.title == 'Linen shirt, "Como"'
    assert shirt.description == "A shirt of washed linen.\nMachine washable, 30°\nMade in Italy"
    assert (shirt.category, shirt.price) == ("Shirt", 54.5)
    assert shirt.attributes == {
        "size": ("S", "M"),
        "colour": ("White", "Sage"),
        "vendor": ("Filo & Figli",),
        "tags": ("linen", "summer", '"new"'),
        "product category": ("Shirts",),
        "color": ("white", "sage"),
        "sku": ("00412-S-W", "00412-M-W", "00412-M-G"),
        "barcode": ("4006381333931",),
    }
    # In the order of their positions, also that of a row far from the others; then those of variants.
    names = ("front", "collar", "back", "detail", "white")
    assert addresses(shirt) == [f"{CDN}shirt-{name}.jpg?v=1" for name in names]
    teapot = items["teapot"]
    assert teapot.title == "Teapot & <script>alert(1)</script> lid", "a title is text"
    assert teapot.description == "Plain text, without tags. Holds 1.2 l; <5 minutes to boil."
    assert (teapot.category, teapot.price) == ("Teapots", 1250.0)
    assert teapot.attributes == {"vendor": ("Hearth",), "sku": ("TP-1",)}


def test_shopify_under_its_new_names() -> None:
    items, aside, left_out = read(DATA / "shopify_new_names.csv")
    assert (list(items), aside, left_out.unpublished) == (["linen-shirt"], [], 1)
    shirt = items["linen-shirt"]
    assert (shirt.title, shirt.description) == ("Linen shirt", "Washed linen.")
    assert (shirt.category, shirt.price) == ("Shirts", 58.0)
    assert shirt.attributes["size"] == ("S", "M")
    assert shirt.attributes["sku"] == ("A-S", "A-M")
    assert addresses(shirt) == [f"{CDN}a.jpg", f"{CDN}b.jpg"]


def test_woocommerce() -> None:
    items, aside, left_out = read(DATA / "woocommerce.csv")
    assert left_out.unpublished == 3, "a draft, a private and a hidden product"
    assert list(items) == ["17", "18"]
    shirt = items["17"]
    assert shirt.title == "V-Neck Tee & more"
    assert shirt.description == (
        "This is a variable product.\nSoft cotton.\nMachine washable.\nEnds with \\n."
    )
    assert (shirt.category, shirt.price) == ("Clothing", 17.95)
    assert shirt.attributes == {
        "color": ("Blue", "Green", "Red"),
        "fit": ("Slim, long",),
        "sku": ("woo-vneck-tee", "woo-vneck-tee-red", "woo-vneck-tee-green"),
        "categories": ("Clothing", "Tshirts"),
        "brand": ("Woo",),
        "tags": ("soft", "cotton, organic"),
    }
    names = ("vneck-2", "vneck-back", "vneck-red")
    assert addresses(shirt) == [f"{UPLOADS}{name}.jpg" for name in names]
    assert items["18"].price == 15.0, "its sale is over"
    assert [(one.what, "'id:99'" in one.reason) for one in aside] == [("row", True)]


def test_a_shops_own_columns_may_be_named(tmp_path: Path) -> None:
    items, _, _ = read(DATA / "shopify.csv", columns={"category": "Vendor"})
    assert items["teapot"].category == "Hearth"
    with pytest.raises(SynestheteError, match="there is no part 'reviews'"):
        read(DATA / "shopify.csv", columns={"reviews": "Vendor"})


def without(name: str, column: str, path: Path) -> Path:
    """An export without a column."""
    with (DATA / name).open(newline="", encoding="utf-8-sig") as file:
        rows = [{k: v for k, v in row.items() if k != column} for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_exports_without_some_columns(tmp_path: Path) -> None:
    for column in ("Status", "Option1 Name", "Image Position", "Variant SKU", "Title"):
        path = tmp_path / "shopify.csv"
        items = read(without("shopify.csv", column, path))[0] if column != "Title" else {}
        assert column == "Title" or "linen-shirt" in items
    items, _, _ = read(without("woocommerce.csv", "ID", tmp_path / "w.csv"))
    assert "woo-vneck-tee" in items, "its SKU is the id"


def test_a_row_without_handle_and_title_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "Handle,Title,Variant SKU,Variant Price\nmug,Mug,A,3\n,,B,two\n,Cup,C,1\n", encoding="utf-8"
    )
    items, aside, _ = read(path)
    assert items["mug"].attributes == {"sku": ("A", "B")}
    assert items["mug"].price == 3
    assert [one.what for one in aside] == ["price", "row"]
    assert "without a handle" in aside[1].reason


NASTY = (
    "<",
    "<a",
    "<a ",
    "<!--",
    "</",
    "&",
    "&#",
    "<script",
    "<script>",
    "<a x='",
    "<p>",
    "<script></script",
)


@pytest.mark.parametrize("piece", NASTY)
def test_unfinished_markup_costs_one_pass(piece: str, counted: Callable[[], int]) -> None:
    text_of_html(piece * (20_000 // len(piece)))
    few = counted()
    text_of_html(piece * (40_000 // len(piece)))
    assert counted() - few <= 3 * few + 100


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many characters were scanned by the expressions that read tags."""
    import synesthete.catalog.sources.html_text as module

    total = 0

    class Counting:
        def __init__(self, pattern: object) -> None:
            self._pattern = pattern

        def match(self, text: str, start: int) -> object:
            nonlocal total
            found = self._pattern.match(text, start)  # type: ignore[attr-defined]
            total += (found.end() if found else len(text)) - start
            return found

    monkeypatch.setattr(module, "_TAG", Counting(module._TAG))
    return lambda: total


@given(st.text(max_size=60))
def test_escaped_text_comes_back(text: str) -> None:
    lines = (" ".join(line.split()) for line in text.replace("\0", "\ufffd").splitlines())
    expected = "\n".join(line for line in lines if line)
    assert text_of_html(html.escape(text.replace("\0", "\ufffd"))) == expected


@given(st.text(alphabet="<>/!-&;#ascript \n'\"px1", max_size=60))
def test_markup_of_any_kind_is_read(text: str) -> None:
    assert "<!--" not in text_of_html(text)
    assert "<script>" not in text_of_html(text.replace("&", ""))


def test_scripts_and_styles_are_not_text() -> None:
    for source in (
        "a<script>bad()</script>b", "a<SCRIPT type='x>y'>bad</script >b", "a<style>bad{}</style>b", "a<!-- bad -->b",
        "a<script>bad", "a<template>bad</template>b", "a<script>'</scrip' bad</script>b", "a<img onerror='bad'>b",
    ):  # fmt: skip
        assert "bad" not in text_of_html(source), source
    assert text_of_html("a&lt;script&gt;") == "a<script>"
    assert text_of_html("&#" + "9" * 5000 + ";") == "\ufffd"
    assert len(text_of_html("x" * (2 * LENGTH))) == LENGTH
