"""What few images of a concept can show."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np

from synesthete.analysis.cells import cells_in_words, cells_of
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import score_units

CONCEPTS = ("apple", "boat", "cat", "drum", "egg")


def _design(each: int) -> Design:
    rows = list(product(CONCEPTS, ("photo", "drawing", "word"), range(each)))
    rows = [*rows, ("fig", "photo", 0)]
    return Design.of(*zip(*((c, m, f"artist {a}") for c, m, a in rows), strict=True))


def test_a_weak_cell_is_one_that_a_perfect_unit_cannot_pass() -> None:
    for each, weak in ((2, True), (4, True), (6, False)):
        design = _design(each)
        photo = next(one for one in cells_of(design) if one.modality == "photo")
        assert photo.tested == CONCEPTS
        assert photo.single == ("fig",)
        assert photo.images == 5 * each + 1
        perfect = (design.concept == design.concepts.index("apple")).astype(np.float64)
        rng = np.random.default_rng(0)
        units = np.stack([perfect + 0.01 * rng.random(perfect.size), rng.random(perfect.size)], 1)
        (scores,) = score_units(units, design)
        m = design.modalities.index("photo")
        least = 1 / comb(
            design.images(m, scoring=True).size,
            int((design.concept[design.images(m, scoring=True)] == 0).sum()),
        )
        assert scores.p[0, m] >= least - 1e-12
        assert ("apple" in photo.weak) is weak
        if weak:
            assert photo.weak["apple"] == least
            assert not scores.selective[0]


def test_in_words() -> None:
    lines = list(cells_in_words(_design(2)))
    assert lines[0].startswith("photo: images 11, concepts 6; 5 tested, on 1 held-out against")
    assert "too few to test (a single image or artist, or nothing to compare with): fig" in lines[0]
    assert "tested but too few to pass: apple (p at least" in lines[0]
    assert lines[-1].startswith("multimodal can be tested for 5 of 6 concepts")
    alone = list(cells_in_words(Design.of(["a"], ["photo"], ["x"], at_least=1)))
    assert alone[-1].startswith(
        "no neuron can be called multimodal: the probe images show only 'a'"
    )
