"""Controls by kind: the largest over initialisations, distinct findings, words of equal length, warnings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from synesthete.analysis import controls
from synesthete.analysis.controls import (
    against_equal_length,
    control_counts,
    distinct,
    measured,
)
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import DEFAULT, score_units
from synesthete.analysis.planted import Planted, plant
from synesthete.report.counts import counts_of
from tests.analysis.planted_atlas import ARTISTS, small_design
from tests.oracles import selectivity as oracle

UNITS = 60


@pytest.fixture(scope="module")
def design() -> Design:
    return small_design()[0]


@pytest.fixture(scope="module")
def planted(design: Design) -> Planted:
    return plant(design, UNITS, noise=0.1, seed=2)


def counted(activations: np.ndarray, twins: dict[str, np.ndarray], design: Design) -> dict:
    return control_counts(activations, twins, design, criteria=DEFAULT, seed=0)


def test_the_random_twin_is_the_worst_of_its_initialisations(
    design: Design, planted: Planted
) -> None:
    noise = np.random.default_rng(0).normal(size=planted.activations.shape).astype(np.float16)
    (scores,) = score_units(planted.activations, design)
    planted_count = int(scores.multimodal.sum())
    twins = {"random_twin": noise, "random_he": planted.activations, "permuted": noise}
    found = counted(planted.activations, twins, design)
    assert found["multimodal_random_twin"] == planted_count > 0
    assert found["mean_multimodal_random_twin"] == planted_count / 2
    assert found["runs_random_twin"] == 2
    assert found["multimodal_permuted"] == 0
    assert found["runs_permuted"] == 1
    other = counted(planted.activations, {"permuted": planted.activations}, design)
    assert other["multimodal_random_twin"] is None
    assert other["multimodal_permuted"] == planted_count
    assert other["participation_ratio_permuted"] == pytest.approx(
        controls.participation_ratio(planted.activations)
    )
    assert set(other) == set(found)


def test_the_rotation_says_in_how_many_blocks_it_was(
    design: Design, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert counted(planted.activations, {}, design)["rotation_blocks"] == 1
    monkeypatch.setattr(controls, "BLOCK", 25)
    assert counted(planted.activations, {}, design)["rotation_blocks"] == 3


def test_units_that_correlate_are_one_finding() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(size=(500, 3))
    # The first two correlate at 0.95, the third with both at 0; through a chain the ends are one finding though they hardly correlate.
    close = base[:, [0]] + 0.3 * generator.normal(size=(500, 1))
    assert distinct(np.column_stack([base[:, [0]], close, base[:, [1]]])) == 2
    angles = np.linspace(0, np.pi / 2, 5)
    chain = base[:, [0]] * np.cos(angles) + base[:, [1]] * np.sin(angles)
    assert distinct(chain) == 1
    assert distinct(chain[:, [0, 4]]) == 2
    assert distinct(np.column_stack([base[:, 0], -base[:, 0]])) == 2
    assert distinct(base[:, :0]) == 0


def long_and_short() -> tuple[Design, np.ndarray]:
    """57 concepts of names from 3 to 12 letters and three of 24, each shown by every artist in every modality."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    names = [alphabet[i % 26 :][:1] * 2 + alphabet[i // 26] * (1 + i % 10) for i in range(57)]
    names += [letter * 24 for letter in "xyz"]
    rows = [
        (name, modality, f"{modality} artist {artist}")
        for modality, artists in ARTISTS.items()
        for artist in range(artists)
        for name in names
    ]
    concepts, modalities, artists = zip(*rows, strict=True)
    design = Design.of(concepts, modalities, artists)
    letters = np.array([len(design.concepts[c]) for c in design.concept])
    return design, letters


def test_words_of_equal_length_equal_a_loop() -> None:
    design, letters = long_and_short()
    generator = np.random.default_rng(0)
    activations = generator.normal(size=(len(letters), 8)).astype(np.float16)
    concept = generator.integers(0, len(design.concepts), 8)
    concept[7] = -1
    auc, ap = against_equal_length(activations, concept, design)
    word = design.images(design.modalities.index("word"), scoring=True)
    for unit, code in enumerate(concept[:7]):
        near = word[np.abs(letters[word] - len(design.concepts[code])) <= 1]
        positive = design.concept[near] == code
        values = activations[near, unit].astype(float)
        assert auc[unit] == pytest.approx(oracle.auc(values, positive))
        assert ap[unit] == pytest.approx(average_precision_score(positive, values))
    assert np.isnan(auc[7])
    assert np.isnan(ap[7])


def test_a_unit_that_likes_long_words_does_not_pass_among_them() -> None:
    design, letters = long_and_short()
    own = design.concept == len(design.concepts) - 1
    noise = 1e-3 * np.random.default_rng(0).normal(size=len(letters))
    is_word = design.modality == design.modalities.index("word")
    # Both know the concept as a photo, drawing and symbol; the second takes long words for it, its own a little less than others.
    exact = own + noise
    by_length = np.where(is_word, letters / 24 - 0.1 * own, own) + noise
    values = np.column_stack([exact, by_length]).astype(np.float16)
    (scores,) = score_units(values, design)
    assert scores.selective.tolist() == [True, True]
    found = measured(values, design, DEFAULT, scores=scores)
    assert found["selective"] == 2
    assert found["selective_equal_length"] == 1
    assert found["multimodal_equal_length"] == 1


def test_a_control_that_reaches_a_tenth_is_warned_of() -> None:
    facts = {"units": 100, "selective": 50, "multimodal": 30, "concept_cells": 10,
             "multimodal_permuted": 3, "selective_rotation": 49, "multimodal_rotation": 2,
             "concept_cells_shuffled": 1, "multimodal_random_twin": 0, "rotation_blocks": 2}  # fmt: skip
    counts = counts_of(facts)
    assert counts is not None
    assert counts.warnings == [
        "3 multimodal neurons with its weights permuted: at least a tenth of the model's 30",
        "49 selective neurons in random mixtures of its neurons: at least a tenth of the model's 50",
        "1 concept cells with shuffled labels: at least a tenth of the model's 10",
    ]
    assert counts.rotation.label == "in random mixtures of its neurons (in blocks)"
    assert counts.beside == []
    facts |= {"multimodal_kept_without_statistics": 28, "selective_kept_without_statistics": 45,
              "multimodal_kept_without_statistics_random_twin": 0, "multimodal_equal_length": 29,
              "selective_equal_length": 48}  # fmt: skip
    counts = counts_of(facts)
    assert counts is not None
    without, equal = counts.beside
    assert "28 of 30 multimodal neurons (random twin 0 of 0), 45 of 50 selective neurons" in without
    assert equal.endswith("29 of 30 multimodal neurons, 48 of 50 selective neurons")
