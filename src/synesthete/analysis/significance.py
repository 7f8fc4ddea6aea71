"""Significance: the Mann-Whitney law (exact or normal) and the false discovery rate."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float64

# Up to this many images on the smaller side the law is counted exactly. Above, the normal law is used: at most
# 1.5 % too small around p = 0.1 and too large below p = 0.02, the law being bounded, its tails lighter.
EXACT_UP_TO = 20


@lru_cache(maxsize=32)
def survival_table(n_pos: int, n_neg: int) -> Float64:
    """P(U >= u) for u = 0 .. n_pos * n_neg, when positives and negatives are exchangeable without ties.

    U counts the pairs that the positive wins. The counts are the coefficients of the Gaussian binomial
    prod_i (1 - x^(m+i)) / (1 - x^i) (Mann & Whitney 1947): divisions first, which only add, then the
    subtractions, which do not touch the tail (u < m). Only half is computed; the law is symmetric.

    Parameters
    ----------
    n_pos, n_neg
        Group sizes, each at least 1; the law is the same when they change places.

    Examples
    --------
    >>> survival_table(1, 3).tolist()  # one positive among three others: any of 4 places
    [1.0, 0.75, 0.5, 0.25]
    """
    small, large = sorted((n_pos, n_neg))
    pairs = small * large
    counts = np.zeros(pairs // 2 + 1)
    counts[0] = 1.0
    for part in range(1, small + 1):
        padded = np.zeros(-(-counts.size // part) * part)
        padded[: counts.size] = counts
        counts = np.cumsum(padded.reshape(-1, part), axis=0).ravel()[: counts.size]
    for part in range(large + 1, large + small + 1):
        if part < counts.size:
            counts[part:] -= counts[:-part].copy()
    lower = np.cumsum(counts) / float(math.comb(small + large, small))  # P(U <= u), u <= pairs / 2
    survival = np.empty(pairs + 1)
    survival[pairs - np.arange(lower.size)] = lower
    below = pairs - lower.size + 1  # values of u not reached by symmetry
    survival[0] = 1.0
    survival[1:below] = 1.0 - lower[: max(below - 1, 0)]
    survival.flags.writeable = False
    return survival


def p_values(wins: npt.ArrayLike, n_pos: npt.ArrayLike, n_neg: npt.ArrayLike) -> Float64:
    """One-sided p of each count of wins: could so many pairs be won by chance?

    Ties must have been counted against the positives (`AucTable.wins`). Then p is valid with any ties: had
    ties been broken at random, U would follow the no-tie law exactly and never be smaller. (With averaged
    ties neither the no-tie law nor the tie-corrected normal law is valid for sparse units: docs/selectivity.md.)

    Parameters
    ----------
    wins
        `[..., concepts]`, pairs won strictly, an integer or a lower bound on it.
    n_pos, n_neg
        `[concepts]`.

    Returns
    -------
    array `[..., concepts]`
        NaN where either group is empty.
    """
    from scipy.special import ndtr  # takes long to import

    wins_uc = np.asarray(wins, np.float64)
    n_pos, n_neg = np.asarray(n_pos, np.int64), np.asarray(n_neg, np.int64)
    p = np.full(wins_uc.shape, np.nan)
    for pos, neg in sorted(set(zip(n_pos.tolist(), n_neg.tolist(), strict=True))):
        if pos == 0 or neg == 0:
            continue
        columns = np.flatnonzero((n_pos == pos) & (n_neg == neg))
        won = np.clip(wins_uc[..., columns], 0, pos * neg)
        if min(pos, neg) <= EXACT_UP_TO:
            p[..., columns] = survival_table(pos, neg)[won.astype(np.int64)]
        else:
            spread = math.sqrt(pos * neg * (pos + neg + 1) / 12)
            p[..., columns] = ndtr(-(won - 0.5 - pos * neg / 2) / spread)
    return p


def benjamini_hochberg(p: npt.ArrayLike) -> Float64:
    """The q of each p: the smallest false discovery rate at which it would be called.

    Benjamini & Hochberg 1995.

    Parameters
    ----------
    p
        Any shape; NaN means "not tested" and stays NaN, uncounted.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, float("nan")]).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    p = np.asarray(p, np.float64)
    tested = np.flatnonzero(~np.isnan(p.ravel()))
    values = p.ravel()[tested]
    order = np.argsort(values, kind="stable")
    scaled = values[order] * values.size / np.arange(1, values.size + 1)
    q = np.full(p.size, np.nan)
    q[tested[order]] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q.reshape(p.shape)
