"""Controls of text tell a reader of meanings from one of words, of length and of spelling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import Criteria, score_units
from synesthete.analysis.text_controls import MATCHED, Texts, among_matched, reading

CONCEPTS = [f"c{number:02}" for number in range(30)]
MODALITIES = ("synonym", "description", "anecdote")
CRITERIA = Criteria(q=0.2)


def text_of(code: int, modality: str, artist: str) -> str:
    """Concepts 0 to 4 have long texts, and every concept has a word of its own in all its texts."""
    generator = np.random.default_rng([code, *f"{modality}{artist}".encode()])
    words = ["".join(generator.choice(list("abcdefgh"), 5)) for _ in range(40 if code < 5 else 8)]
    return " ".join([*words, f"own{code}"])


@pytest.fixture(scope="module")
def planted() -> tuple[list[str], Design, Texts]:
    rows = [
        (concept, modality, artist)
        for concept in CONCEPTS
        for modality in MODALITIES
        for artist in ("a", "b", "c", "d")
    ]
    texts = [
        text_of(CONCEPTS.index(concept), modality, artist) for concept, modality, artist in rows
    ]
    columns: Any = [list(column) for column in zip(*rows, strict=True)]
    design = Design.of(*columns, tower="text")
    found = Texts.of(texts, design)
    assert found is not None
    return texts, design, found


def test_matched_texts_are_of_others_and_as_long(planted: Any) -> None:
    texts, design, found = planted
    for place, row in enumerate(found.rows):
        near = found.matched[place]
        if not design.split.scoring[row]:
            assert (near == -1).all()
            continue
        assert len(set(near.tolist())) == MATCHED
        assert (design.concept[near] != design.concept[row]).all()
        assert (design.modality[near] == design.modality[row]).all()
        assert design.split.scoring[near].all()
    long = [row for row in found.rows if design.split.scoring[row] and design.concept[row] < 5]
    # Of the eight long texts of other concepts in its modality and half most are among the nearest.
    for row in long[::7]:
        lengths = [len(texts[one]) for one in found.matched[np.flatnonzero(found.rows == row)[0]]]
        assert np.sum(np.array(lengths) > 150) >= 6


@pytest.mark.parametrize("reads_length", [False, True])
def test_a_unit_that_reads_length_fails_among_matched_texts(
    planted: Any, reads_length: bool
) -> None:
    _, design, found = planted
    own = design.concept == 3
    if reads_length:  # on for all long texts, for its concept's more than for three of five others
        long = (design.concept < 5) & ~own
        values = np.where(own, 1.0, 0.0)
        values[long] = np.where(np.arange(long.sum()) % 5 < 2, 2.0, 0.5)
    else:
        values = own + np.random.default_rng(0).normal(size=len(own)) * 0.1
    (scores,) = score_units(
        values[:, None], design, criteria=CRITERIA, concepts=np.array([3], np.int64)
    )
    assert scores.multimodal.all()
    kept = among_matched(values[:, None], scores, design, found, CRITERIA)
    expected = int(not reads_length)
    assert kept == {"selective_matched_texts": expected, "multimodal_matched_texts": expected}


def test_reading_is_what_a_loop_says(planted: Any) -> None:
    texts, design, found = planted
    values = np.random.default_rng(1).normal(size=(len(texts), 16)).astype(np.float32)
    values[:, :5] += design.concept[:, None] % np.array([2, 3, 5, 7, 11])
    found_ranks = reading({"model": values, "words": found.words}, design, found)
    assert found_ranks["concepts"] == len(CONCEPTS)
    chosen = np.flatnonzero(~design.split.scoring)
    z = (values - values[chosen].mean(axis=0)) / values[chosen].std(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    for modality in ("description", "anecdote"):
        ranks = []
        code = design.modalities.index(modality)
        for row in design.images(code, scoring=True):
            likeness = []
            for concept in range(len(CONCEPTS)):
                mean = z[[r for r in chosen if design.concept[r] == concept]].mean(axis=0)
                likeness.append(float(z[row] @ mean / np.linalg.norm(mean)))
            ranks.append(1 + sum(one > likeness[design.concept[row]] for one in likeness))
        one = found_ranks[modality]["model"]
        assert found_ranks[modality]["n"] == len(ranks) == 60
        assert one["top_1"] == pytest.approx(np.mean(np.array(ranks) == 1))
        assert one["top_5"] == pytest.approx(np.mean(np.array(ranks) <= 5))
        assert one["median_rank"] == np.median(ranks)
        assert one["low"] < one["top_1"] < one["high"]
        # Every concept has a word that no other's texts have.
        assert found_ranks[modality]["words"]["top_1"] > 0.95


def test_a_bag_of_words_is_a_reader_with_a_unit_for_each_concept(planted: Any) -> None:
    texts, design, found = planted
    units = found.bag_of_words(design)
    assert units.shape == (len(texts), len(CONCEPTS))
    words = found.words.toarray()
    chosen = (design.concept == 7) & ~design.split.scoring
    mean = words[chosen].mean(axis=0)
    np.testing.assert_allclose(units[:, 7], words @ mean / np.linalg.norm(mean), atol=1e-3)
    (scores,) = score_units(units, design, criteria=CRITERIA)
    assert (scores.concept == np.arange(len(CONCEPTS))).all()
    assert scores.multimodal.all()


def test_too_few_texts_have_no_controls() -> None:
    columns = ["a", "b"] * 4, ["description"] * 8, ["x", "y", "z", "w"] * 2
    design = Design.of(*columns, tower="text")
    assert Texts.of([""] * 8, design) is None
    assert Texts.of(["word", "", "word", "", "", "", "", ""], design) is None
    assert Texts.of(["…"] * 8, design) is None  # no word in any
