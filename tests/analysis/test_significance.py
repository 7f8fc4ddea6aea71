"""The Mann-Whitney law, its validity with ties, false discovery rates and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.selectivity import auc_table
from synesthete.analysis.significance import (
    EXACT_UP_TO,
    benjamini_hochberg,
    p_values,
    survival_table,
)
from tests.oracles import selectivity as oracle


@pytest.mark.parametrize(
    ("n_pos", "n_neg"), [(1, 1), (1, 6), (2, 2), (3, 5), (5, 3), (4, 7), (6, 6)]
)
def test_law_equals_enumeration(n_pos: int, n_neg: int) -> None:
    expected = oracle.survival_by_enumeration(n_pos, n_neg)
    np.testing.assert_allclose(survival_table(n_pos, n_neg), expected, rtol=1e-12)


@pytest.mark.parametrize(("n_pos", "n_neg"), [(2, 500), (10, 200), (20, 150), (150, 20), (20, 20)])
def test_law_is_exact_to_the_last_tail(n_pos: int, n_neg: int) -> None:
    expected = oracle.survival_by_integers(n_pos, n_neg)
    np.testing.assert_allclose(survival_table(n_pos, n_neg), expected, rtol=1e-11)


def test_law_equals_scipy() -> None:
    random = np.random.default_rng(0)
    for n_pos, n_neg in [(1, 30), (4, 25), (10, 60), (20, 40)]:
        positives, negatives = random.normal(0.5, 1, n_pos), random.normal(0, 1, n_neg)
        result = stats.mannwhitneyu(positives, negatives, alternative="greater", method="exact")
        ours = p_values([result.statistic], [n_pos], [n_neg])
        np.testing.assert_allclose(ours, result.pvalue, rtol=1e-9)


@pytest.mark.parametrize(("n_pos", "n_neg"), [(21, 300), (30, 1000), (60, 60)])
def test_normal_law_is_close_and_on_the_safe_side(n_pos: int, n_neg: int) -> None:
    assert n_pos > EXACT_UP_TO
    wins = np.arange(n_pos * n_neg // 2, n_pos * n_neg + 1)
    exact = survival_table(n_pos, n_neg)[wins]
    normal = p_values(wins[:, None], [n_pos], [n_neg])[:, 0]
    ratio = normal / exact
    assert ratio.min() > 0.985
    assert ratio[exact < 0.02].min() > 1
    assert ratio[exact > 0.01].max() < 1.1


def test_untestable_cells_have_no_p() -> None:
    p = p_values(np.array([[1.0, 1.0, 0.0]]), [1, 0, 4], [3, 4, 0])
    assert p[0, 0] == 0.75
    assert np.isnan(p[0, 1:]).all()


@pytest.mark.parametrize("active", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("n_pos", [2, 5, 25])
def test_p_is_valid_for_sparse_units(active: float, n_pos: int) -> None:
    """P(p <= a) <= a when most images tie at zero and the rest take few values."""
    random = np.random.default_rng(3)
    units, images = 20_000, 120
    values = random.integers(1, 4, (images, units)) * (random.random((images, units)) < active)
    codes = np.zeros(images, np.int64)
    codes[:n_pos] = 1
    table = auc_table(values.astype(np.float16), codes, 2)
    p = p_values(table.wins, table.n_pos, table.n_neg)[:, 1]
    for level in (0.2, 0.05, 0.01, 0.001):
        low, _ = wilson_interval(int((p <= level).sum()), units, confidence=0.999)
        assert low <= level


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=30))
def test_q_by_definition(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), oracle.q_values(p), rtol=1e-12, atol=1e-300)


def test_q_equals_scipy() -> None:
    p = np.random.default_rng(0).random((30, 40)) ** 2
    expected = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    np.testing.assert_allclose(benjamini_hochberg(p), expected, rtol=1e-12)
    assert benjamini_hochberg([]).shape == (0,)
