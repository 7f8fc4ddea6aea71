"""Wilson and bootstrap intervals, against scipy and by what must hold of any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from synesthete._core.intervals import (
    bootstrap_interval,
    paired_change,
    percentile_interval,
    wilson,
    wilson_interval,
)


def test_wilson_equals_scipy() -> None:
    for successes, n in [(0, 5), (5, 5), (3, 11), (147, 1024)]:
        expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson_interval(successes, n), tuple(expected), atol=1e-12)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    counted, trials = np.array([0, 5, 3]), np.array([5, 5, 11])
    low, high = wilson(counted / trials, trials)
    alone = [wilson_interval(int(k), int(n)) for k, n in zip(counted, trials, strict=True)]
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == alone


def test_paired_changes() -> None:
    """Newcombe's published case stands in the docstring; here what must hold of any."""
    random = np.random.default_rng(5)
    before = random.random(60) < 0.5
    after = np.where(random.random(60) < 0.3, ~before, before)
    change, low, high = paired_change(before, after)
    assert low < change < high
    assert change == pytest.approx(after.mean() - before.mean())
    back = paired_change(after, before)
    np.testing.assert_allclose(back, (-change, -high, -low), atol=1e-12)
    # What is answered alike both times narrows the interval of the change, against answers at random.
    shuffled = paired_change(before, random.permutation(after))
    assert high - low < shuffled[2] - shuffled[1]
    assert paired_change([], []) == (0.0, -1.0, 1.0)
    assert paired_change([1] * 5, [1] * 5)[1] < 0 < paired_change([1] * 5, [1] * 5)[2]
    with pytest.raises(ValueError, match="2 answers before and 1 after"):
        paired_change([1, 0], [1])


def test_paired_intervals_hold_the_truth() -> None:
    """Of 2,000 drawn samples of 40 pairs, for several laws."""
    random = np.random.default_rng(6)
    for law in ([0.4, 0.3, 0.1, 0.2], [0.05, 0.2, 0.05, 0.7], [0.8, 0.1, 0.0, 0.1]):
        held = 0
        for drawn in random.choice(4, (2000, 40), p=law):
            _, low, high = paired_change(np.isin(drawn, (0, 1)), np.isin(drawn, (0, 2)))
            held += low <= law[2] - law[1] <= high
        assert held / 2000 > 0.93


def test_bootstrap_equals_scipy() -> None:
    """The same resamples, of one sample and of two."""
    random = np.random.default_rng(2)
    one, other = random.normal(0, 1, 30), random.normal(1, 2, 50)

    def difference(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(x.mean(axis=axis) - y.mean(axis=axis))

    expected = stats.bootstrap(
        (one, other),
        difference,
        n_resamples=500,
        method="percentile",
        random_state=np.random.default_rng(7),
    ).confidence_interval
    interval = bootstrap_interval(difference, one, other, draws=500, seed=7, vectorized=True)
    np.testing.assert_allclose(interval, tuple(expected), rtol=1e-12)
    expected = stats.bootstrap(
        (one,),
        np.median,
        n_resamples=300,
        method="percentile",
        random_state=np.random.default_rng(3),
    ).confidence_interval
    np.testing.assert_allclose(
        bootstrap_interval(np.median, one, draws=300, seed=3), tuple(expected)
    )


def test_bootstrap_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.random.default_rng(4).normal(size=33)
    whole = bootstrap_interval(lambda x: x.mean(axis=1), sample, draws=100, vectorized=True)
    monkeypatch.setattr("synesthete._core.intervals.NUMBERS_AT_ONCE", 100)
    assert bootstrap_interval(lambda x: x.mean(axis=1), sample, draws=100, vectorized=True) == whole
    assert bootstrap_interval(np.mean, sample, draws=100) == pytest.approx(whole, rel=1e-12)


def test_what_is_undefined_has_no_interval() -> None:
    assert all(map(math.isnan, bootstrap_interval(np.mean, np.zeros(0), draws=10)))
    assert all(map(math.isnan, percentile_interval([math.nan])))
    rare = bootstrap_interval(
        lambda x: x.mean() if x.any() else math.nan, np.array([1.0, 0.0]), draws=50
    )
    assert rare[0] >= 0.5
