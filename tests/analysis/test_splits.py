"""Artists in two halves: whole, the same whatever the order, and as good as the best split."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from synesthete.analysis.design import Design, shuffled
from synesthete.analysis.splits import split_artists
from synesthete.errors import SynestheteError

Rows = list[tuple[str, str, str]]


def small_world(seed: int, artists: int = 9, concepts: int = 12) -> Rows:
    """Artists who each work in one or two modalities and show a part of the concepts."""
    random = np.random.default_rng(seed)
    rows = []
    for artist in range(artists):
        works_in = [["word"], ["drawing"], ["symbol", "drawing"]][artist % 3]
        for modality in works_in:
            shown = np.flatnonzero(random.random(concepts) < 0.6)
            rows += [(f"c{c:02d}", modality, f"artist {artist}") for c in shown]
    return rows


def eligible(rows: Rows, scoring: set[str]) -> int:
    """Concepts shown on both sides in word, drawing and symbol, by plain counting."""
    count = 0
    for concept in {c for c, _, _ in rows}:
        sides = [
            {a in scoring for c, m, a in rows if (c, m) == (concept, kind)}
            for kind in ("word", "drawing", "symbol")
        ]
        count += all(len(side) == 2 for side in sides)
    return count


@pytest.mark.parametrize("seed", range(6))
def test_as_many_eligible_concepts_as_the_best_split(seed: int) -> None:
    rows = small_world(seed)
    design = Design.of(*zip(*rows, strict=True))
    names = sorted({a for _, _, a in rows})
    best = max(
        eligible(rows, set(scoring))
        for k in range(1, len(names))
        for scoring in itertools.combinations(names, k)
    )
    ours = set(design.split.scoring_artists)
    assert design.split.eligible.sum() == eligible(rows, ours)
    assert eligible(rows, ours) >= 0.9 * best


@pytest.mark.parametrize("seed", range(3))
def test_an_artist_is_in_one_half_in_every_modality(seed: int) -> None:
    rows = small_world(seed)
    split = Design.of(*zip(*rows, strict=True)).split
    for (_, _, artist), scoring in zip(rows, split.scoring, strict=True):
        assert artist in (split.scoring_artists if scoring else split.selection_artists)
    assert not set(split.scoring_artists) & set(split.selection_artists)
    assert 0.3 < split.scoring.mean() < 0.7


def test_order_of_images_does_not_matter() -> None:
    rows = small_world(1)
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    one, other = (Design.of(*zip(*r, strict=True)).split for r in (rows, mixed))
    assert one.scoring_artists == other.scoring_artists
    np.testing.assert_array_equal(one.testable, other.testable)


def test_one_artist_only_is_not_testable() -> None:
    concepts = np.zeros(5, np.int64)
    modalities = np.array([0, 0, 0, 1, 1])
    split = split_artists(concepts, modalities, [*"aaabc"], (2, 1), required=1, at_least=1)
    assert split.testable.tolist() == [[False], [True]]


def test_images_without_an_artist_are_split_one_by_one() -> None:
    rows = [(f"c{i % 4}", m, "") for m in ("photo", "drawing", "word") for i in range(24)]
    split = Design.of(*zip(*rows, strict=True)).split
    assert split.unknown_artist == 72
    assert split.selection_artists == split.scoring_artists == ()
    assert split.eligible.all()
    assert abs(split.scoring.sum() - 36) <= 4


def test_many_artists_are_split_in_reasonable_time() -> None:
    random = np.random.default_rng(0)
    kinds = ("photo", "drawing", "symbol", "word")
    rows = [(f"c{random.integers(50)}", kinds[i % 4], f"a{i % 1500}") for i in range(6000)]
    assert Design.of(*zip(*rows, strict=True)).split.eligible.all()


def test_what_is_missing_is_reported() -> None:
    with pytest.raises(SynestheteError, match="only 'dog'"):
        Design.of(["dog", "dog"], ["photo", "word"], ["a", "b"])
    cases = {
        "needs written words": [("photo", 2), ("drawing", 2), ("symbol", 2)],
        "needs 3 modalities; the probe images are: photo, word": [("photo", 2), ("word", 2)],
        r"both halves: photo 0, drawing 2, word 2": [("photo", 1), ("drawing", 2), ("word", 2)],
    }
    for message, kinds in cases.items():
        rows = [(c, m, f"{m} {a}") for c in "xy" for m, artists in kinds for a in range(artists)]
        with pytest.raises(SynestheteError, match=message):
            Design.of(*zip(*rows, strict=True)).require_testable()


def test_shuffled_labels_stay_in_their_modality_and_half() -> None:
    design = Design.of(*zip(*small_world(2), strict=True))
    codes = shuffled(design, 0)
    assert (codes != design.concept).any()
    np.testing.assert_array_equal(codes, shuffled(design, 0))
    assert (codes != shuffled(design, 1)).any()
    for modality in range(3):
        for scoring in (False, True):
            rows = design.images(modality, scoring=scoring)
            np.testing.assert_array_equal(np.sort(codes[rows]), np.sort(design.concept[rows]))
