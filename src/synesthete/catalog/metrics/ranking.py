"""How good is a ranking whose right answers are known? NDCG, recall, reciprocal rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synesthete._core.arrays import Floating
from synesthete.catalog.metrics.estimates import NOTHING, Estimate, mean_of, share_of
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


@dataclass(frozen=True, kw_only=True)
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
        named = {f"ndcg@{self.k}": self.ndcg, f"recall@{self.k}": self.recall, "mrr": self.mrr}
        plain: dict[str, object] = {name: one.value for name, one in named.items()}
        plain["intervals"] = {name: [one.low, one.high] for name, one in named.items()}
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
    answerable = [
        (ranked, right)
        for ranked, right in zip(rankings, gains, strict=True)
        if any(gain > 0 for gain in right.values())
    ]
    return Ranked(
        k=k,
        ndcg=mean_of([ndcg_at(ranked, right, k) for ranked, right in answerable], seed=seed),
        recall=mean_of([recall_at(ranked, right, k) for ranked, right in answerable], seed=seed),
        mrr=mean_of([reciprocal_rank(ranked, right) for ranked, right in answerable], seed=seed),
        skipped=len(gains) - len(answerable),
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


def coverage(rankings: Sequence[Sequence[str]], items: int, k: int) -> Estimate:
    """Share of the catalogue's items that some list shows among its first k (catalogue coverage).

    Parameters
    ----------
    items
        How many the catalogue has.

    Examples
    --------
    >>> print(coverage([["a", "b"], ["b", "c"]], items=10, k=2))
    0.3 (0.1078 to 0.6032, n = 10)
    """
    shown = {item for ranked in rankings for item in ranked[:k]}
    if len(shown) > items:
        raise SynestheteError(f"the lists show {len(shown)} items of a catalogue of {items}")
    return share_of(len(shown), items)


def diversity(lists: Sequence[Floating], *, seed: int = 0) -> Estimate:
    """Mean over lists of how different the items of one list are: 1 - cosine, over its pairs (Ziegler et al. 2005).

    Parameters
    ----------
    lists
        Per list the items' embeddings, `[items, dim]`, of any length but zero. Lists of fewer than two are left out.

    Examples
    --------
    >>> round(diversity([np.eye(2), np.ones((2, 2))]).value, 6)  # at a right angle; the same
    0.5
    """
    return mean_of([_spread(vectors) for vectors in lists if len(vectors) > 1], seed=seed)


def _spread(vectors: Floating) -> float:
    directions = np.asarray(vectors, np.float64)
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    if not np.isfinite(length).all() or (length == 0).any():
        raise SynestheteError("an embedding is zero or not finite")
    n = len(directions)
    # The sum over ordered pairs of cosines is |sum of directions|² - n, without the [n, n] matrix.
    total = float(np.square((directions / length).sum(axis=0)).sum()) - n
    return 1 - total / (n * (n - 1))


def novelty(
    rankings: Sequence[Sequence[str]],
    seen: Mapping[str, int],
    people: int,
    k: int,
    *,
    seed: int = 0,
) -> Estimate:
    """Mean over lists of how little known their items are, in bits (Vargas & Castells 2011, *self-information*).

    An item that a share p of people knows has -log2 p bits; one that nobody knows yet counts as known to half
    a person.

    Parameters
    ----------
    seen
        Item id → how many people know it.
    people
        How many there are.

    Examples
    --------
    >>> novelty([["a", "b"]], {"a": 4, "b": 1}, people=4, k=2).value  # 0 and 2 bits
    1.0
    """
    if people < 1:
        return NOTHING
    if any(not 0 <= count <= people for count in seen.values()):
        raise SynestheteError(
            f"an item is known to fewer than none or more than all {people} people"
        )

    def bits(item: str) -> float:
        return -math.log2(max(seen.get(item, 0), 0.5) / people)

    return mean_of(
        [float(np.mean([bits(item) for item in ranked[:k]])) for ranked in rankings if ranked[:k]],
        seed=seed,
    )
