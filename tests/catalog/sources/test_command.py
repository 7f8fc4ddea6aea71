"""`catalog index` on sources of every kind: what it counts, what it says, and one line for every mistake."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from synesthete.catalog import Catalog
from tests.catalog.sources.conftest import Run
from tests.catalog.sources.site import send, serving

DATA = Path(__file__).parent / "data"


def test_a_shops_export_is_found_by_words_and_codes(run: Run) -> None:
    shutil.copy(DATA / "shopify.csv", "products_export.csv")
    code, found, _ = run("products_export.csv")
    assert (code, found["added"], found["quarantined"]) == (0, 2, [])
    hosts = {"cdn.shopify.com": 5}
    assert found["left_out"] == {"unpublished": 3, "unchanged": 0, "image_urls": hosts}
    catalog = Catalog.open("my.catalog")
    for text, item in (
        ("linen", "linen-shirt"), ("00412-M-G", "linen-shirt"), ("4006381333931", "linen-shirt"), ("TP-1", "teapot"),
    ):  # fmt: skip
        assert catalog.search(text, limit=1)[0].id == item, text
    assert [hit.id for hit in catalog.search("shirt", where=["size=M", "price<55"])] == [
        "linen-shirt"
    ]


def test_images_are_fetched_into_the_catalogue(run: Run) -> None:
    with serving() as site:
        site.answers["/a.png"] = send(ETag="1")
        url = f"http://{site.host}/a.png?signature=secret"
        site.answers["/a.png?signature=secret"] = send(ETag="1")
        Path("items.csv").write_text(f"id,title,image\n1,mug,{url}\n2,cup,{url}x\n")
        options = ["--fetch-images", "--image-hosts", site.host, "--allow-http", "--allow-private"]
        code, found, error = run("items.csv", *options)
        assert (code, found["added"], found["images_fetched"]) == (0, 2, 1), error
        (gone,) = found["quarantined"]
        assert (gone["id"], gone["what"]) == ("2", f"http://{site.host}/a.png")
        assert "404" in gone["reason"]
        assert "secret" not in str(found["quarantined"])
        _, again, _ = run("items.csv", *options)
        assert again["unchanged"] == 2
        # Hosts are this machine: refused unless that is allowed.
        _, refused, _ = run("items.csv", *options[:-1])
        assert (refused["changed"], refused["images_fetched"]) == (1, 0)
        assert "not an address on the public internet" in refused["quarantined"][0]["reason"]
    assert Catalog.open("my.catalog").thumbnail("1") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty.csv", "--prune"], "--prune would delete all"),
        (["items.csv", "--since", "soon"], "'soon' is not a time"),
        (["items.csv", "--since", "last", "--prune"], "--prune needs all rows"),
        (["plain.csv", "--since", "last"], "no column with times of change"),
        (["folder", "--since", "last"], "no times of change"),
        (["items.csv", "--image-hosts", "x.example"], "only with --fetch-images"),
        (["items.csv", "--fetch-images"], "no hosts of images"),
        (["postgresql://a:b@db/shop"], "needs a query"),
        (["https://a:b@shop.example/items.csv"], "tables are not fetched from the web"),
        (["items.csv", "--sql", "SELECT 1"], "needs the URL of a database"),
    ],
)
def test_mistakes_end_in_one_line(run: Run, arguments: list[str], message: str) -> None:
    Path("items.csv").write_text("id,title,updated_at\n1,mug,2026-03-01\n")
    Path("empty.csv").write_text("id,title\n")
    Path("plain.csv").write_text("id,title\n1,mug\n")
    Path("folder").mkdir()
    Path("folder", "a.png").write_bytes(b"x")
    code, found, error = run(*arguments)
    assert (code, found) == (2, {})
    assert message in error
    assert error.count("\n") == 1
