"""Evaluate: how many right answers a catalogue finds, beside its texts alone, its images alone, and chance."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synesthete._core.arrays import Float32, Int64
from synesthete.catalog.query_encoder import Query, QueryEncoder
from synesthete.catalog.schema import Evaluation, ImageSource
from synesthete.catalog.search import best
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.tables import query_rows
from synesthete.errors import SynestheteError


@dataclass(frozen=True)
class LabelledQuery:
    """A query with its right answers: ids of items. `row` says where it stands, for messages."""

    row: str
    text: str | None
    image: ImageSource | None
    relevant: frozenset[str]

    def encoded(self, encoder: QueryEncoder) -> Query:
        """As a query of the space; raises `SynestheteError`, with the row, for an image that cannot be read."""
        with naming(self.row):
            return encoder.query(self.text, self.image)


@contextmanager
def naming(row: str) -> Iterator[None]:
    """Say in what is wrong with a query where it stands."""
    try:
        yield
    except SynestheteError as error:
        raise SynestheteError(f"{row}: {error.message}", hint=error.hint) from None


def evaluate(
    encoder: QueryEncoder,
    queries: Path,
    *,
    k: int = 10,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> list[Evaluation]:
    """Fused, text-only, image-only and random; see `Catalog.evaluate`."""
    if k < 1:
        raise SynestheteError(f"k is {k}, expected at least 1")
    snapshot = encoder.snapshot
    labelled = labelled_queries(snapshot, queries, columns)
    vectors = np.stack([one.encoded(encoder).vector for one in labelled])
    rng = np.random.default_rng(seed)
    space = snapshot.space
    texts = space.texts(snapshot.gather("texts"))
    images = space.images(snapshot.gather("images"))
    rankings = {
        "fused": [best(snapshot, vector, k)[0] for vector in vectors],
        "text-only": [_top(texts, vector, k) for vector in vectors],
        "image-only": [_top(images, vector, k) for vector in vectors],
        "random": [rng.permutation(len(snapshot))[:k] for _ in vectors],
    }
    truth = [one.relevant for one in labelled]
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
        method=method,
        k=k,
        n=recall.n,
        recall=recall.value,
        recall_interval=(recall.low, recall.high),
        ndcg=ndcg.value,
        ndcg_interval=(ndcg.low, ndcg.high),
        mrr=found.mrr.value,
    )


def labelled_queries(
    snapshot: Snapshot,
    queries: Path,
    columns: Mapping[str, str] | None = None,
    *,
    root: Path | None = None,
) -> list[LabelledQuery]:
    """The queries of a table with the ids of their right answers; `columns`, `root` as for `item_rows`.

    Raises
    ------
    SynestheteError
        A query without text and image, or whose right answers are not in the catalogue.
    """
    categories: dict[str, set[str]] = {}
    for item_id, category in zip(
        snapshot.ids, snapshot.column("category").to_pylist(), strict=True
    ):
        categories.setdefault(category.casefold(), set()).add(item_id)
    found = []
    for line, row in query_rows(queries, columns=columns, root=root):
        where = f"{queries.name}, line {line}"
        right = {one for one in row.relevant if one in snapshot}
        for name in row.categories:
            right |= categories.get(name.casefold(), set())
        if not right:
            given = ", ".join([*row.relevant, *row.categories][:3]) or "none given"
            raise SynestheteError(
                f"{where}: none of the right answers is in the catalogue ({given})",
                hint="give ids of items in a column relevant, or a category in a column category",
            )
        if not row.text and row.image is None:
            raise SynestheteError(f"{where}: neither a text nor an image")
        found.append(LabelledQuery(where, row.text or None, row.image, frozenset(right)))
    if not found:
        raise SynestheteError(f"{queries} has no queries")
    return found


def _top(items: Float32, query: Float32, k: int) -> Int64:
    """The best rows, items without this part last, ties by row."""
    scores = np.where(items.any(axis=1), items @ query, -np.inf)
    return np.argsort(-scores, kind="stable")[:k]
