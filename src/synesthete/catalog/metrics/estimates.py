"""A number with how many it was taken over and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from synesthete._core.arrays import Float64
from synesthete.analysis.significance import wilson_interval
from synesthete.errors import SynestheteError

RESAMPLES = 2000
CONFIDENCE = 0.95


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


def mean_of(values: Sequence[float] | Float64, *, seed: int = 0) -> Estimate:
    """Mean with a percentile-bootstrap interval (Efron 1979) over its values, which must be independent.

    Examples
    --------
    >>> mean_of([1.0, 1.0, 1.0])
    Estimate(value=1.0, low=1.0, high=1.0, n=3)
    """
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise SynestheteError("a mean is taken over a list of finite numbers")
    if not given.size:
        return NOTHING
    rng = np.random.default_rng(seed)
    at_once = max(1, 4_000_000 // given.size)
    means: list[Float64] = []
    for first in range(0, RESAMPLES, at_once):
        drawn = rng.integers(given.size, size=(min(at_once, RESAMPLES - first), given.size))
        means.append(given[drawn].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Estimate(float(given.mean()), float(low), float(high), int(given.size))


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
    hits, tried = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    if hits.shape != tried.shape or hits.ndim != 1 or (hits > tried).any() or (hits < 0).any():
        raise SynestheteError(
            "a ratio takes as many successes as trials, and none above its trials"
        )
    hits, tried = hits[tried > 0], tried[tried > 0]
    n = int(hits.size)
    if n == 0:
        return NOTHING
    if (tried == 1).all():
        return share_of(int(hits.sum()), n)
    value = float(hits.sum() / tried.sum())
    if n == 1:
        return Estimate(value, 0.0, 1.0, 1)
    if value in (0.0, 1.0):
        # The clusters do not vary, so their spread says nothing: what n clusters alone would tell.
        low, high = wilson_interval(n if value else 0, n, confidence=CONFIDENCE)
        return Estimate(value, low, high, n)
    spread = float(np.std(hits - value * tried, ddof=1)) / float(tried.mean()) / math.sqrt(n)
    half = float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n)
