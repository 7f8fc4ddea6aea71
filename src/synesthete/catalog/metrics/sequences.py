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

from synesthete._core.arrays import Bool, Float64
from synesthete.errors import SynestheteError

Contrast = Literal["difference", "ratio"]
# Stakes as a share of the highest that cannot ruin: small ones find small effects in many, large ones large in few.
STAKES = np.geomspace(0.002, 0.98, 28)
STEPS = 40
LARGEST_RATIO = 1e6
NUMBERS_AT_ONCE = 200_000


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


def log_wealth(
    pairs: Outcomes, effect: float | Float64, contrast: Contrast, side: Literal[1, -1]
) -> Float64:
    """Log of what the gambler has who bets that the effect is above (side 1) or below (-1) a value.

    Parameters
    ----------
    effect
        The value betted against: of mean(b) - mean(a), -1 to 1, or of mean(b) / mean(a), 0 or more; or one for each
        leading index of `counts`.

    Returns
    -------
    ndarray
        Shape of `counts` without its last axis. A test martingale from 0 if the effect is the value: `exp` of it
        ever exceeds 1 / alpha with probability at most alpha. Falls (side 1) or rises (-1) with `effect`.
    """
    against = np.asarray(effect, np.float64)[..., None]
    if contrast == "difference":
        won, lowest, highest = pairs.b - pairs.a - against, -1 - against, 1 - against
    else:
        won, lowest, highest = pairs.b - against * pairs.a, -against, np.ones_like(against)
    ruin = -lowest if side == 1 else highest
    # An effect at the very end of what can be: nothing lies beyond it to bet on.
    at_end = ruin <= 0
    returns = side * won / np.where(at_end, 1.0, ruin)
    grown = np.log1p(np.maximum(returns[..., None] * STAKES, -1 + 1e-12))
    logs = (pairs.counts[..., None, :] @ grown)[..., 0, :]
    # By hand: scipy's logsumexp takes four times as long for so few numbers, and this is asked thousands of times.
    most = logs.max(axis=-1)
    wealth = most + np.log(np.exp(logs - most[..., None]).mean(axis=-1))
    beyond = (pairs.counts * (side * won > 1e-12)).any(axis=-1)
    return np.asarray(np.where(at_end[..., 0], np.where(beyond, np.inf, 0.0), wealth))


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
    return running_bounds(Outcomes(pairs.a, pairs.b, pairs.counts[None]), contrast, alpha)[0]


def running_bounds(
    pairs: Outcomes, contrast: Contrast = "difference", alpha: float = 0.05
) -> list[Bounds]:
    """Confidence sequences as of `bounds`, one for each look: counts `[looks, kinds]`."""
    if not 0 < alpha < 1:
        raise SynestheteError(f"alpha is {alpha}; it lies between 0 and 1")
    lowest, highest = (-1.0, 1.0) if contrast == "difference" else (0.0, LARGEST_RATIO)
    wall = math.log(2 / alpha)
    most = math.inf if contrast == "ratio" else highest
    found = []
    # Many kinds, as of values, are looked at one by one: all at once would take gigabytes.
    at_once = max(1, NUMBERS_AT_ONCE // (max(1, len(pairs.a)) * len(STAKES)))
    for start in range(0, len(pairs.counts), at_once):
        counts = pairs.counts[start : start + at_once]
        seen = counts.any(axis=0)  # early looks have few of the kinds
        some = Outcomes(pairs.a[seen], pairs.b[seen], counts[:, seen])
        n = some.counts.sum(axis=-1)

        def refuted(effects: Float64, side: Literal[1, -1], some: Outcomes = some) -> Bool:
            return log_wealth(some, effects, contrast, side) >= wall

        lows = _edges(lowest, highest, lambda at: refuted(at, 1), len(n), contrast)
        highs = -_edges(-highest, -lowest, lambda at: refuted(-at, -1), len(n), contrast)
        if contrast == "ratio":
            highs = np.where(highs >= LARGEST_RATIO, math.inf, highs)
        for count, low, high, a, b in zip(
            n, lows, highs, some.counts @ some.a, some.counts @ some.b, strict=True
        ):
            if not count:
                found.append(Bounds(math.nan, lowest, most, 0))
                continue
            mean_a, mean_b = float(a / count), float(b / count)
            ratio = mean_b / mean_a if mean_a else math.nan
            value = mean_b - mean_a if contrast == "difference" else ratio
            found.append(Bounds(value, float(low), float(high), int(count)))
    return found


def evidence(pairs: Outcomes) -> Float64:
    """E-value against "A and B are equal", `[...]`: 20 or more, at any time, refutes it at 5 %.

    The mean of the two gamblers', one for each side.
    """
    both = [log_wealth(pairs, 0.0, "difference", side) for side in (1, -1)]
    # Finite, so that it can be written down: beyond e^700 nobody counts.
    return np.asarray(np.exp(np.minimum(np.logaddexp(both[0], both[1]) - math.log(2), 700.0)))


def _edges(
    low: float, high: float, refuted: Callable[[Float64], Bool], looks: int, contrast: Contrast
) -> Float64:
    """Where tests that refute small effects stop doing so, by bisection (a ratio's on the scale of logs)."""
    lows, highs = np.full(looks, low), np.full(looks, high)
    first = refuted(lows)
    for _ in range(STEPS):
        middle = (lows + highs) / 2
        if contrast == "ratio":
            geometric = np.copysign(np.sqrt(np.maximum(lows * highs, 0)), lows)
            middle = np.where(lows * highs > 0, geometric, middle)
        small = refuted(middle)
        lows, highs = np.where(small, middle, lows), np.where(small, highs, middle)
    return np.where(first, lows, low)
