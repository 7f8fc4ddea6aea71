"""Intervals that may be looked at after every visitor: confidence sequences for B against A, exact at any time.

A fixed-size interval, looked at again and again until it excludes zero, will do so sooner or later though
there is nothing. These hold at all times at once: the chance that the truth ever leaves them is at most alpha,
whoever stops when. They are tests by betting (Waudby-Smith & Ramdas 2024, *Estimating means of bounded random
variables by betting*, JRSS B 86:1): a gambler who bets against a wrong value of the effect grows rich, and
against the true value stays poor (Ville's inequality). The gambler here splits the capital over fixed bets,
so that counts of the outcomes are all that is needed, in any order, and nothing is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from synesthete._core.arrays import Float64
from synesthete.errors import SynestheteError

Contrast = Literal["difference", "ratio"]
# Stakes as a share of the highest that cannot ruin: small ones find small effects in many, large ones large in few.
STAKES = np.geomspace(0.002, 0.98, 28)
STEPS = 40
LARGEST_RATIO = 1e6


@dataclass(frozen=True)
class Outcomes:
    """What pairs of one visitor of A and one of B came to, counted.

    Attributes
    ----------
    a, b
        `[kinds]`: the two results of each kind of pair, within 0 to 1.
    counts
        `[..., kinds]`: how many pairs of each kind (leading axes: looks, repeats).
    """

    a: Float64
    b: Float64
    counts: Float64


def pair(a: npt.ArrayLike, b: npt.ArrayLike) -> Outcomes:
    """Pair the i-th visitor of A with the i-th of B; those who have no partner yet wait.

    Parameters
    ----------
    a, b
        Results in order of arrival, within 0 to 1 (converted or not; a value by its highest).

    Examples
    --------
    >>> made = pair([0, 1, 0, 1], [1, 1, 1])
    >>> made.a.tolist(), made.b.tolist(), made.counts.tolist()
    ([0.0, 1.0], [1.0, 1.0], [2.0, 1.0])
    """
    of_a, of_b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    n = min(len(of_a), len(of_b))
    together = np.stack([of_a[:n], of_b[:n]], axis=1)
    if not ((together >= 0) & (together <= 1)).all():
        raise SynestheteError(
            "results must lie within 0 to 1", hint="divide values by their highest"
        )
    kinds, counts = np.unique(together, axis=0, return_counts=True)
    return Outcomes(kinds[:, 0], kinds[:, 1], counts.astype(np.float64))


def log_wealth(pairs: Outcomes, effect: float, contrast: Contrast, side: Literal[1, -1]) -> Float64:
    """Log of what the gambler has who bets that the effect is above (side 1) or below (-1) a value.

    Parameters
    ----------
    effect
        The value betted against: of mean(b) - mean(a), -1 to 1, or of mean(b) / mean(a), 0 or more.

    Returns
    -------
    ndarray
        Shape of `counts` without its last axis. A test martingale from 0 if the effect is the value: `exp` of it
        ever exceeds 1 / alpha with probability at most alpha. Falls (side 1) or rises (-1) with `effect`.
    """
    if contrast == "difference":
        won, lowest, highest = pairs.b - pairs.a - effect, -1 - effect, 1 - effect
    else:
        won, lowest, highest = pairs.b - effect * pairs.a, -effect, 1.0
    ruin = -lowest if side == 1 else highest
    if ruin <= 0:  # An effect at the very end of what can be: nothing lies beyond it to bet on.
        impossible = np.where(side * won > 1e-12, np.inf, 0.0)
        return np.asarray(np.where((pairs.counts * (impossible > 0)).any(axis=-1), np.inf, 0.0))
    grown = np.log1p(np.maximum(side * won[:, None] * STAKES / ruin, -1 + 1e-12))
    return np.asarray(logsumexp(pairs.counts @ grown, axis=-1) - math.log(len(STAKES)))


@dataclass(frozen=True)
class Bounds:
    """What is known of an effect at one moment, valid at every moment.

    Attributes
    ----------
    value
        Its estimate; NaN before the first pair, or where a ratio has no denominator.
    low, high
        Confidence sequence.
    pairs
        Pairs that it was taken from.
    """

    value: float
    low: float
    high: float
    pairs: int


def bounds(pairs: Outcomes, contrast: Contrast = "difference", alpha: float = 0.05) -> Bounds:
    """Confidence sequence of the effect of B over A, at this moment.

    Parameters
    ----------
    pairs
        With counts `[kinds]`.
    contrast
        `difference`: mean(b) - mean(a); `ratio`: mean(b) / mean(a).
    alpha
        Chance that the truth ever lies outside, whenever one looks.

    Examples
    --------
    >>> found = bounds(pair([0] * 60 + [1] * 20, [1] * 60 + [0] * 20))
    >>> found.value, 0.1 < found.low < 0.3, found.pairs
    (0.5, True, 80)
    """
    if not 0 < alpha < 1:
        raise SynestheteError(f"alpha is {alpha}; it lies between 0 and 1")
    n = float(pairs.counts.sum())
    lowest, highest = (-1.0, 1.0) if contrast == "difference" else (0.0, LARGEST_RATIO)
    wall = math.log(2 / alpha)
    if n == 0:
        return Bounds(math.nan, lowest, highest if contrast == "difference" else math.inf, 0)
    mean_a, mean_b = (float(one @ pairs.counts) / n for one in (pairs.a, pairs.b))

    def refuted(effect: float, side: Literal[1, -1]) -> bool:
        return bool(log_wealth(pairs, effect, contrast, side) >= wall)

    low = _edge(lowest, highest, lambda effect: refuted(effect, 1), contrast)
    high = -_edge(-highest, -lowest, lambda effect: refuted(-effect, -1), contrast)
    if contrast == "ratio" and high >= LARGEST_RATIO:
        high = math.inf
    ratio = mean_b / mean_a if mean_a else math.nan
    value = mean_b - mean_a if contrast == "difference" else ratio
    return Bounds(value, low, high, int(n))


def evidence(pairs: Outcomes) -> Float64:
    """E-value against "A and B are equal", `[...]`: 20 or more, at any time, refutes it at 5 %.

    The mean of the two gamblers', one for each side.
    """
    both = [log_wealth(pairs, 0.0, "difference", side) for side in (1, -1)]
    # Finite, so that it can be written down: beyond e^700 nobody counts.
    return np.asarray(np.exp(np.minimum(np.logaddexp(both[0], both[1]) - math.log(2), 700.0)))


def _edge(low: float, high: float, refuted: Callable[[float], bool], contrast: Contrast) -> float:
    """Where a test that refutes small effects stops doing so, by bisection (a ratio's on the scale of logs)."""
    if not refuted(low):
        return low
    for _ in range(STEPS):
        middle = (low + high) / 2
        if contrast == "ratio" and low * high > 0:
            middle = math.copysign(math.sqrt(low * high), low)
        if refuted(middle):
            low = middle
        else:
            high = middle
    return low
