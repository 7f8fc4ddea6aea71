"""WEAT: whether two sets of targets lean to two sets of attributes differently, with an exact or sampled permutation test."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from synesthete._core.intervals import bootstrap_interval
from synesthete.errors import SynestheteError

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]
EXACT_UP_TO = 20_000
SAMPLED = 10_000
DRAWS = 1000


@dataclass(frozen=True)
class Weat:
    """One association test.

    Attributes
    ----------
    effect
        Difference of the mean lean of X and of Y by the standard deviation of all leans (ddof 1): between -2 and 2.
    low, high
        95 % bootstrap interval over the targets.
    p
        Share of the equal partitions of X ∪ Y whose difference is at least as great: one-sided.
    partitions
        How many were looked at.
    exact
        Whether these were all.
    lean_x, lean_y
        Mean lean of each set of targets: cosine to A minus cosine to B.
    """

    effect: float
    low: float
    high: float
    p: float
    partitions: int
    exact: bool
    lean_x: float
    lean_y: float


def leans(targets: Float, a: Float, b: Float) -> Float64:
    """`[targets]`: mean cosine to A minus mean cosine to B, of embeddings of any length."""
    unit = [_unit(rows) for rows in (targets, a, b)]
    return np.asarray((unit[0] @ unit[1].T).mean(1) - (unit[0] @ unit[2].T).mean(1), np.float64)


def weat(x: Float, y: Float, a: Float, b: Float, *, seed: int = 0) -> Weat:
    """The test of Caliskan, Bryson & Narayanan 2017 (Science 356, 183–186); with sentences, SEAT (May et al. 2019).

    Parameters
    ----------
    x, y
        Embeddings of targets `[words, dim]`, two words or more each.
    a, b
        Embeddings of attributes `[words, dim]`.

    Raises
    ------
    SynestheteError
        Fewer than two targets in a set, an empty set of attributes.
    """
    if min(len(x), len(y)) < 2 or min(len(a), len(b)) < 1:
        sizes = ", ".join(str(len(rows)) for rows in (x, y, a, b))
        raise SynestheteError(f"sets of {sizes} words; an association test needs two or more each")
    lean = np.concatenate([leans(x, a, b), leans(y, a, b)])
    size = len(x)
    effect = _effect(lean[:size], lean[size:])
    p, count, exact = _permuted(lean, size, seed)
    low, high = bootstrap_interval(
        _effects, lean[:size], lean[size:], draws=DRAWS, seed=seed, vectorized=True
    )
    return Weat(
        effect,
        low,
        high,
        p,
        count,
        exact,
        float(lean[:size].mean()),
        float(lean[size:].mean()),
    )


def _effect(x: Float64, y: Float64) -> float:
    return float(_effects(x[None], y[None])[0])


def _effects(x: Float64, y: Float64) -> Float64:
    """Effect of each draw `[draws]` of leans `[draws, targets]`; 0 where all leans are the same."""
    spread = np.concatenate([x, y], axis=1).std(axis=1, ddof=1)
    rise = x.mean(axis=1) - y.mean(axis=1)
    return np.where(spread < 1e-12, 0.0, rise / np.maximum(spread, 1e-12))


def _permuted(lean: Float64, size: int, seed: int) -> tuple[float, int, bool]:
    """One-sided p of the difference of means when the targets are dealt out anew; the true deal counts too."""
    found = lean[:size].sum()
    # The difference of means grows with the sum of the first set alone.
    slack = 1e-9 * max(1.0, float(np.abs(lean).sum()))
    if comb(len(lean), size) <= EXACT_UP_TO:
        sums = np.array([sum(chosen) for chosen in combinations(lean.tolist(), size)])
        return float((sums >= found - slack).mean()), len(sums), True
    rng = np.random.default_rng(seed)
    mixed = rng.permuted(np.broadcast_to(lean, (SAMPLED, len(lean))), axis=1)
    sums = mixed[:, :size].sum(1)
    return float((1 + (sums >= found - slack).sum()) / (1 + SAMPLED)), SAMPLED, False


def _unit(rows: Float) -> Float64:
    rows = np.asarray(rows, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
