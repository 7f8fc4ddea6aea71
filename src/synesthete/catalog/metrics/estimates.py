"""A number with how many it was taken over and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from synesthete._core.arrays import Float64
from synesthete._core.intervals import bootstrap_interval, percentile_interval, wilson_interval
from synesthete.errors import SynestheteError

RESAMPLES = 2000
CONFIDENCE = 0.95
NUMBERS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Estimate:
    """A measured value.

    Attributes
    ----------
    value
        NaN where nothing was measured.
    low, high
        95 % interval.
    n
        Independent things that it was taken over: queries, subjects, pairs.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g}, n = {self.n:,})"


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def mean_of(values: Sequence[float] | Float64, *, zeros: int = 0, seed: int = 0) -> Estimate:
    """Mean with a percentile-bootstrap interval (Efron 1979) over its values, which must be independent.

    Parameters
    ----------
    zeros
        How many more values there are that are 0, as of the visitors who bought nothing.

    Examples
    --------
    >>> mean_of([1.0, 1.0, 1.0])
    Estimate(value=1.0, low=1.0, high=1.0, n=3)
    """
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise SynestheteError("a mean is taken over a list of finite numbers")
    if zeros:
        return _mean_with_zeros(given, zeros, seed)
    if not given.size:
        return NOTHING
    low, high = bootstrap_interval(
        lambda drawn: drawn.mean(axis=1),
        given,
        draws=RESAMPLES,
        seed=seed,
        vectorized=True,
        confidence=CONFIDENCE,
    )
    return Estimate(float(given.mean()), low, high, int(given.size))


def _mean_with_zeros(values: Float64, zeros: int, seed: int) -> Estimate:
    """The same, without drawing zeros: how many of a resample are others is binomial, and those are drawn from the others."""
    n = values.size + zeros
    rng = np.random.default_rng(seed)
    others = rng.binomial(n, values.size / n, RESAMPLES)
    sums = np.zeros(RESAMPLES)
    number = np.uint16 if values.size < 2**16 else np.int64  # small numbers are drawn faster
    at_once = max(1, NUMBERS_AT_ONCE // max(int(others.max()), 1))
    for start in range(0, RESAMPLES, at_once):
        counts = others[start : start + at_once]
        drawn = rng.integers(max(values.size, 1), size=counts.sum(), dtype=number)
        running = np.concatenate([[0.0], np.cumsum(values[drawn])])
        ends = np.cumsum(counts)
        sums[start : start + at_once] = running[ends] - running[ends - counts]
    low, high = percentile_interval(sums / n, confidence=CONFIDENCE)
    return Estimate(float(values.sum() / n), low, high, n)


def share_of(successes: int, n: int) -> Estimate:
    """Share of successes with Wilson's interval.

    Examples
    --------
    >>> print(share_of(9, 10))
    0.9 (0.5958 to 0.9821, n = 10)
    """
    if not 0 <= successes <= n:
        raise SynestheteError(f"{successes} successes of {n} cannot be")
    if n == 0:
        return NOTHING
    low, high = wilson_interval(successes, n, confidence=CONFIDENCE)
    return Estimate(successes / n, low, high, n)


def ratio_of(successes: npt.ArrayLike, trials: npt.ArrayLike) -> Estimate:
    """Share of successes among trials that come in clusters, as the impressions of one visitor do.

    The interval is that of a ratio of two means (the delta method; Deng, Knoblich & Lu 2018, *Applying the
    Delta Method in Metric Analytics*), by Student's law over the clusters, so that a visitor who saw a
    thousand items counts once. Where every cluster is one trial, it is Wilson's.

    Parameters
    ----------
    successes, trials
        `[clusters]`, counts; no cluster with more successes than trials.

    Examples
    --------
    >>> ratio_of([1, 0, 2], [2, 2, 4]).value
    0.375
    """
    hits, tried = np.asarray(successes, np.int64), np.asarray(trials, np.int64)
    if hits.shape != tried.shape or hits.ndim != 1 or (hits > tried).any() or (hits < 0).any():
        raise SynestheteError(
            "a ratio takes as many successes as trials, and none above its trials"
        )
    hits, tried = hits[tried > 0], tried[tried > 0]
    return ratio_of_sums(
        int(hits.size),
        hits=int(hits.sum()),
        trials=int(tried.sum()),
        hits_hits=int(hits @ hits),
        hits_trials=int(hits @ tried),
        trials_trials=int(tried @ tried),
    )


def ratio_of_sums(
    n: int, *, hits: int, trials: int, hits_hits: int, hits_trials: int, trials_trials: int
) -> Estimate:
    """As `ratio_of`, from sums over the clusters.

    Parameters
    ----------
    n
        Clusters, each with a trial at least.
    hits, trials
        Sums of their successes and trials.
    hits_hits, hits_trials, trials_trials
        Sums of the squares and the products of these.

    Examples
    --------
    >>> ratio_of_sums(3, hits=3, trials=8, hits_hits=5, hits_trials=10, trials_trials=24) == ratio_of([1, 0, 2], [2, 2, 4])
    True
    """
    if n == 0:
        return NOTHING
    if trials_trials == n:  # one trial each
        return share_of(hits, n)
    value = hits / trials
    if n == 1:
        return Estimate(value, 0.0, 1.0, 1)
    if hits in (0, trials):
        # The clusters do not vary, so their spread says nothing: what n clusters alone would tell.
        low, high = wilson_interval(n if value else 0, n, confidence=CONFIDENCE)
        return Estimate(value, low, high, n)
    # Sum of the squares of hits - value * trials, times trials²: in integers, as it can be a small difference of large ones.
    squares = hits_hits * trials**2 - 2 * hits * trials * hits_trials + hits**2 * trials_trials
    deviation = math.sqrt(squares / trials**2 / (n - 1))
    spread = deviation / (trials / n) / math.sqrt(n)
    half = float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n)
