"""Tables and folders of items: what is read, under which names, and what is message of the rest."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.catalog import Item, Quarantined
from synesthete.catalog.sources import images_under, read_items
from synesthete.catalog.tables import inside, price_of, query_rows, split
from synesthete.errors import SynestheteError
from tests.catalog.conftest import image

# Beside the repository where it was downloaded; it does not come with it.
GROCERY = Path(__file__).parents[3] / "shared" / "data" / "grocery-products"


def read(path: Path, **options: object) -> tuple[list[Item], list[Quarantined]]:
    found = list(read_items(path, **options))  # type: ignore[arg-type]
    return [o for o in found if isinstance(o, Item)], [
        o for o in found if isinstance(o, Quarantined)
    ]


def test_csv_with_everything(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("red", 1))
    (tmp_path / "items.csv").write_text(
        "SKU;Product Name;description;type;price;image;image_2;reviews;colour;attributes\n"
        '7;Blue mug;"Holds; tea";mug;€ 12,50;a.png;b.png;good|fine;blue|navy;"{""size"": [""L"", ""XL""]}"\n'
        "8;Plate;;;;;;;;material=clay; weight=2\n".replace(
            "material=clay; weight=2", '"material=clay; weight=2"'
        ),
        encoding="utf-8-sig",
    )
    (mug, plate), quarantined = read(tmp_path)
    assert quarantined == []
    root = tmp_path.resolve()
    assert mug == Item(
        "7",
        title="Blue mug",
        description="Holds; tea",
        category="mug",
        reviews=("good", "fine"),
        price=12.5,
        attributes={"colour": ("blue", "navy"), "size": ("L", "XL")},
        images=(root / "a.png", root / "b.png"),
    )
    assert plate == Item("8", title="Plate", attributes={"material": ("clay",), "weight": ("2",)})


def test_jsonl_and_parquet_say_the_same(tmp_path: Path) -> None:
    rows = [
        {
            "id": 1,
            "title": "mug",
            "price": 2.5,
            "reviews": ["a|b", "c"],
            "tags": ["x", "y"],
            "images": ["a.png"],
        },
        {"id": 2, "title": None, "price": None, "reviews": [], "tags": [], "images": []},
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    a, b = read(tmp_path / "items.jsonl"), read(tmp_path / "items.parquet")
    assert a == b
    assert a[0][0] == Item(
        "1",
        title="mug",
        reviews=("a|b", "c"),
        price=2.5,
        attributes={"tags": ("x", "y")},
        images=((tmp_path / "a.png").resolve(),),
    )


def test_parquet_with_images_inside(tmp_path: Path) -> None:
    shot = image("red", 1)
    rows = [{"id": "a", "image": {"bytes": shot, "path": "x.png"}, "label": "mug"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "part-0.parquet")
    ((item,), _) = read(tmp_path)
    assert (item.images, item.category) == ((shot,), "mug")


def test_columns_by_other_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Nr,Bild,Wort\n5,a.png,rot\n")
    ((item,), _) = read(tmp_path / "t.csv", columns={"id": "Nr", "images": "Bild"}, images=tmp_path)
    assert (item.id, item.attributes) == ("5", {"Wort": ("rot",)})
    for columns, message in (
        ({}, "no column id"),
        ({"id": "nr"}, "did you mean 'Nr'"),
        ({"sku": "Nr"}, "no part 'sku'"),
    ):
        with pytest.raises(SynestheteError, match=message):
            read(tmp_path / "t.csv", columns=columns)


def test_images_that_lead_elsewhere_are_set_aside(tmp_path: Path) -> None:
    names = ["../x.png", "/etc/passwd", "C:\\x.png", "ftp://shop.example/x.png", "ok.png"]
    (tmp_path / "items.csv").write_text('id,title,images\n1,mug,"' + "|".join(names) + '"\n')
    (item,), quarantined = read(tmp_path)
    assert [p.name for p in item.images if isinstance(p, Path)] == ["ok.png"]
    assert [(q.id, q.what) for q in quarantined] == [("1", "image")] * 4
    (tmp_path / "link.png").symlink_to("/etc/hostname")
    assert "leads out" in str(inside(tmp_path.resolve(), "link.png"))
    assert "never fetched" in str(inside(tmp_path, "a\0b"))


def test_folders_of_items(tmp_path: Path) -> None:
    one = tmp_path / "Fruit" / "Red-Apple"
    one.mkdir(parents=True)
    for name in ("b.png", "a.png"):
        (one / name).write_bytes(image("red", 1))
    (one / "text.txt").write_text("It is round.\nCountry: Italy\nURL: https://shop.example\n")
    (one / "more.txt").write_text("Title: Red apple, class 1\nPrice: 2,50 kr\nIt is round.")
    (one / "more.json").write_text('{"colour": ["red", "green"], "reviews": ["Crisp!"]}')
    two = tmp_path / "Fruit" / "Pear"
    two.mkdir()
    (two / "p.png").write_bytes(b"")
    (two / "broken.json").write_text("[")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.png").write_bytes(b"x")
    (pear, apple), quarantined = read(tmp_path)
    assert apple == Item(
        "Fruit/Red-Apple",
        title="Red apple, class 1",
        description="It is round.\nIt is round.",
        category="Fruit",
        reviews=("Crisp!",),
        price=2.5,
        attributes={"colour": ("red", "green"), "country": ("Italy",)},
        images=(one / "a.png", one / "b.png"),
    )
    assert (pear.id, pear.title) == ("Fruit/Pear", "Pear")
    assert [(q.id, q.what) for q in quarantined] == [("Fruit/Pear", "broken.json")]


def test_flat_folders_of_images(tmp_path: Path) -> None:
    for name in ("mug.png", "plate_big.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "mug.txt").write_text("Holds tea.")
    (mug, plate), _ = read(tmp_path)
    assert (mug.id, mug.description, plate.title) == ("mug", "Holds tea.", "plate big")
    assert images_under(tmp_path) == [tmp_path / "mug.png", tmp_path / "plate_big.jpg"]
    assert images_under(tmp_path / "mug.png") == [tmp_path / "mug.png"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases = {
        "none.csv": "no such folder or table",
        "empty": "no items in the folder",
        "a.xlsx": "is not a table",
        "latin.csv": "is not UTF-8",
        "bad.jsonl": "line 1: not JSON",
        "list.jsonl": "not an object",
        "bad.parquet": "cannot be read as Parquet",
        "more.csv": "more fields than columns",
        "quote.csv": "after line",
    }
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "latin.csv").write_bytes("id,title\n1,Äpfel\n".encode("latin-1"))
    (tmp_path / "bad.jsonl").write_text("{")
    (tmp_path / "list.jsonl").write_text("[]")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    (tmp_path / "more.csv").write_text("id,title\n1,a,b\n")
    (tmp_path / "quote.csv").write_text('id,title\n1,"a"b\n')
    for name, message in cases.items():
        with pytest.raises(SynestheteError, match=message):
            read(tmp_path / name)


def test_long_fields(tmp_path: Path) -> None:
    with (tmp_path / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "description"], ["1", "x" * 10_000_000]])
    ((item,), _) = read(tmp_path)
    assert len(item.description) == 10_000_000


def test_a_wrong_price_is_reported_and_the_item_kept(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,title,price\n1,mug,free\n2,cup,1-2\n")
    items, quarantined = read(tmp_path)
    assert [item.price for item in items] == [None, None]
    assert [(q.id, q.what) for q in quarantined] == [("1", "price"), ("2", "price")]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.234,50 €", 1234.5),
        ("1,234.50", 1234.5),
        ("1'234.50", 1234.5),
        ("1 234,5", 1234.5),
        ("12", 12.0),
        ("12.", 12.0),
        ("-3,5", -3.5),
        ("1.234.567", 1234567.0),
        ("$.99", 99.0),
        (7, 7.0),
        (True, None),
        ("0.5", 0.5),
        ("1,5", 1.5),
    ],
)
def test_prices(text: object, number: float | None) -> None:
    if number is None:
        with pytest.raises(SynestheteError):
            price_of(text)
    else:
        assert price_of(text) == number


@given(st.integers(0, 10**9))
def test_prices_in_cents_come_back(cents: int) -> None:
    whole, rest = divmod(cents, 100)
    for text in (f"{whole}.{rest:02d}", f"{whole:,}.{rest:02d}", f"€ {whole},{rest:02d}"):
        assert price_of(text) == pytest.approx(cents / 100)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_no_cell_breaks_the_reader(text: str) -> None:
    assert all(isinstance(one, str) and one for one in split(text))
    assert isinstance(inside(Path("/tmp"), text), str | Path)
    with contextlib.suppress(SynestheteError):
        price_of(text)


def test_queries(tmp_path: Path) -> None:
    (tmp_path / "q.png").write_bytes(b"x")
    (tmp_path / "q.csv").write_text("text,path,relevant,category\nred mug,,a|b,\n,q.png,,mug\n")
    rows = [row for _, row in query_rows(tmp_path / "q.csv")]
    assert (rows[0].text, rows[0].image, rows[0].relevant) == ("red mug", None, ("a", "b"))
    assert (rows[1].image, rows[1].categories) == ((tmp_path / "q.png").resolve(), ("mug",))
    (tmp_path / "r.csv").write_text("text,answer\nx,a\n")
    with pytest.raises(SynestheteError, match="no column relevant"):
        list(query_rows(tmp_path / "r.csv"))
    assert next(query_rows(tmp_path / "r.csv", columns={"relevant": "answer"}))[1].relevant == (
        "a",
    )


@pytest.mark.skipif(not GROCERY.is_dir(), reason="the grocery products are not here")
def test_the_grocery_products() -> None:
    items, quarantined = read(GROCERY / "products")
    assert (len(items), quarantined) == (81, [])
    assert all(item.title and item.description and item.images and item.category for item in items)
    # Each tells where it comes from or how much it is, under a name that differs from shelf to shelf.
    assert all(
        any("country" in name or "volume" in name for name in item.attributes) for item in items
    )
    assert sum("country and volume" in item.attributes for item in items) >= 1
