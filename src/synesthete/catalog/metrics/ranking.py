"""How good is a ranking whose right answers are known? NDCG, recall, reciprocal rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synesthete.catalog.metrics.means import Estimate, mean_of
from synesthete.errors import SynestheteError

Gains = Mapping[str, float]


def ndcg_at(ranked: Sequence[str], gains: Gains, k: int) -> float:
    """Normalized discounted cumulative gain of the first k (Järvelin & Kekäläinen 2002), with linear gains.

    Parameters
    ----------
    ranked
        Item ids, best first; each at most once.
    gains
        Item id → how right it is, 0 or more. Items that are not named gain nothing.
    k
        At least 1. A ranking shorter than k loses what it leaves out.

    Returns
    -------
    float
        1 for the best ranking there is, 0 for one without a right answer, NaN where nothing is right.

    Examples
    --------
    >>> round(ndcg_at(["x", "a", "b"], {"a": 1, "b": 1}, 3), 4)  # (1/log2(3) + 1/2) / (1 + 1/log2(3))
    0.6934
    """
    _check(ranked, gains, k)
    best = sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k]
    if not best:
        return math.nan
    got = [gains.get(item, 0.0) for item in ranked[:k]]
    return _discounted(got) / _discounted(best)


def recall_at(ranked: Sequence[str], gains: Gains, k: int) -> float:
    """Share of the right items that are among the first k; NaN where nothing is right.

    Examples
    --------
    >>> recall_at(["x", "a", "b"], {"a": 1, "b": 1}, 2)
    0.5
    """
    _check(ranked, gains, k)
    right = {item for item, gain in gains.items() if gain > 0}
    return len(right & set(ranked[:k])) / len(right) if right else math.nan


def reciprocal_rank(ranked: Sequence[str], gains: Gains) -> float:
    """1 / the place of the first right item, 0 where none is in the ranking; NaN where nothing is right.

    Examples
    --------
    >>> reciprocal_rank(["x", "a", "b"], {"a": 1, "b": 1})
    0.5
    """
    _check(ranked, gains, 1)
    if not any(gain > 0 for gain in gains.values()):
        return math.nan
    places = (place for place, item in enumerate(ranked, start=1) if gains.get(item, 0.0) > 0)
    return 1 / next(places, math.inf)


@dataclass(frozen=True)
class Ranked:
    """How good rankings are, over queries.

    Attributes
    ----------
    k
        How many places counted.
    ndcg, recall, mrr
        Means with 95 % intervals over the queries that have a right answer.
    skipped
        Queries without one.
    """

    k: int
    ndcg: Estimate
    recall: Estimate
    mrr: Estimate
    skipped: int

    def as_dict(self) -> dict[str, object]:
        """As JSON writes it: `ndcg@10`, `recall@10`, `mrr`, each with its interval and n."""
        told = {f"ndcg@{self.k}": self.ndcg, f"recall@{self.k}": self.recall, "mrr": self.mrr}
        plain: dict[str, object] = {name: one.value for name, one in told.items()}
        plain["intervals"] = {name: [one.low, one.high] for name, one in told.items()}
        return {**plain, "queries": self.ndcg.n, "skipped": self.skipped}


def rankings_quality(
    rankings: Sequence[Sequence[str]], gains: Sequence[Gains], k: int = 10, *, seed: int = 0
) -> Ranked:
    """NDCG, recall and MRR of many queries.

    Parameters
    ----------
    rankings, gains
        One of each per query.
    seed
        Of the bootstrap.
    """
    if len(rankings) != len(gains):
        raise SynestheteError(f"{len(rankings)} rankings and the answers to {len(gains)} queries")
    asked = [
        (ranked, right)
        for ranked, right in zip(rankings, gains, strict=True)
        if any(gain > 0 for gain in right.values())
    ]
    return Ranked(
        k,
        mean_of([ndcg_at(ranked, right, k) for ranked, right in asked], seed=seed),
        mean_of([recall_at(ranked, right, k) for ranked, right in asked], seed=seed),
        mean_of([reciprocal_rank(ranked, right) for ranked, right in asked], seed=seed),
        len(gains) - len(asked),
    )


def leave_one_out(histories: Mapping[str, Sequence[str]]) -> dict[str, tuple[list[str], str]]:
    """Hide each person's last item: person → (what is known, what a recommender should find).

    People with fewer than two different items are left out.

    Examples
    --------
    >>> leave_one_out({"ann": ["a", "b", "a", "c"], "ben": ["a"]})
    {'ann': (['a', 'b'], 'c')}
    """
    found = {}
    for person, items in histories.items():
        known = list(dict.fromkeys(item for item in items if item != items[-1]))
        if known:
            found[person] = (known, items[-1])
    return found


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def _check(ranked: Sequence[str], gains: Gains, k: int) -> None:
    if k < 1:
        raise SynestheteError(f"k is {k}; it is 1 or more")
    if len(set(ranked)) != len(ranked):
        raise SynestheteError("a ranking names an item twice")
    if any(not (math.isfinite(gain) and gain >= 0) for gain in gains.values()):
        raise SynestheteError("gains are finite numbers, 0 or more")
