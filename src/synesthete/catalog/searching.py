"""Search: the nearest items, how relevant each is, near-duplicates together, reasons."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from synesthete.catalog.answers import Hit, Reason
from synesthete.catalog.calibration import relevance
from synesthete.catalog.filters import Where, rows_passing
from synesthete.catalog.queries import Query
from synesthete.catalog.reasons import reasons_for
from synesthete.catalog.snapshot import Snapshot
from synesthete.errors import SynestheteError

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

DUPLICATE = 0.97  # cosine of fused vectors
SPARE = (
    64  # fetched beyond what is asked for: ties at the end are settled by id, duplicates fall out
)


def search(
    snapshot: Snapshot,
    query: Query,
    *,
    where: Where = (),
    k: int = 10,
    cut: float = 0.9,
    only_relevant: bool = False,
    group: bool = True,
    reasons: int = 3,
) -> list[Hit]:
    """The `k` best items, best first; fewer when there are fewer.

    Raises
    ------
    SynestheteError
        `k` below 1, a cut outside 0 to 1, an unknown filter.
    """
    check(k, cut)
    among = rows_passing(snapshot, where)
    rows, scores = best(snapshot, query.vector, k + SPARE, among=among)
    doubles: dict[int, list[int]] = {}
    if group:
        rows, scores, doubles = grouped(snapshot, rows, scores, k)
    rows, scores = rows[:k], scores[:k]
    relevances = relevance(snapshot, query.kind, scores)
    if only_relevant:
        keep = relevances >= cut
        rows, scores, relevances = rows[keep], scores[keep], relevances[keep]
    told = reasons_for(snapshot, query.vector, rows.tolist(), texts=query.texts, limit=reasons)
    return hits(snapshot, rows, scores, relevances, told, cut=cut, doubles=doubles)


def best(
    snapshot: Snapshot, vector: Float32, k: int, *, among: Int64 | None = None
) -> tuple[Int64, Float32]:
    """Rows and scores of the nearest items, best first, ties by id."""
    scores, rows = snapshot.nearest.search(vector[None], k, among=among)
    found = rows[0] >= 0
    rows_found, scores_found = rows[0][found], scores[0][found]
    order = np.lexsort((rows_found, -scores_found))
    return rows_found[order], scores_found[order]


def grouped(
    snapshot: Snapshot, rows: Int64, scores: Float32, k: int
) -> tuple[Int64, Float32, dict[int, list[int]]]:
    """Leave out what is nearly the same as something before it; says what was left out for whom."""
    vectors = snapshot.fused(rows)
    kept: list[int] = []
    doubles: dict[int, list[int]] = {}
    for place in range(len(rows)):
        near = vectors[kept] @ vectors[place] if kept else np.zeros(0)
        if len(near) and near.max() >= DUPLICATE:
            doubles.setdefault(int(rows[kept[int(near.argmax())]]), []).append(int(rows[place]))
        elif len(kept) < k:
            kept.append(place)
    return rows[kept], scores[kept], doubles


def hits(
    snapshot: Snapshot,
    rows: Int64,
    scores: Float32,
    relevances: Float32,
    reasons: Sequence[tuple[Reason, ...]],
    *,
    cut: float,
    doubles: dict[int, list[int]] | None = None,
) -> list[Hit]:
    """Rows with everything that is shown of them."""
    titles, categories, prices = (snapshot.column(name) for name in ("title", "category", "price"))
    return [
        Hit(
            snapshot.ids[row],
            float(scores[place]),
            float(relevances[place]),
            bool(relevances[place] >= cut),
            titles[row].as_py(),
            categories[row].as_py(),
            prices[row].as_py(),
            reasons[place],
            tuple(snapshot.ids[other] for other in (doubles or {}).get(row, ())),
        )
        for place, row in enumerate(rows.tolist())
    ]


def check(k: int, cut: float) -> None:
    """Refuse a `k` or a cut that makes no sense."""
    if k < 1:
        raise SynestheteError(f"k is {k}, expected at least 1")
    if not 0 <= cut <= 1:
        raise SynestheteError(f"the cut is {cut}, expected 0 to 1")


def without_rows(count: int, rows: Collection[int], among: Int64 | None) -> Int64 | None:
    """The rows to choose from when some are left out."""
    if not rows:
        return among
    chosen = np.arange(count) if among is None else among
    return chosen[~np.isin(chosen, list(rows))]
