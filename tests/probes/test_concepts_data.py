"""The shipped probe set keeps what it promises: counts, licences, sizes, and nothing missing."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFont

ROOT = Path(__file__).parents[2]
DATA = ROOT / "src" / "synesthete" / "probes" / "data"
CONCEPTS, FONTS = DATA / "concepts", DATA / "fonts"
TABLES = ROOT / "training" / "build_concepts"
MODALITIES = ("photo", "drawing", "symbol")
SHIPPABLE = re.compile(
    r"(CC0-1\.0|Public domain|CC-BY-[234]\.0|CC-BY-SA-[234]\.[05]|MIT|ISC|Apache-2\.0|OFL-1\.1)"
)
TILE, COLUMNS = 128, 16


@cache
def rows() -> list[dict[str, str | int]]:
    table: list[dict[str, str | int]] = pq.read_table(CONCEPTS / "manifest.parquet").to_pylist()
    return table


@cache
def artists() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows():
        found[str(row["concept"])][str(row["modality"])].append(str(row["artist"]))
    return found


@cache
def sprite(name: str) -> Image.Image:
    return Image.open(CONCEPTS / name).convert("RGB")


def table(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def test_enough_concepts_in_families() -> None:
    assert len(artists()) >= 500
    families = defaultdict(set)
    for row in rows():
        families[row["concept"]].add(row["family"])
    assert all(len(names) == 1 and "" not in names for names in families.values())
    assert len({next(iter(names)) for names in families.values()}) >= 20


def test_every_concept_has_three_drawings_and_two_symbols_of_different_artists() -> None:
    poor = [
        concept
        for concept, found in artists().items()
        if len(set(found["drawing"])) < 3 or len(set(found["symbol"])) < 2
    ]
    assert not poor


def test_drawings_and_symbols_of_a_concept_are_one_per_artist() -> None:
    for found in artists().values():
        for modality in ("drawing", "symbol"):
            assert len(found[modality]) == len(set(found[modality]))


def test_enough_concepts_have_photographs() -> None:
    photographs = [len(found["photo"]) for found in artists().values()]
    assert sum(n >= 1 for n in photographs) >= 150
    assert sum(n >= 2 for n in photographs) >= 80


def test_photographs_are_by_many_artists() -> None:
    by_concept = [len(set(found["photo"])) for found in artists().values()]
    assert sum(n >= 2 for n in by_concept) == 93
    assert sum(n >= 4 for n in by_concept) == 43
    everyone = {artist for found in artists().values() for artist in found["photo"]}
    # Whole sources are no artists; photographs of one product by one shop's customers are.
    assert not everyone & {"grocery", "ffml_food", "clothing", "boss", "gcompris", "streetcomplete"}
    products = {
        str(row["source"]).split("/")[-2]
        for row in rows()
        if str(row["artist"]) == "grocery Royal-Gala"
    }
    assert products == {"Royal-Gala"}


TEST_SET = DATA / "concepts-test"


def test_the_test_set_has_no_package_and_no_font_that_training_or_the_other_set_has() -> None:
    def packages(*names: str) -> set[str]:
        found: set[str] = set()
        for name in names:
            with (ROOT / "training" / name).open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines, delimiter="\t"):
                    found.add(row.get("package") or f"@iconify-json/{row['set']}")
        return found

    test = packages("build_concepts/test_set/packages.tsv", "build_concepts/test_set/fonts.tsv")
    others = packages(
        "build_concepts/packages.tsv", "build_concepts/fonts.tsv", "more_sets.tsv", "more_fonts.tsv"
    )
    assert len(test) >= 30
    assert not test & others
    fonts = json.loads((TEST_SET / "fonts" / "fonts.json").read_text("utf-8"))
    assert all(entry["held_out"] for entry in fonts)
    shipped = {entry["family"] for entry in json.loads((FONTS / "fonts.json").read_text("utf-8"))}
    assert not shipped & {entry["family"] for entry in fonts}


def test_the_test_set_says_whose_it_is_and_stays_small() -> None:
    manifest = pq.read_table(TEST_SET / "manifest.parquet").to_pylist()
    page = (TEST_SET / "LICENCES.md").read_text("utf-8")
    for row in manifest:
        assert SHIPPABLE.fullmatch(row["licence"]), row["key"]
        assert row["author"]
        assert row["source"].split()[0] in page
    shown: dict[str, set[str]] = defaultdict(set)
    for row in manifest:
        shown[row["concept"]].add(row["modality"])
    assert sum(len(modalities) == 2 for modalities in shown.values()) >= 170
    assert sum(path.stat().st_size for path in TEST_SET.rglob("*") if path.is_file()) < 6_000_000


def test_every_image_says_whose_it_is() -> None:
    for row in rows():
        assert row["modality"] in MODALITIES
        for column in ("key", "concept", "family", "artist", "caption", "source", "author"):
            assert str(row[column]).strip(), (row["key"], column)
        assert SHIPPABLE.fullmatch(str(row["licence"])), row["key"]
    keys = [row["key"] for row in rows()]
    assert len(set(keys)) == len(keys)


def test_no_image_of_unclear_origin() -> None:
    origins = " ".join(f"{row['key']} {row['source']}" for row in rows())
    for unwanted in ("caltech", "tuxpaint", "apple-emoji", "facebook"):
        assert unwanted not in origins


def test_share_alike_images_name_a_person_or_project() -> None:
    for row in rows():
        if "SA" in str(row["licence"]):
            assert str(row["author"]).lower() not in ("unknown", "anonymous", "various")


def test_every_sprite_is_there_and_full() -> None:
    places = defaultdict(list)
    for row in rows():
        places[str(row["sprite"])].append(int(row["tile"]))
    assert set(places) == {path.name for path in CONCEPTS.glob("*.webp")}
    for name, tiles in places.items():
        assert sorted(tiles) == list(range(len(tiles)))
        assert sprite(name).size == (TILE * COLUMNS, TILE * -(-len(tiles) // COLUMNS))


def test_no_tile_is_empty() -> None:
    for row in rows():
        line, place = divmod(int(row["tile"]), COLUMNS)
        left, top = place * TILE, line * TILE
        tile = sprite(str(row["sprite"])).crop((left, top, left + TILE, top + TILE))
        grey = np.asarray(tile.convert("L"), dtype=np.float32)
        assert grey.std() > 4, f"{row['key']} is nearly blank"


def test_package_stays_small() -> None:
    total = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    assert total < 20_000_000


def test_credits_page_names_every_photograph_and_set() -> None:
    page = (CONCEPTS / "LICENCES.md").read_text("utf-8")
    for row in rows():
        if row["modality"] == "photo":
            assert str(row["source"]).replace("|", "/") in page
        else:
            assert str(row["source"]).split()[0] in page


def test_fonts_are_open_diverse_and_have_the_letters() -> None:
    listed = json.loads((FONTS / "fonts.json").read_text("utf-8"))
    assert len(listed) >= 12
    assert len({entry["family"] for entry in listed}) == len(listed)
    assert len({entry["style"] for entry in listed}) >= 6
    assert sum(entry["held_out"] for entry in listed) == 3
    letters = sorted({letter for concept in artists() for letter in concept + concept.upper()})
    for entry in listed:
        assert entry["licence"] == "OFL-1.1"
        assert entry["author"]
        assert "SIL OPEN FONT LICENSE" in (FONTS / entry["licence_file"]).read_text("utf-8")
        font = ImageFont.truetype(FONTS / entry["file"], 40)
        # A letter the font lacks is drawn as its "missing" box, like a code point that none has.
        missing = bytes(font.getmask("\ue123"))
        assert all(bytes(font.getmask(x)) != missing for x in letters if x.strip())


@pytest.mark.skipif(not TABLES.is_dir(), reason="the build tables are not part of the package")
def test_data_is_what_the_curated_tables_say() -> None:
    curated = table("images.tsv")
    shipped = [(row["concept"], row["modality"], row["key"]) for row in rows()]
    assert shipped == [(row["concept"], row["modality"], row["item"]) for row in curated]
    families = {row["concept"]: row["family"] for row in table("concepts.tsv")}
    assert {row["concept"]: row["family"] for row in rows()} == families


@pytest.mark.skipif(not TABLES.is_dir(), reason="the build tables are not part of the package")
def test_excluded_images_stay_out() -> None:
    excluded = {(row["concept"], row["item"]) for row in table("exclusions.tsv")}
    assert not excluded & {(row["concept"], row["key"]) for row in rows()}
    assert not {concept for concept, item in excluded if not item} & set(artists())
    assert all(row["reason"] for row in table("exclusions.tsv"))
