"""Intervals, one of each kind: Wilson for proportions, exact for means of few, the percentile bootstrap for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float64

# So many numbers of resamples are held at once.
NUMBERS_AT_ONCE = 4_000_000


def wilson(
    share: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = 0.95
) -> tuple[Float64, Float64]:
    """Intervals of proportions (Wilson 1927), elementwise.

    Parameters
    ----------
    share
        Proportions, 0 to 1.
    n
        Trials of each, above 0; an effective number need not be whole.

    Examples
    --------
    >>> low, high = wilson([0.9, 0.5], [10, 10])
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.596, 0.237], [0.982, 0.763])
    """
    p, trials = np.asarray(share, np.float64), np.asarray(n, np.float64)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    scale = 1 + z * z / trials
    centre = (p + z * z / (2 * trials)) / scale
    half = z / scale * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of one proportion; (0, 1) when nothing was counted.

    Examples
    --------
    >>> [round(x, 3) for x in wilson_interval(9, 10)]
    [0.596, 0.982]
    """
    if n == 0:
        return 0.0, 1.0
    low, high = wilson(successes / n, n, confidence=confidence)
    return float(low), float(high)


def exact(
    share: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = 0.95
) -> tuple[Float64, Float64]:
    """Exact intervals (Clopper and Pearson 1934) of proportions, and of means of few numbers from 0 to 1, elementwise.

    Never narrower than its confidence for proportions, however few the trials: Wilson's is right on average over proportions, and its
    lower end too high for small ones. A mean of numbers from 0 to 1 varies at most as much as a proportion does.

    Parameters
    ----------
    share
        Means, 0 to 1; `share * n` need not be whole.
    n
        Trials of each, above 0.

    Examples
    --------
    >>> low, high = exact([1.0, 0.5, 0.0], [3, 10, 4])
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.292, 0.187, 0.0], [1.0, 0.813, 0.602])
    """
    # Half a second that most commands can do without.
    from scipy.special import betaincinv

    p, trials = np.asarray(share, np.float64), np.asarray(n, np.float64)
    hits, rest = p * trials, (1 - p) * trials
    tail = (1 - confidence) / 2
    low = np.where(hits > 0, betaincinv(np.where(hits > 0, hits, 1.0), rest + 1, tail), 0.0)
    high = np.where(rest > 0, betaincinv(hits + 1, np.where(rest > 0, rest, 1.0), 1 - tail), 1.0)
    return low, high


@dataclass(frozen=True)
class Rate:
    """How many of how many.

    Attributes
    ----------
    successes, n
        Counts.
    """

    successes: int
    n: int

    @classmethod
    def of(cls, outcomes: npt.ArrayLike) -> Rate:
        """The rate of what is true.

        Examples
        --------
        >>> Rate.of([True, True, False, True])
        Rate(successes=3, n=4)
        """
        hits = np.asarray(outcomes, bool)
        return cls(int(hits.sum()), int(hits.size))

    @property
    def rate(self) -> float | None:
        """The share; None where nothing was counted."""
        return self.successes / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson_interval(self.successes, self.n)

    def as_dict(self) -> dict[str, Any]:
        """`rate`, `interval`, `successes` and `n`, as reports have them.

        Examples
        --------
        >>> Rate(3, 4).as_dict()
        {'rate': 0.75, 'interval': [0.3006, 0.9544], 'successes': 3, 'n': 4}
        """
        share = self.rate
        return {
            "rate": None if share is None else round(share, 4),
            "interval": [round(bound, 4) for bound in self.interval],
            "successes": self.successes,
            "n": self.n,
        }


def bootstrap_interval(
    statistic: Callable[..., float | Float64],
    *samples: npt.NDArray[np.generic],
    draws: int,
    seed: int | np.random.Generator = 0,
    vectorized: bool = False,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap of a statistic (Efron 1979) of one or more independent samples.

    Parameters
    ----------
    statistic
        Takes one resample of each sample. NaN where it is undefined: such resamples are left out.
    samples
        `[n, ...]`; each is redrawn with replacement along its first axis. Where rows depend on each other, as images of one artist do,
        pass the groups' indices.
    draws
        Resamples.
    seed
        Or a generator, which is advanced.
    vectorized
        The statistic takes `[resamples, n, ...]` and gives `[resamples]`.

    Returns
    -------
    tuple
        NaN twice where a sample is empty.

    Examples
    --------
    >>> low, high = bootstrap_interval(np.mean, np.arange(100.0), draws=200)
    >>> 40 < low < 49.5 < high < 60
    True
    """
    if not all(len(sample) for sample in samples):
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    at_once = max(1, NUMBERS_AT_ONCE // max(map(len, samples))) if vectorized else 1
    values: list[float | Float64] = []
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        resamples = [
            sample[rng.integers(len(sample), size=(count, len(sample)))] for sample in samples
        ]
        values.append(statistic(*(resamples if vectorized else (one[0] for one in resamples))))
    return percentile_interval(np.hstack(values), confidence=confidence)


def percentile_interval(values: npt.ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Where the middle of a sampling distribution lies; NaN twice without a finite value.

    Examples
    --------
    >>> percentile_interval([0.0, 0.5, 1.0, float("nan")], confidence=0.5)
    (0.25, 0.75)
    """
    given = np.asarray(values)
    given = given[np.isfinite(given)]
    if not given.size:
        return math.nan, math.nan
    low, high = np.quantile(given, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def paired_change(
    before: npt.ArrayLike, after: npt.ArrayLike, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Change of a proportion between two answers about the same things, with its interval.

    Newcombe 1998 (Statistics in Medicine 17, 2635), method 10: the two Wilson intervals, put together with the correlation of the
    answers, which is taken conservatively.

    Parameters
    ----------
    before, after
        `[n]`, truth values of the same things in the same order.

    Returns
    -------
    tuple
        The change `after - before`, its lower and its upper bound; 0 and (-1, 1) when nothing was counted.

    Raises
    ------
    ValueError
        Not as many of the one as of the other.

    Examples
    --------
    >>> import numpy as np
    >>> after, before = np.repeat([[1, 1, 0, 0], [1, 0, 1, 0]], [36, 12, 2, 0], axis=1)
    >>> [round(x, 4) for x in paired_change(before, after)]
    [0.2, 0.0569, 0.3404]
    """
    one, other = np.asarray(before, bool).ravel(), np.asarray(after, bool).ravel()
    if one.size != other.size:
        raise ValueError(f"{one.size} answers before and {other.size} after")
    n = one.size
    if n == 0:
        return 0.0, -1.0, 1.0
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    lost, won = int((one & ~other).sum()), int((~one & other).sum())
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    excess = float(both * neither - lost * won)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    phi = excess / math.sqrt(margins) if margins else 0.0
    (p, low_p, high_p), (q, low_q, high_q) = (
        (count / n, *wilson_interval(count, n, confidence=confidence))
        for count in (both + lost, both + won)
    )
    change = (won - lost) / n
    return (
        change,
        change - _joined(q - low_q, high_p - p, phi),
        change + _joined(high_q - q, p - low_p, phi),
    )


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))
