"""Choosing and scoring: against loops, under shuffled labels, and the truth of q."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete._core.intervals import wilson_interval
from synesthete.analysis import multimodality
from synesthete.analysis.design import Design, shuffled
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.planted import KINDS, Planted, plant, planted_design
from tests.oracles import selectivity as oracle

WORD = 3


@pytest.fixture(scope="module")
def design() -> Design:
    return planted_design(40)


def test_equals_loops() -> None:
    design, units = planted_design(16), 16
    planted = plant(design, units, noise=0.4, seed=1)
    values = planted.activations.astype(np.float64)
    scores = score_units(planted.activations, design)[0]
    split = design.split
    assert 0 < (scores.concept == -1).sum() < units
    equal = 0
    for unit in range(units):
        if planted.kind[unit] in ("constant", "dead"):
            assert scores.concept[unit] == -1
            assert np.isnan(scores.p[unit]).all()
            continue
        column = values[:, unit]
        chosen = oracle.chosen_concept(column, design.concept, design.modality, split.scoring)
        assert scores.concept[unit] == chosen
        for m in range(4):
            rows = (design.modality == m) & split.scoring
            positive = design.concept[rows] == chosen
            if not split.testable[m, chosen]:
                assert np.isnan(scores.auc[unit, m])
                continue
            expected = oracle.auc(column[rows], positive)
            assert scores.auc[unit, m] == pytest.approx(expected, abs=1e-6)
            law = oracle.survival_by_integers(int(positive.sum()), int((~positive).sum()))
            p = law[oracle.wins(column[rows], positive)]
            # Ties between positives count against them too, so p may exceed the oracle's.
            assert scores.p[unit, m] >= p * (1 - 1e-9)
            equal += scores.p[unit, m] <= p * (1 + 1e-9)
    assert equal >= 0.8 * scores.hypotheses
    expected_q = np.reshape(oracle.q_values(scores.p.ravel().tolist()), scores.p.shape)
    np.testing.assert_allclose(scores.q, expected_q, rtol=1e-9)
    for unit in range(units):
        passes = [scores.auc[unit, m] >= 0.9 and scores.q[unit, m] <= 0.01 for m in range(4)]
        assert scores.multimodal[unit] == (passes[WORD] and sum(passes) >= 3)
        if scores.concept[unit] >= 0:
            others = sorted(scores.q[unit, m] for m in range(3) if not np.isnan(scores.q[unit, m]))
            assert scores.unit_q[unit] == max(scores.q[unit, WORD], others[1])
            assert scores.multimodality[unit] == np.nanmin(scores.auc[unit])


def test_a_call_has_its_q(design: Design) -> None:
    scores = score_units(plant(design, 400, noise=0.2).activations, design)[0]
    assert scores.multimodal.sum() > 50
    assert (scores.unit_q[scores.multimodal] <= 0.01).all()
    assert scores.hypotheses == (~np.isnan(scores.q)).sum()


def test_chunks_and_order_of_units_do_not_matter(
    design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations = plant(design, 60, noise=0.3).activations
    whole = score_units(activations, design)[0]
    monkeypatch.setattr(multimodality, "TABLE_BYTES", 40 * 4 * 24 * 7)
    turned = score_units(activations[:, ::-1], design)[0]
    np.testing.assert_array_equal(whole.concept, turned.concept[::-1])
    np.testing.assert_array_equal(whole.q, turned.q[::-1])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 0.2, 0.4]))
def test_shuffled_labels_leave_one_per_cent_at_most(seed: int, noise: float) -> None:
    design = planted_design(30, seed=seed)
    planted = plant(design, 200, noise=noise, seed=seed)
    labelings = [shuffled(design, seed + i) for i in range(3)]
    for scores in score_units(planted.activations, design, labelings=labelings):
        assert scores.multimodal.mean() <= 0.01


def test_q_holds_when_no_unit_answers_to_anything(design: Design) -> None:
    """All hypotheses true: a false discovery in at most `level` of the experiments."""
    level, runs = 0.2, 150
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(runs):
        activations = np.maximum(random.normal(size=(design.concept.size, 30)), 0)
        scores = score_units(activations.astype(np.float16), design)[0]
        wrong += bool((scores.q[~np.isnan(scores.q)] <= level).any())
    low, _ = wilson_interval(wrong, runs, confidence=0.99)
    assert low <= level


def true_answers(planted: Planted, concept: np.ndarray, design: Design) -> np.ndarray:
    """`[units, modalities]`: the unit was planted to answer to this concept in this modality."""
    own = (concept == planted.concept) | (concept == planted.second)
    kinds = [[m in KINDS[kind][1] for m in design.modalities] for kind in planted.kind]
    return np.asarray(kinds) & own[:, None]


def test_share_of_false_discoveries_is_at_most_q(design: Design) -> None:
    """A mixture of true and false hypotheses: mean share of false ones among discoveries."""
    level, shares = 0.1, []
    for seed in range(30):
        planted = plant(design, 150, noise=0.35, seed=seed)
        scores = score_units(planted.activations, design)[0]
        with np.errstate(invalid="ignore"):
            found = scores.q <= level
        false = found & ~true_answers(planted, scores.concept, design)
        shares.append(false.sum() / max(found.sum(), 1))
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert np.mean(shares) <= level + 2.6 * error
    assert np.mean(shares) > 0  # the experiment can show a failure
