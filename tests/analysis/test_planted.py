"""Precision and recall on units of known answer, beside the best that any test could do."""

from __future__ import annotations

import numpy as np
import pytest

from synesthete.analysis.concept_tests import run_concept_tests
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.planted import (
    KINDS,
    MULTIMODAL_KINDS,
    best_cut,
    optimum,
    optimum_by_rule,
    plant,
    planted_design,
)


@pytest.fixture(scope="module")
def design() -> Design:
    return planted_design(200)


@pytest.mark.parametrize("noise", [0.1, 0.2])
def test_precision_and_recall(design: Design, noise: float) -> None:
    planted = plant(design, 800, noise=noise, seed=3)
    scores = score_units(planted.activations, design)[0]
    called, truth = scores.multimodal, planted.multimodal
    assert (called & truth).sum() / called.sum() >= 0.95
    assert (called & truth).sum() / truth.sum() >= 0.95
    right = (scores.concept == planted.concept) | (scores.concept == planted.second)
    assert right[truth].mean() >= 0.99


def test_the_optimum_is_an_upper_bound(design: Design) -> None:
    for noise in (0.3, 0.6):
        planted = plant(design, 800, noise=noise, seed=4)
        truth = planted.multimodal
        best = best_cut(optimum(planted, design), truth)
        by_rule = optimum_by_rule(planted, design)
        called = score_units(planted.activations, design)[0].multimodal
        assert (best & truth).sum() >= (by_rule & truth).sum() >= (called & truth).sum()
        assert (best & truth).sum() / best.sum() >= 0.95


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MULTIMODAL_KINDS])
def test_no_other_kind_is_called(design: Design, kind: str) -> None:
    planted = plant(design, 1200, noise=0.15, seed=5)
    called = score_units(planted.activations, design)[0].multimodal
    units = planted.kind == kind
    assert units.sum() >= 40
    assert called[units].mean() <= 0.02


def test_two_concepts_are_counted(design: Design) -> None:
    planted = plant(design, 600, noise=0.1, seed=6)
    n_concepts = run_concept_tests(planted.activations, design)[0].n_concepts
    assert np.median(n_concepts[planted.kind == "two concepts"]) == 2
    assert np.median(n_concepts[planted.kind == "concept"]) == 1
    assert (n_concepts[~planted.multimodal] == 0).mean() >= 0.98


def test_same_seed_same_units(design: Design) -> None:
    one, other = (plant(design, 50, noise=0.3, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.activations, other.activations)
    assert (plant(design, 50, noise=0.3, seed=8).activations != one.activations).any()
