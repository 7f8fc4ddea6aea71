"""How good is a ranking whose right answers are known? NDCG, recall, reciprocal rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synesthete._core.arrays import Float64, Floating
from synesthete.catalog.metrics.estimates import NOTHING, Estimate, mean_of, share_of
from synesthete.errors import SynestheteError

Gains = Mapping[str, int]


def measured(
    rankings: Sequence[Sequence[str]], gains: Sequence[Gains], ks: Sequence[int]
) -> dict[str, Float64]:
    """Quality of each ranking by `ir-measures`: `ndcg@k` (Järvelin & Kekäläinen 2002, linear gains), `recall@k`, `rr@k`.

    A ranking shorter than k loses what it leaves out.

    Parameters
    ----------
    rankings
        Per query the item ids, best first; each at most once.
    gains
        Per query item id → how right it is, a whole number, 0 or more. Items that are not named gain nothing.
    ks
        Each at least 1.

    Returns
    -------
    dict
        Name → `[queries]`, 0 to 1; NaN where nothing is right.

    Raises
    ------
    SynestheteError
        Not as many rankings as gains, an item twice, a gain that is no whole number, a k below 1; no `ir-measures`.

    Examples
    --------
    >>> found = measured([["x", "a", "b"]], [{"a": 1, "b": 1}], [2, 3])
    >>> found["recall@2"].tolist(), found["rr@3"].tolist()
    ([0.5], [0.5])
    >>> found["ndcg@3"].round(4).tolist()  # (1/log2(3) + 1/2) / (1 + 1/log2(3))
    [0.6934]
    """
    try:
        import ir_measures
        from ir_measures import RR, R, nDCG
    except ImportError:
        raise SynestheteError(
            "measuring rankings needs the package ir-measures",
            hint="pip install 'synesthete[catalog]'",
        ) from None

    _check(rankings, gains, ks)
    kinds = {"ndcg": nDCG, "recall": R, "rr": RR}
    names = {kind @ k: f"{name}@{k}" for name, kind in kinds.items() for k in ks}
    found = {name: np.full(len(rankings), np.nan) for name in names.values()}
    right = {
        str(at): {item: int(gain) for item, gain in one.items()}
        for at, one in enumerate(gains)
        if any(one.values())
    }
    # An item's score is minus its place, so that the order is ours, whatever the ids are.
    scores = {at: {one: -place for place, one in enumerate(rankings[int(at)])} for at in right}
    for one in ir_measures.iter_calc(list(names), right, scores) if right else ():
        found[names[one.measure]][int(one.query_id)] = one.value
    return found


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
    """NDCG and recall at k, and MRR of the whole rankings, of many queries.

    Parameters
    ----------
    rankings, gains
        One of each per query.
    seed
        Of the bootstrap.
    """
    longest = max([k, *map(len, rankings)])
    found = measured(rankings, gains, sorted({k, longest}))
    answerable = ~np.isnan(found[f"ndcg@{k}"])
    ndcg, recall, mrr = (
        mean_of(found[name][answerable], seed=seed)
        for name in (f"ndcg@{k}", f"recall@{k}", f"rr@{longest}")
    )
    skipped = int((~answerable).sum())
    return Ranked(k=k, ndcg=ndcg, recall=recall, mrr=mrr, skipped=skipped)


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


def _check(rankings: Sequence[Sequence[str]], gains: Sequence[Gains], ks: Sequence[int]) -> None:
    if len(rankings) != len(gains):
        raise SynestheteError(f"{len(rankings)} rankings and the answers to {len(gains)} queries")
    if min(ks, default=0) < 1:
        raise SynestheteError(f"k is {min(ks, default=0)}; it is 1 or more")
    if any(len(set(ranked)) != len(ranked) for ranked in rankings):
        raise SynestheteError("a ranking names an item twice")
    # The library would round what is not whole.
    if not all(gain >= 0 and float(gain).is_integer() for one in gains for gain in one.values()):
        raise SynestheteError("gains are whole numbers, 0 or more")


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
