"""The built-in set: sprites cut right, every concept's word in every font, damage reported."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from synesthete.errors import SynestheteError
from synesthete.probes import TEXT_MODALITIES, describe, list_probes, load_probes, with_words
from synesthete.probes.builtin import DATA_FOLDER, load_builtin
from synesthete.probes.probe_set import COLUMNS, ProbeSet, UnreadableImage
from synesthete.probes.sources import pixel_digest
from synesthete.probes.words import has_letters, load_fonts, render_word, set_case
from tests.probes.samples import builtin_data, font_folder, png, scene, write

SHIPPED = pytest.mark.skipif(
    not (DATA_FOLDER / "concepts" / "manifest.parquet").is_file()
    or not (DATA_FOLDER / "fonts" / "fonts.json").is_file(),
    reason="the built-in data is not in this checkout",
)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return builtin_data(tmp_path / "data"), font_folder(tmp_path / "fonts")


@pytest.fixture
def tiny(folders: tuple[Path, Path]) -> ProbeSet:
    return load_builtin("concepts", data=folders[0], fonts=folders[1])


def test_images_come_by_sprite_and_tile_then_words(tiny: ProbeSet) -> None:
    assert len(tiny) == 12 + 12
    keys = tiny.labels["key"].to_pylist()
    assert keys[:4] == [
        "drawing/apple/0",
        "drawing/hot dog/0",
        "drawing/zebra/0",
        "drawing/apple/1",
    ]
    assert tiny.modalities == ["drawing", "symbol", "word"]
    assert tiny.table.column_names == [*COLUMNS, "sha256"]
    assert len(set(keys)) == len(keys)


def test_tiles_are_cut_where_they_lie(tiny: ProbeSet) -> None:
    for i, tile in enumerate([0, 1, 2, 15, 16, 17]):
        assert np.array_equal(np.asarray(tiny.image(i)), np.asarray(scene(128, 128, seed=tile)))
        assert tiny.table["sha256"][i].as_py() == pixel_digest(scene(128, 128, seed=tile))


def test_word_rows(tiny: ProbeSet, folders: tuple[Path, Path]) -> None:
    words = tiny.select(modalities=["word"])
    assert words.labels["key"].to_pylist()[:4] == [
        "word/Face-0/apple/lower",
        "word/Face-0/hot dog/title",
        "word/Face-0/zebra/upper",
        "word/Face-1/apple/title",
    ]
    assert words.labels["artist"].to_pylist()[3] == "Face 1"
    assert words.labels["family"].to_pylist()[0] == "things"
    assert words.labels["licence"].to_pylist()[0] == "OFL-1.1"
    assert words.labels["caption"].to_pylist()[1] == "Hot Dog"
    drawn = render_word("hot dog", folders[1] / "Face-0.ttf", case="title")
    assert words.image(1).tobytes() == drawn.tobytes()
    assert words.table["sha256"][1].as_py() == pixel_digest(drawn)


def test_loading_again_gives_the_same_set(tiny: ProbeSet, folders: tuple[Path, Path]) -> None:
    again = load_builtin("concepts", data=folders[0], fonts=folders[1])
    assert again.fingerprint == tiny.fingerprint


def test_a_copy_for_another_process(tiny: ProbeSet) -> None:
    tiny.image(0)
    copy = pickle.loads(pickle.dumps(tiny))
    assert copy.image(0).tobytes() == tiny.image(0).tobytes()
    assert copy.image(13).tobytes() == tiny.image(13).tobytes()


def test_description(tiny: ProbeSet) -> None:
    assert describe(tiny) == {
        "name": "concepts",
        "images": 24,
        "concepts": 3,
        "families": 1,
        "artists": 6,
        "modalities": {"drawing": 6, "symbol": 6, "word": 12},
        "licences": {"MIT": 12, "OFL-1.1": 12},
    }


def test_damage_is_reported(folders: tuple[Path, Path]) -> None:
    data, fonts = folders
    (data / "concepts" / "symbol.webp").unlink()
    write(data / "concepts" / "drawing.webp", b"RIFF")
    probes = load_builtin("concepts", data=data, fonts=fonts)
    with pytest.raises(UnreadableImage):
        probes.image(0)
    with pytest.raises(UnreadableImage, match=r"no sprite 'symbol\.webp'"):
        probes.image(6)
    assert probes.table["sha256"].to_pylist()[0] == ""
    write(data / "concepts" / "manifest.parquet", b"PAR1")
    with pytest.raises(SynestheteError, match="install the package again"):
        load_builtin("concepts", data=data, fonts=fonts)
    (data / "concepts" / "manifest.parquet").unlink()
    with pytest.raises(SynestheteError, match="install the package again"):
        load_builtin("concepts", data=data, fonts=fonts)


def test_a_tile_outside_its_mosaic(folders: tuple[Path, Path]) -> None:
    data, fonts = folders
    write(data / "concepts" / "drawing.webp", png())
    with pytest.raises(UnreadableImage, match="no tile 0"):
        load_builtin("concepts", data=data, fonts=fonts).image(0)


def test_no_such_built_in_set() -> None:
    with pytest.raises(SynestheteError, match="did you mean 'concepts'"):
        load_builtin("concept")


def test_words_for_the_users_own_set(tmp_path: Path) -> None:
    write(tmp_path / "set" / "apple" / "a.png", png())
    write(tmp_path / "set" / "apple" / "b.png", b"")
    write(tmp_path / "set" / "苹果" / "c.png", png(1))
    write(tmp_path / "set" / "loose.png", png(2))
    photos = load_probes(tmp_path / "set")
    probes = with_words(photos, fonts=font_folder(tmp_path / "fonts", 3))
    assert probes.modalities == ["photo", "word"]
    assert probes.labels["key"].to_pylist()[:4] == photos.labels["key"].to_pylist()
    assert probes.table["sha256"].to_pylist()[:4] == photos.table["sha256"].to_pylist()
    cases = [k.rsplit("/", 1)[1] for k in probes.labels["key"].to_pylist()[4:7]]
    assert sorted(cases) == ["lower", "title", "upper"]
    assert probes.image(0).tobytes() == photos.image(0).tobytes()
    with pytest.raises(UnreadableImage, match="empty file"):
        probes.image(1)
    with pytest.raises(UnreadableImage, match="outside every concept"):
        probes.image(2)
    with pytest.raises(UnreadableImage, match="no shipped font can write '苹果'"):
        probes.image(len(probes) - 1)


@SHIPPED
def test_words_are_drawn_on_request_and_with_their_licences(tmp_path: Path) -> None:
    for number, name in enumerate(("apple/a.png", "pear/drawing/b.png")):
        write(tmp_path / "set" / name, png(number))
    plain, drawn = load_probes(tmp_path / "set"), load_probes(tmp_path / "set", words=True)
    assert (plain.modalities, drawn.modalities) == (
        ["photo", "drawing"],
        ["photo", "drawing", "word"],
    )
    assert plain.fingerprint != drawn.fingerprint
    assert drawn.fingerprint == load_probes(tmp_path / "set", words=True).fingerprint
    words = drawn.select(modalities=["word"]).labels.to_pylist()
    built_in = load_probes("concepts").select(concepts=["apple"], modalities=["word"]).labels
    assert len({row["artist"] for row in words}) >= 4
    for column in ("artist", "source", "licence", "author"):
        mine = [row[column] for row in words if row["concept"] == "apple"]
        assert mine == built_in[column].to_pylist()


@SHIPPED
def test_words_are_not_drawn_over_those_of_the_set_itself(tmp_path: Path) -> None:
    write(tmp_path / "set" / "apple" / "word" / "a.png", png())
    write(tmp_path / "set" / "pear" / "b.png", png(1))
    plain = load_probes(tmp_path / "set")
    assert load_probes(tmp_path / "set", words=True).fingerprint == plain.fingerprint
    assert with_words(plain) is plain


@SHIPPED
def test_the_shipped_set_is_what_it_promises() -> None:
    probes = load_probes("concepts", texts=False)
    labels = probes.labels.to_pylist()
    assert len({row["key"] for row in labels}) == len(labels)
    assert all(row[c] for row in labels for c in COLUMNS if c != "author")
    artists: dict[tuple[str, str], set[str]] = {}
    images: Counter[tuple[str, str]] = Counter()
    for row in labels:
        artists.setdefault((row["concept"], row["modality"]), set()).add(row["artist"])
        images[row["concept"], row["modality"]] += 1
    assert len(probes.concepts) >= 500
    assert min(len(artists.get((c, "drawing"), ())) for c in probes.concepts) >= 3
    assert min(images[c, "symbol"] for c in probes.concepts) >= 2
    assert min(len(artists.get((c, "word"), ())) for c in probes.concepts) >= 8
    assert sum(images[c, "photo"] >= 1 for c in probes.concepts) >= 150
    assert sum(images[c, "photo"] >= 2 for c in probes.concepts) >= 80
    cases: dict[str, set[str]] = {}
    for row in labels:
        if row["modality"] == "word":
            cases.setdefault(row["concept"], set()).add(row["key"].rsplit("/", 1)[1])
    assert all(found == {"lower", "title", "upper"} for found in cases.values())


@SHIPPED
def test_every_shipped_font_can_write_every_shipped_concept() -> None:
    probes = load_probes("concepts", texts=False)
    for font in load_fonts():
        for concept in probes.concepts:
            for case in ("lower", "title", "upper"):
                assert has_letters(set_case(concept, case), font), (font.name, concept)


@SHIPPED
def test_shipped_images_can_be_read() -> None:
    probes = load_probes("concepts", texts=False)
    sample = np.random.default_rng(0).choice(len(probes), 60, replace=False)
    for index in sorted(sample):
        image = probes.image(int(index))
        assert image.size == (128, 128)
        low, high = image.convert("L").getextrema()
        assert high > low, probes.labels["key"][int(index)]


@SHIPPED
def test_the_list_of_shipped_sets() -> None:
    concepts, test = list_probes()
    assert (concepts["name"], test["name"]) == ("concepts", "concepts-test")
    assert set(concepts["modalities"]) == {"photo", "drawing", "symbol", "word", *TEXT_MODALITIES}
    assert concepts["texts"] > 9_000
    assert "texts" not in test
    assert set(test["modalities"]) == {"drawing", "symbol", "word"}
    for about in (concepts, test):
        assert sum(about["modalities"].values()) == about["images"] + about.get("texts", 0)
        assert sum(about["licences"].values()) == about["images"] + about.get("texts", 0)


@SHIPPED
def test_the_test_set_shows_the_same_concepts_by_others() -> None:
    concepts, test = load_probes("concepts").labels, load_probes("concepts-test").labels
    assert set(test["concept"].to_pylist()) <= set(concepts["concept"].to_pylist())
    assert not set(test["artist"].to_pylist()) & set(concepts["artist"].to_pylist())
    assert not set(test["key"].to_pylist()) & set(concepts["key"].to_pylist())
