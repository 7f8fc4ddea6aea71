"""A word on a photo: the answers with units off are those of a model whose units are switched off."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import open_atlas
from synesthete.atlas.writing import add_files
from synesthete.editing import plan_edits
from synesthete.editing.sticker import SIDE, carried, classify, square, with_sticker, without_word
from synesthete.editing.sticker_survey import SECTION, read_survey, survey_stickers
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.report.columns import read_probe_columns
from tests.editing.conftest import Family
from tests.small_atlas import CONCEPTS, record_small

NAMES = ["apple", "boat", "drum", "rice", "volcano", "dog"]


def photo() -> Image.Image:
    rng = np.random.default_rng(3)
    return square(Image.fromarray(rng.integers(0, 255, (90, 128, 3), np.uint8)))


def test_units_off_are_those_of_the_edited_model() -> None:
    model = load_model("mini")
    layer, directions = model.default_layers[0], class_embeddings(model, NAMES)
    image = photo()
    found = carried(model, layer, image, "volcano", directions)
    worded = with_sticker(image, "volcano")
    assert found.plain == pytest.approx(classify(model, [image], directions)[0], abs=1e-5)
    assert found.without[0] == pytest.approx(classify(model, [worded], directions)[0], abs=1e-5)
    assert len(found.units) > 0
    assert found.without.shape == (2 ** len(found.units), len(NAMES))
    margins = np.log(found.without[:, found.answer] / found.without[:, found.rival])
    for mask in (1, len(found.without) - 1):
        off = [f"{layer}:{unit}" for bit, unit in enumerate(found.units) if mask >> bit & 1]
        with model.edited(plan_edits(model, ablate=off)):
            expected = classify(model, [worded], directions)[0]
        assert found.without[mask] == pytest.approx(expected, abs=1e-5)
        assert margins[mask] > margins[0]
    # The first unit is the one that raises the answer most.
    alone = [margins[1 << bit] for bit in range(len(found.units))]
    assert alone == sorted(alone, reverse=True)
    state = found.state(0, "volcano", layer, NAMES)
    assert state.labels[:2] == [NAMES[found.answer], NAMES[found.rival]]
    assert len(state.control) == len(state.units)
    with pytest.raises(SynestheteError, match="do not fit"):
        replace(state, units=state.units[:-1])


def test_several_at_a_time_are_as_one_by_one() -> None:
    """The model of a server answers many readers, each letter in a thread of its own, and other passes beside."""
    model = load_model("mini")
    layer, directions = model.default_layers[0], class_embeddings(model, NAMES)
    image = photo()
    pixels = model.preprocess(image)[None]
    plain = model.encode_images(pixels)
    words = ["volcano"[:length] for length in range(1, 8)] * 2

    def ask(word: str) -> tuple[list[int], np.ndarray, np.ndarray]:
        found = carried(model, layer, image, word, directions)
        return list(found.units), found.without, model.encode_images(pixels)

    expected = {word: ask(word) for word in words}
    with ThreadPoolExecutor(4) as threads:
        for word, found in zip(words, threads.map(ask, words), strict=True):
            assert found[0] == expected[word][0]
            assert found[1] == pytest.approx(expected[word][1], abs=1e-5)
            assert found[2] == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("name", ["modified-resnet", "vit", "siglip", "eva", "convnext"])
def test_of_every_family(family: Family, name: str) -> None:
    """Maps, or tokens after which a class token is read: a batch of sets is the same as one by one."""
    model = family(name)
    layer = model.default_layers[0]
    directions = np.eye(model.embedding_dim, dtype=np.float32)[:4]
    image = photo()
    found = carried(model, layer, image, "boat", directions)
    assert len(found.units) > 0
    for bit, unit in enumerate(found.units):
        with model.edited(plan_edits(model, ablate=[f"{layer}:{unit}"])):
            expected = classify(model, [with_sticker(image, "boat")], directions)[0]
        assert found.without[1 << bit] == pytest.approx(expected, abs=1e-5)


def test_without_a_word() -> None:
    state = without_word(4, np.array([0.2, 0.7, 0.1]), ["a", "b", "c"])
    assert (state.answers, state.units, state.without[0]) == (["b"], [], state.plain)


def test_a_word_no_font_has() -> None:
    with pytest.raises(SynestheteError, match="no font here"):
        with_sticker(photo(), "\U0001f600")
    assert with_sticker(photo(), "boat").size == (SIDE, SIDE)


def test_a_survey_counts_and_is_kept(tmp_path: Path) -> None:
    path = record_small(tmp_path)
    atlas = open_atlas(path)
    assert read_survey(atlas) is None
    assert len(read_probe_columns(atlas).photos) == 4 * len(CONCEPTS)
    found = survey_stickers(path)
    assert read_survey(open_atlas(path)) == found
    assert found.photos == 16 >= found.pairs >= found.turned >= found.repaired
    assert found.by_chance <= found.turned
    before = (path / "atlas.json").read_bytes()
    survey_stickers(path)
    assert (path / "atlas.json").read_bytes() == before
    add_files(path, {}, notes={SECTION: {"layer": "x"}})
    with pytest.raises(SynestheteError, match="damaged"):
        read_survey(open_atlas(path))
