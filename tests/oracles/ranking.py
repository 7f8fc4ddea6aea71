"""Quality of a ranking, by its definition: what `catalog.metrics.measured` is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def quality(ranked: Sequence[str], gains: Mapping[str, int], k: int) -> tuple[float, float, float]:
    """NDCG and recall at k, and the reciprocal rank of the first right item among k; NaN where nothing is right."""
    right = [item for item, gain in gains.items() if gain > 0]
    if not right:
        return (math.nan,) * 3
    first = ranked[:k]
    got = _discounted([gains.get(item, 0) for item in first])
    best = _discounted(sorted(gains.values(), reverse=True)[:k])
    places = [place for place, item in enumerate(first, start=1) if item in right]
    recall = len(set(right) & set(first)) / len(right)
    return got / best, recall, 1 / min(places) if places else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))
