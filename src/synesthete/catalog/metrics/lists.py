"""What lists of recommendations are like together: coverage, diversity, novelty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from synesthete.catalog.metrics.means import NOTHING, Estimate, mean_of, share_of
from synesthete.errors import SynestheteError

Vectors = npt.NDArray[np.floating]


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


def diversity(lists: Sequence[Vectors], *, seed: int = 0) -> Estimate:
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


def _spread(vectors: Vectors) -> float:
    made = np.asarray(vectors, np.float64)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    if not np.isfinite(length).all() or (length == 0).any():
        raise SynestheteError("an embedding is zero or not finite")
    n = len(made)
    # The sum over ordered pairs of cosines is |sum of directions|² - n, without the [n, n] matrix.
    total = float(np.square((made / length).sum(axis=0)).sum()) - n
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
