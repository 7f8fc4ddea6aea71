"""Planted units among correlated, hierarchical and superposed features: the world is as its settings say, and truth is not mixed up with branches."""

from __future__ import annotations

import numpy as np
import pytest

from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.planted import (
    FAMILIES,
    Superposed,
    World,
    _firing,
    _leaf,
    best_cut,
    optimum,
    plant,
    planted_design,
    superpose,
)

SMALL = World(features=1700, dimensions=768, roots=16)
CONCEPTS = 100


@pytest.fixture(scope="module")
def design() -> Design:
    return planted_design(CONCEPTS)


@pytest.fixture(scope="module")
def layer(design: Design) -> Superposed:
    return superpose(design, 300, world=SMALL, seed=1)


@pytest.fixture(scope="module")
def fired() -> tuple[np.ndarray, np.ndarray]:
    concepts = np.random.default_rng(0).integers(0, CONCEPTS, 3000)
    return concepts, _firing(concepts, CONCEPTS, SMALL, 0, np.random.default_rng(1))


def test_the_concept_and_its_ancestors_fire_and_no_other_concept(
    fired: tuple[np.ndarray, np.ndarray],
) -> None:
    concepts, sizes = fired
    used = 2 * SMALL.nodes  # 64 leaves a tree
    assert SMALL.nodes == 1 + 4 + 16 + 64
    on = sizes[:, :used] > 0
    for image, concept in enumerate(concepts[:200]):
        node, path = int(_leaf(np.array([concept]), SMALL)[0]), []
        tree, local = divmod(node, SMALL.nodes)
        while local:
            path.append(tree * SMALL.nodes + local)
            local = (local - 1) // SMALL.branching
        path.append(tree * SMALL.nodes)
        assert len(path) == SMALL.depth + 1
        assert sorted(path) == list(np.flatnonzero(on[image]))
    leaves = _leaf(np.arange(CONCEPTS), SMALL)
    assert np.unique(leaves).size == CONCEPTS
    assert ((leaves - 1) % SMALL.nodes >= SMALL.nodes - 65).all()


def test_children_need_their_parent_and_siblings_exclude_each_other(
    fired: tuple[np.ndarray, np.ndarray],
) -> None:
    on = fired[1] > 0
    for root in range(2, SMALL.roots):
        for local in range(1, SMALL.nodes):
            parent = root * SMALL.nodes + (local - 1) // SMALL.branching
            assert not (on[:, root * SMALL.nodes + local] & ~on[:, parent]).any()
        for local in range((SMALL.nodes - 1) // SMALL.branching):
            first = root * SMALL.nodes + local * SMALL.branching + 1
            assert on[:, first : first + SMALL.branching].sum(axis=1).max() <= 1


def test_rates_are_zipfian_where_nothing_gates_them(fired: tuple[np.ndarray, np.ndarray]) -> None:
    free = fired[1][:, SMALL.roots * SMALL.nodes :] > 0
    rate = np.sort(free.mean(axis=0))[::-1]
    assert free.shape[1] == 1700 - 16 * 85
    assert rate[0] <= SMALL.largest * 1.1
    assert rate[-1] <= 0.02
    # Exponent 0.5 between the bounds: the mean over ranks of a random subset of features.
    ranks = np.arange(1, 1701)
    zipf = ranks**-0.5
    expected = SMALL.smallest + (zipf - zipf[-1]) / (1 - zipf[-1]) * (0.4 - SMALL.smallest)
    assert rate.mean() == pytest.approx(expected.mean(), rel=0.35)


def test_overlap_follows_from_the_dimensions(design: Design) -> None:
    narrow = superpose(design, 40, world=World(features=400, dimensions=64, roots=4), seed=0)
    wide = superpose(design, 40, world=World(features=400, dimensions=1024, roots=4), seed=0)
    assert narrow.overlap == pytest.approx(np.sqrt(2 * np.log(800) / 64), abs=0.08)
    assert wide.overlap < narrow.overlap / 2
    assert wide.interference.std() < narrow.interference.std() / 2


def test_units_answer_to_their_concept_or_branch(design: Design, layer: Superposed) -> None:
    for unit, kind in enumerate(layer.kind):
        answered = np.unique(design.concept[layer.response[:, unit] > 0])
        if kind in FAMILIES:
            branch = np.arange(CONCEPTS) // FAMILIES[kind][1]
            assert set(answered) == set(np.flatnonzero(branch == branch[layer.concept[unit]]))
        elif kind in ("noise", "constant", "dead"):
            assert answered.size == 0
        else:
            assert set(answered) == {layer.concept[unit], layer.second[unit]} - {-1}
    assert layer.response[layer.response > 0].mean() == pytest.approx(1.0, abs=0.05)


def test_the_optimum_tells_concepts_from_branches(design: Design, layer: Superposed) -> None:
    planted = layer.at(0.1)
    posterior = optimum(planted, design)
    assert (posterior[planted.multimodal] > 0.95).mean() >= 0.97
    assert (posterior[~planted.multimodal] < 0.05).mean() >= 0.97
    best = best_cut(posterior, planted.multimodal)
    assert (best & planted.multimodal).sum() / planted.multimodal.sum() >= 0.97


def test_without_branches_the_optimum_is_the_likelihood_ratio(design: Design) -> None:
    planted = plant(design, 60, noise=0.5, seed=2)
    posterior = optimum(planted, design)
    images = design.concept == planted.concept[0]
    evidence = ((planted.latent[:, 0] - 0.5) / 0.25)[images].sum()
    if planted.kind[0] in ("concept", "three ways"):
        assert (posterior[0] > 0.5) == (evidence > 0)


def test_detection_is_precise_but_for_small_branches(design: Design, layer: Superposed) -> None:
    planted = layer.at(0.1)
    (scores,) = score_units(planted.activations, design)
    called, truth = scores.multimodal, planted.multimodal
    single = ~np.isin(planted.kind, list(FAMILIES))
    assert (called & truth & single).sum() / (called & single).sum() >= 0.95
    assert called[planted.kind == "family of 16"].sum() == 0
    right = (scores.concept == planted.concept) | (scores.concept == planted.second)
    assert right[truth].mean() >= 0.9


def test_same_seed_same_layer(design: Design) -> None:
    world = World(features=400, dimensions=64, roots=4)
    one, other = (superpose(design, 20, world=world, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.at(0.2).activations, other.at(0.2).activations)
    assert (one.at(0.2).activations != one.at(0.2, seed=1).activations).any()
