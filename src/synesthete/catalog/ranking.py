"""How good a ranking is when the right answers are known."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def recall_at(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Share of the right answers that are among the first `k`.

    Examples
    --------
    >>> recall_at(["a", "b", "c"], {"b", "z"}, 2)
    0.5
    """
    found = set(ranked[:k]) & set(relevant)
    return len(found) / len(set(relevant)) if relevant else math.nan


def ndcg_at(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Normalised discounted cumulative gain with gains of 0 and 1 (Järvelin & Kekäläinen 2002).

    Examples
    --------
    >>> round(ndcg_at(["a", "b", "c"], {"b"}, 10), 4)  # 1 / log2(3)
    0.6309
    """
    wanted = set(relevant)
    if not wanted:
        return math.nan
    gain = sum(1 / math.log2(i + 2) for i, one in enumerate(ranked[:k]) if one in wanted)
    best = sum(1 / math.log2(i + 2) for i in range(min(len(wanted), k)))
    return gain / best


def mrr_at(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """One over the rank of the first right answer among the first `k`; 0 without one.

    Examples
    --------
    >>> mrr_at(["a", "b"], {"b"}, 10)
    0.5
    """
    wanted = set(relevant)
    return next((1 / (i + 1) for i, one in enumerate(ranked[:k]) if one in wanted), 0.0)
