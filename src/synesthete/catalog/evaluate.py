"""Evaluate: how many right answers a catalogue finds, beside its texts alone, its images alone, and chance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float32
from synesthete.catalog.query_encoder import Asker
from synesthete.catalog.schema import Evaluation, Picture
from synesthete.catalog.search import best
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.tables import query_rows
from synesthete.errors import SynestheteError


@dataclass(frozen=True)
class Asked:
    """A query with its right answers: ids of items."""

    text: str | None
    picture: Picture | None
    relevant: frozenset[str]


def evaluate(
    asker: Asker,
    queries: Path,
    *,
    k: int = 10,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> list[Evaluation]:
    """Fused, text-only, picture-only and random; see `Catalog.evaluate`."""
    if k < 1:
        raise SynestheteError(f"k is {k}, expected at least 1")
    snapshot = asker.snapshot
    asked = asked_of(snapshot, queries, columns)
    vectors = np.stack([asker.query(one.text, one.picture).vector for one in asked])
    rng = np.random.default_rng(seed)
    space = snapshot.space
    texts = space.texts(snapshot.gather("texts"))
    pictures = space.pictures(snapshot.gather("pictures"))
    rankings = {
        "fused": [best(snapshot, vector, k)[0] for vector in vectors],
        "text-only": [_top(texts, vector, k) for vector in vectors],
        "picture-only": [_top(pictures, vector, k) for vector in vectors],
        "random": [rng.permutation(len(snapshot))[:k] for _ in vectors],
    }
    truth = [one.relevant for one in asked]
    return [
        summarised(name, [[snapshot.ids[r] for r in rows] for rows in found], truth, k, seed)
        for name, found in rankings.items()
    ]


def summarised(
    method: str,
    rankings: Sequence[Sequence[str]],
    relevant: Sequence[Collection[str]],
    k: int,
    seed: int = 0,
) -> Evaluation:
    """Means over queries with 95 % bootstrap intervals, by the conventions of `catalog.metrics`.

    A query without a right answer has no value and is left out of the means and of `n`; MRR looks at the first `k`.

    Examples
    --------
    >>> found = summarised("mine", [["a", "b"], ["b", "a"]], [{"a"}, {"a"}], 1)
    >>> found.recall, found.mrr, found.n
    (0.5, 0.5, 2)
    """
    # Here, so that opening a catalogue waits for no statistics.
    from synesthete.catalog.metrics.ranking import rankings_quality

    found = rankings_quality(
        [ranked[:k] for ranked in rankings],
        [dict.fromkeys(right, 1.0) for right in relevant],
        k,
        seed=seed,
    )
    recall, ndcg = found.recall, found.ndcg
    return Evaluation(
        method, k, recall.n,
        recall.value, (recall.low, recall.high),
        ndcg.value, (ndcg.low, ndcg.high),
        found.mrr.value,
    )  # fmt: skip


def asked_of(
    snapshot: Snapshot, queries: Path, columns: Mapping[str, str] | None = None
) -> list[Asked]:
    """The queries of a table with the ids of their right answers.

    Raises
    ------
    SynestheteError
        A query without text and picture, or whose right answers are not in the catalogue.
    """
    categories: dict[str, set[str]] = {}
    for item_id, category in zip(
        snapshot.ids, snapshot.column("category").to_pylist(), strict=True
    ):
        categories.setdefault(category.casefold(), set()).add(item_id)
    found = []
    for line, row in query_rows(queries, columns=columns):
        right = {one for one in row.relevant if one in snapshot}
        for name in row.categories:
            right |= categories.get(name.casefold(), set())
        if not right:
            told = ", ".join([*row.relevant, *row.categories][:3]) or "none given"
            raise SynestheteError(
                f"{queries.name}, line {line}: none of the right answers is in the catalogue ({told})",
                hint="give ids of items in a column relevant, or a category in a column category",
            )
        if not row.text and row.picture is None:
            raise SynestheteError(f"{queries.name}, line {line}: neither a text nor a picture")
        found.append(Asked(row.text or None, row.picture, frozenset(right)))
    if not found:
        raise SynestheteError(f"{queries} has no queries")
    return found


def _top(items: Float32, query: Float32, k: int) -> npt.NDArray[np.int64]:
    """The best rows, items without this part last, ties by row."""
    scores = np.where(items.any(axis=1), items @ query, -np.inf)
    return np.argsort(-scores, kind="stable")[:k]
