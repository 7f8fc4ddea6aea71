"""The selectivity analysis again, slowly and obviously: loops, scikit-learn, whole enumerations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from sklearn.metrics import roc_auc_score


def auc(values: Sequence[float], positive: Sequence[bool]) -> float:
    """AUC by scikit-learn; NaN where it is undefined."""
    if all(positive) or not any(positive):
        return math.nan
    return float(roc_auc_score(positive, np.nan_to_num(values, nan=-1e9, neginf=-1e9)))


def wins(values: Sequence[float], positive: Sequence[bool]) -> int:
    """Pairs (positive, negative) that the positive wins strictly."""
    pairs = itertools.product(np.flatnonzero(positive), np.flatnonzero(~np.asarray(positive)))
    return sum(values[i] > values[j] for i, j in pairs)


def survival_by_enumeration(n_pos: int, n_neg: int) -> list[float]:
    """P(U >= u) by writing down every way to place the positives."""
    counts = [0] * (n_pos * n_neg + 1)
    for places in itertools.combinations(range(n_pos + n_neg), n_pos):
        counts[sum(places) - n_pos * (n_pos - 1) // 2] += 1
    total = sum(counts)
    return [sum(counts[u:]) / total for u in range(len(counts))]


@cache
def survival_by_integers(n_pos: int, n_neg: int) -> list[float]:
    """P(U >= u) by the recurrence of Mann and Whitney in unbounded integers."""
    size = n_pos * n_neg + 1
    counts = [1] + [0] * (size - 1)
    for part in range(1, n_pos + 1):
        wider = list(counts)
        for u in range(n_neg + part, size):
            wider[u] -= counts[u - n_neg - part]
        for u in range(part, size):
            wider[u] += wider[u - part]
        counts = wider
    total, running, survival = math.comb(n_pos + n_neg, n_pos), 0, []
    for count in reversed(counts):
        running += count
        survival.append(running / total)
    return survival[::-1]


def q_values(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg by their definition; NaN is not tested."""
    tested = [x for x in p if not math.isnan(x)]

    def q(one: float) -> float:
        if math.isnan(one):
            return math.nan
        candidates = [x * len(tested) / sum(y <= x for y in tested) for x in tested if x >= one]
        return min(1.0, *candidates)

    return [q(one) for one in p]


def chosen_concept(
    values: np.ndarray, concept: np.ndarray, modality: np.ndarray, scoring: np.ndarray
) -> int:
    """The concept of the largest Stouffer z on the selection half, by loops over names and modalities."""
    best, best_z = -1, -math.inf
    for candidate in range(concept.max() + 1):
        zs = []
        for m in range(modality.max() + 1):
            both = [
                ((concept == candidate) & (modality == m) & (scoring == s)).any() for s in (0, 1)
            ]
            if not all(both):
                continue
            rows = (modality == m) & ~scoring
            positive = concept[rows] == candidate
            n, k = int(positive.sum()), int((~positive).sum())
            zs.append((auc(values[rows], positive) - 0.5) * math.sqrt(12 * n * k / (n + k + 1)))
        z = sum(zs) / math.sqrt(len(zs)) if len(zs) >= 3 else -math.inf
        if z > best_z + 1e-9:
            best, best_z = candidate, z
    return best
