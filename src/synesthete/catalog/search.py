"""Search: the nearest items that pass the filters, how relevant each is, near-duplicates together, and the reasons.

Reasons are units of an item's image, concepts that query and item are near, and words that both have. The embedding of
an image is, but for a rest, a weighted sum of the activations of the units of the last block (`Reference.path`; for a
ModifiedResNet its weights are those of the model's own value path, otherwise they are fitted). So the cosine of a query
and an item's image is a sum over units, too: what each adds is the weight that the query gives to it times how far its
activation lies from its mean over the catalogue.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synesthete._core.arrays import Bool, Float32, Int64
from synesthete.catalog.encode import IMAGE_WEIGHT, PRIOR, TEXT_WEIGHT, text_of, words_of
from synesthete.catalog.query_encoder import Query
from synesthete.catalog.relevance import relevance
from synesthete.catalog.schema import Hit, Reason
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.errors import SynestheteError, near

Where = Mapping[str, Sequence[str]] | Sequence[str]

_FORM = re.compile(r"\s*([^=<>!]+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
OWN = ("id", "title", "category", "price")

NEAR = 2.0  # standard deviations over the concepts, on both sides
SHOWN_WORDS = 5
DUPLICATE = 0.97  # cosine of fused vectors
SPARE = 64  # fetched beyond the limit: ties at the end are settled by id, duplicates fall out


@dataclass(frozen=True)
class Filter:
    """One condition: a name, a comparison, and the values of which any may hold."""

    name: str
    comparison: str
    values: tuple[str, ...]


def parse(where: Where) -> list[Filter]:
    """Filters of their short form, or of a mapping of names to allowed values.

    Raises
    ------
    SynestheteError
        A filter that is none, or compares with what is not a valid number.

    Examples
    --------
    >>> parse(["colour=red|white", "price<=5"])
    [Filter(name='colour', comparison='=', values=('red', 'white')), Filter(name='price', comparison='<=', values=('5',))]
    """
    if isinstance(where, str):
        where = [where]
    if isinstance(where, Mapping):
        return [
            Filter(name, "=", (values,) if isinstance(values, str) else tuple(map(str, values)))
            for name, values in where.items()
        ]
    found = []
    for text in where:
        match = _FORM.fullmatch(text)
        if not match:
            hint = "write name=value, name!=value, name<number or name>=number"
            raise SynestheteError(f"{text!r} is no filter", hint=hint)
        name, comparison, value = match.groups()
        values = tuple(one.strip() for one in value.split("|"))
        if comparison in ("<", "<=", ">", ">="):
            _number(value, text)
        found.append(Filter(name, comparison, values))
    return found


def rows_passing(snapshot: Snapshot, where: Where) -> Int64 | None:
    """Rows that pass every filter, ascending; None when there is no filter.

    Raises
    ------
    SynestheteError
        A name that no item has; near names are listed.
    """
    filters = parse(where)
    if not filters:
        return None
    keep = np.ones(len(snapshot), bool)
    for one in filters:
        keep &= _passing(snapshot, one)
    return np.flatnonzero(keep)


def attribute_names(snapshot: Snapshot) -> list[str]:
    """Names of all attributes, sorted."""
    if not len(snapshot):
        return []
    keys = snapshot.column("attributes").keys
    return sorted(snapshot.computed("attribute names", lambda: pc.unique(keys).to_pylist()))


def values_of(snapshot: Snapshot, name: str) -> tuple[Int64, list[str]]:
    """Row and value of every value that items have under a name."""
    return snapshot.computed(("values", name), lambda: _values(snapshot, name))


def _passing(snapshot: Snapshot, one: Filter) -> Bool:
    if len(snapshot) and one.name not in OWN and one.name not in attribute_names(snapshot):
        names = [*OWN, *attribute_names(snapshot)]
        hint = near(one.name, names) or f"it has {', '.join(names[:20])}"
        raise SynestheteError(f"no item has {one.name!r}", hint=hint)
    rows, values = values_of(snapshot, one.name)
    if one.comparison in ("=", "!="):
        wanted = {_folded(value) for value in one.values}
        right = np.array([_folded(value) in wanted for value in values], bool)
    else:
        limit = _number(one.values[0], one.name)
        numbers = np.array([_as_number(value) for value in values], np.float64)
        with np.errstate(invalid="ignore"):
            right = {
                "<": numbers < limit,
                "<=": numbers <= limit,
                ">": numbers > limit,
                ">=": numbers >= limit,
            }[one.comparison]
    keep = np.zeros(len(snapshot), bool)
    keep[rows[right]] = True
    return ~keep if one.comparison == "!=" else keep


def _values(snapshot: Snapshot, name: str) -> tuple[Int64, list[str]]:
    if not len(snapshot):
        return np.zeros(0, np.int64), []
    if name in OWN:
        texts = snapshot.column(name).to_pylist()
        there = [row for row, value in enumerate(texts) if value not in (None, "")]
        return np.array(there, np.int64), [_as_text(texts[row]) for row in there]
    lists = pc.map_lookup(
        snapshot.column("attributes"), pa.scalar(name, pa.large_string()), "first"
    )
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return rows, pc.list_flatten(lists).to_pylist()


def _as_text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _folded(value: str) -> str:
    number = _as_number(value)
    return value.strip().casefold() if math.isnan(number) else repr(number)


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(text: str, where: str) -> float:
    number = _as_number(text)
    if math.isnan(number):
        raise SynestheteError(f"{text!r} in the filter {where!r} is not a valid number")
    return number


def unit_shares(snapshot: Snapshot, query: Float32, rows: Sequence[int]) -> Float32:
    """What each unit of an item's image adds to its score, `[rows, units]`; zeros without an image.

    Parameters
    ----------
    query
        Centred, of unit length, `[dim]`.
    """
    chosen = np.asarray(rows, np.int64)
    images, texts = snapshot.gather("images", chosen), snapshot.gather("texts", chosen)
    space = snapshot.space
    both = IMAGE_WEIGHT * space.images(images) + TEXT_WEIGHT * space.texts(texts)
    length = np.linalg.norm(both, axis=1) * np.linalg.norm(images - space.image_centre, axis=1)
    scale = IMAGE_WEIGHT / np.where(length > 0, length, np.inf)
    shares = shares_of(snapshot, query, snapshot.gather("units", chosen))
    return np.asarray(shares * scale[:, None], np.float32)


def shares_of(snapshot: Snapshot, query: Float32, units: Float32) -> Float32:
    """What each unit adds to the product of a query and an embedding that is not scaled, `[images, units]`."""
    return np.asarray(
        np.nan_to_num(units - unit_centre(snapshot)) * (query @ snapshot.reference.path), np.float32
    )


def unit_centre(snapshot: Snapshot) -> Float32:
    """Mean answer of every unit, `[units]`, as the space has its centre."""
    return snapshot.computed("unit centre", lambda: _unit_centre(snapshot))


def reasons_for(
    snapshot: Snapshot,
    query: Float32,
    rows: Sequence[int],
    *,
    texts: Sequence[str] = (),
    limit: int = 3,
    muted: Collection[str] = (),
) -> list[tuple[Reason, ...]]:
    """Reasons for each row: the first of each kind, then the second, and so on.

    Parameters
    ----------
    texts
        Of the query, for the words that both sides share.
    muted
        Names that are not to be given as reasons.
    """
    if limit < 1 or not len(rows):
        return [() for _ in rows]
    quiet = {name.casefold() for name in muted}
    shares = unit_shares(snapshot, query, rows)
    answers = np.nan_to_num(
        snapshot.gather("units", np.asarray(rows)) - unit_centre(snapshot), nan=-1
    )
    shares = np.where(answers > 0, shares, 0)
    near = _near_concepts(snapshot, query, snapshot.fused(np.asarray(rows)))
    query_words = words_of(" ".join(texts))
    items = snapshot.items(list(rows)) if query_words else ()
    shared = [_shared(query_words, text_of(item)) for item in items] or [() for _ in rows]
    found = []
    for place in range(len(rows)):
        kinds = (
            shared[place],
            [r for r in near[place] if r.text.casefold() not in quiet],
            unit_reasons(snapshot, shares[place], limit, quiet=quiet),
        )
        mixed = [one for some in zip_longest(*kinds) for one in some if one is not None]
        found.append(tuple(mixed[:limit]))
    return found


def unit_reasons(
    snapshot: Snapshot,
    shares: Float32,
    limit: int,
    *,
    sign: int = 1,
    quiet: Collection[str] = (),
) -> list[Reason]:
    """The units that add most (`sign` 1) or take away most (-1), strongest first.

    Parameters
    ----------
    shares
        `[units]`.
    quiet
        Names, in lower case, of units that are not to be given.
    """
    reference = snapshot.reference
    found: list[Reason] = []
    for unit in np.argsort(-sign * shares, kind="stable"):
        if len(found) >= limit or sign * shares[unit] <= 0:
            break
        name, tested = reference.names[unit], bool(reference.tested[unit])
        if name.casefold() in quiet:
            continue
        # An untested name is no more than where the unit's weights point, and is shown as that.
        text = name if tested else f"drives towards {name}" if name else "of no known name"
        found.append(
            Reason(
                kind="unit",
                text=text,
                weight=float(shares[unit]),
                address=f"{snapshot.layer}:{unit}",
                tested=tested,
            )
        )
    return found


def _near_concepts(snapshot: Snapshot, query: Float32, items: Float32) -> list[list[Reason]]:
    concepts = snapshot.computed(
        "concepts", lambda: snapshot.space.query_texts(snapshot.reference.concept_vectors)
    )
    query_scores = concepts @ query
    # One product per item: a product of all rounds differently by how many there are, and so would a hit's reasons.
    item_scores = np.stack([concepts @ item for item in items])
    wanted = (query_scores - query_scores.mean()) / max(float(query_scores.std()), 1e-9)
    spread = np.maximum(item_scores.std(1, keepdims=True), 1e-9)
    both = np.minimum(wanted, (item_scores - item_scores.mean(1, keepdims=True)) / spread)
    found = []
    for row, strength in enumerate(both):
        best = [int(c) for c in np.argsort(-strength, kind="stable")[:5] if strength[c] >= NEAR]
        names = snapshot.reference.concepts
        found.append(
            [
                Reason(
                    kind="concept",
                    text=names[c],
                    weight=float(query_scores[c] * item_scores[row, c]),
                )
                for c in best
            ]
        )
    return found


def _shared(query_words: Sequence[str], text: str) -> tuple[Reason, ...]:
    item_words = set(words_of(text))
    both = [term for term in query_words if term in item_words]
    if not both:
        return ()
    shown = ", ".join(both[:SHOWN_WORDS])
    return (
        Reason(
            kind="words",
            text=f"shares the word{'s' * (len(both) > 1)} {shown}",
            weight=float(len(both)),
        ),
    )


def _unit_centre(snapshot: Snapshot) -> Float32:
    total, count = snapshot.sums.units
    prior = PRIOR * snapshot.reference.unit_mean.astype(np.float64)
    return np.asarray((total + prior) / (count + PRIOR), np.float32)


def search(
    snapshot: Snapshot,
    query: Query,
    *,
    where: Where = (),
    limit: int = 10,
    cut: float = 0.9,
    only_relevant: bool = False,
    group: bool = True,
    reasons: int = 3,
) -> list[Hit]:
    """The `limit` best items, best first; fewer when there are fewer.

    Raises
    ------
    SynestheteError
        `limit` below 1, a cut outside 0 to 1, an unknown filter.
    """
    check_limit(limit, cut)
    among = rows_passing(snapshot, where)
    rows, scores = best(snapshot, query.vector, limit + SPARE, among=among)
    doubles: dict[int, list[int]] = {}
    if group:
        rows, scores, doubles = grouped(snapshot, rows, scores, limit)
    rows, scores = rows[:limit], scores[:limit]
    relevances = relevance(snapshot, query.kind, scores)
    if only_relevant:
        keep = relevances >= cut
        rows, scores, relevances = rows[keep], scores[keep], relevances[keep]
    found = reasons_for(snapshot, query.vector, rows.tolist(), texts=query.texts, limit=reasons)
    return hits(snapshot, rows, scores, relevances, found, cut=cut, doubles=doubles)


def best(
    snapshot: Snapshot, vector: Float32, limit: int, *, among: Int64 | None = None
) -> tuple[Int64, Float32]:
    """Rows and scores of the nearest items, best first, ties by id."""
    scores, rows = snapshot.nearest.search(vector[None], limit, among=among)
    found = rows[0] >= 0
    rows_found, scores_found = rows[0][found], scores[0][found]
    order = np.lexsort((rows_found, -scores_found))
    return rows_found[order], scores_found[order]


def grouped(
    snapshot: Snapshot, rows: Int64, scores: Float32, limit: int
) -> tuple[Int64, Float32, dict[int, list[int]]]:
    """Leave out what is nearly the same as something before it; says what was left out for whom."""
    vectors = snapshot.fused(rows)
    kept: list[int] = []
    doubles: dict[int, list[int]] = {}
    for place in range(len(rows)):
        near = vectors[kept] @ vectors[place] if kept else np.zeros(0)
        if len(near) and near.max() >= DUPLICATE:
            doubles.setdefault(int(rows[kept[int(near.argmax())]]), []).append(int(rows[place]))
        elif len(kept) < limit:
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
            id=snapshot.ids[row],
            score=float(scores[place]),
            relevance=float(relevances[place]),
            relevant=bool(relevances[place] >= cut),
            title=titles[row].as_py(),
            category=categories[row].as_py(),
            price=prices[row].as_py(),
            reasons=reasons[place],
            duplicates=tuple(snapshot.ids[other] for other in (doubles or {}).get(row, ())),
        )
        for place, row in enumerate(rows.tolist())
    ]


def check_limit(limit: int, cut: float) -> None:
    """Refuse a `limit` or a cut that makes no sense."""
    if limit < 1:
        raise SynestheteError(f"the limit is {limit}, expected at least 1")
    if not 0 <= cut <= 1:
        raise SynestheteError(f"the cut is {cut}, expected 0 to 1")


def without_rows(count: int, rows: Collection[int], among: Int64 | None) -> Int64 | None:
    """The rows to choose from when some are left out."""
    if not rows:
        return among
    chosen = np.arange(count) if among is None else among
    return chosen[~np.isin(chosen, list(rows))]
