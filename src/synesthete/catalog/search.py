"""Search: words and vectors together, what passes the filters, how relevant each is, near-duplicates, and the reasons.

An item's score is the cosine of query and item plus what its words add: 1½ for an item that has all the words of a text.
Full text (BM25) finds the items with the words, the vectors those that mean the same, and both are scored alike.

Reasons are units of an item's image, concepts that query and item are near, and words that both have. The embedding of
an image is, but for a rest, a weighted sum of the activations of the units of the last block (`Reference.path`; for a
ModifiedResNet its weights are those of the model's own value path, otherwise they are fitted). So the cosine of a query
and an item's image is a sum over units, too: what each adds is the weight that the query gives to it times how far its
activation lies from its mean over the catalogue.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synesthete._core.arrays import Float32
from synesthete.catalog.encode import IMAGE_WEIGHT, TEXT_WEIGHT
from synesthete.catalog.query_encoder import Query
from synesthete.catalog.relevance import relevance
from synesthete.catalog.schema import Hit, Reason
from synesthete.catalog.store.snapshot import Rows, Snapshot
from synesthete.catalog.store.table import quoted
from synesthete.catalog.words import (
    SEPARATOR,
    as_number,
    edits,
    facet,
    folded_value,
    forms,
    query_words,
    shared,
)
from synesthete.errors import SynestheteError, near

Where = Mapping[str, Sequence[str]] | Sequence[str]

_FORM = re.compile(r"\s*([^=<>!]+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
OWN = ("id", "title", "category", "price")
DETAILS = ("images", "texts", "units")

# Chosen on half of the products of benchmarks/catalog.py (--part words): what an item with all words of a text gains,
# beside a cosine, and what a misspelt word counts.
WORDS, MISSPELT = 1.5, 0.8
NEAR = 2.0  # standard deviations over the concepts, on both sides
SHOWN_WORDS = 5
DUPLICATE = 0.97  # cosine of fused vectors
SPARE = 64  # fetched beyond the limit: ties at the end are settled by id, duplicates fall out


@dataclass(frozen=True)
class Found:
    """What was found, best first.

    Attributes
    ----------
    rows
        The items.
    scores
        `[items]`: cosine, and what the words add.
    """

    rows: Rows
    scores: Float32

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Sequence[int]) -> Found:
        """Some of it, in the order asked for."""
        return Found(self.rows.take(places), self.scores[list(places)])


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


def condition(snapshot: Snapshot, where: Where, without: Collection[str] = ()) -> str | None:
    """The filters as a condition of SQL, and without some ids; None when there is nothing to filter by.

    Raises
    ------
    SynestheteError
        A name that no item has; near names are listed.
    """
    parts = [_sql(snapshot, one) for one in parse(where)]
    if without:
        parts.append(f"id NOT IN ({quoted(without)})")
    return " AND ".join(parts) or None


def values_by_name(snapshot: Snapshot) -> dict[str, set[str]]:
    """Names of attributes, and `category`, to the values that items have, as filters compare them."""
    return snapshot.computed("facets", lambda: _facets({}, snapshot.scan(["facets"])), _more_facets)


def attribute_names(snapshot: Snapshot) -> list[str]:
    """Names of all attributes, sorted."""
    return sorted(values_by_name(snapshot).keys() - {"category"})


def _more_facets(known: dict[str, set[str]], snapshot: Snapshot) -> dict[str, set[str]]:
    return _facets({name: set(values) for name, values in known.items()}, snapshot.fresh)


def _facets(found: dict[str, set[str]], batches: Iterable[pa.RecordBatch]) -> dict[str, set[str]]:
    for batch in batches:
        for one in pc.unique(pc.list_flatten(batch["facets"])).to_pylist():
            name, _, value = one.partition(SEPARATOR)
            found.setdefault(name, set()).add(value)
    return found


def _sql(snapshot: Snapshot, one: Filter) -> str:
    if one.name not in OWN and one.name not in values_by_name(snapshot) and len(snapshot):
        names = [*OWN, *attribute_names(snapshot)]
        hint = near(one.name, names) or f"it has {', '.join(names[:20])}"
        raise SynestheteError(f"no item has {one.name!r}", hint=hint)
    if one.comparison in ("=", "!="):
        right = _equal(one)
        return f"NOT ({right})" if one.comparison == "!=" else right
    limit = _number(one.values[0], one.name)
    if one.name == "price":
        return f"price {one.comparison} CAST('{limit!r}' AS DOUBLE)"
    values = values_by_name(snapshot).get(one.name, set())
    return _has_any(one.name, [v for v in values if _COMPARE[one.comparison](as_number(v), limit)])


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _equal(one: Filter) -> str:
    if one.name == "price":
        numbers = [f"CAST('{n!r}' AS DOUBLE)" for n in map(as_number, one.values) if n == n]
        return f"coalesce(price IN ({', '.join(numbers)}), false)" if numbers else "false"
    if one.name in ("id", "title"):
        values = {form for v in one.values for form in (v.strip().casefold(), v.strip().lower())}
        return f"lower({one.name}) IN ({quoted(sorted(values))})"
    return _has_any(one.name, [folded_value(value) for value in one.values])


def _has_any(name: str, values: Sequence[str]) -> str:
    if not values:
        return "false"
    return f"array_has_any(facets, [{quoted(sorted(facet(name, value) for value in values))}])"


def _number(text: str, where: str) -> float:
    number = as_number(text)
    if math.isnan(number):
        raise SynestheteError(f"{text!r} in the filter {where!r} is not a valid number")
    return number


def best(
    snapshot: Snapshot,
    query: Query,
    limit: int,
    *,
    where: str | None = None,
) -> Found:
    """The best items by words and vectors, best first, ties by id; a filter is a condition of SQL."""
    if not len(snapshot):
        return Found(snapshot.rows([]), np.zeros(0, np.float32))
    rows = snapshot.nearest(query.vector, limit, where)
    matched: list[Rows] = []
    gains = word_gains(snapshot, query_words(query.texts), limit, where, matched)
    rows = Rows.joined([rows, *matched])
    # Row by row: a matrix product rounds differently by how many rows there are.
    cosines = (rows.array("fused") * query.vector).sum(axis=1)
    weight = WORDS * query.kind.text_weight
    scores = cosines + weight * np.array([gains.get(one, 0) for one in rows.ids])
    scores = scores.astype(np.float32)
    order = sorted(range(len(rows)), key=lambda at: (-scores[at], rows.ids[at]))[:limit]
    return Found(rows, scores).take(order)


def word_gains(
    snapshot: Snapshot,
    words: Sequence[str],
    limit: int,
    where: str | None = None,
    rows: list[Rows] | None = None,
) -> dict[str, float]:
    """Id to the share of the query's words that an item has, 0 to 1, for the items that BM25 ranks best.

    The best of them has the share that it has; the others less by their BM25 scores. A word that is nowhere in the
    catalogue is looked for with a wrong letter or two, and counts less. The items are added to `rows`.
    """
    if not words:
        return {}
    rows = [] if rows is None else rows
    gains: dict[str, float] = {}
    found = snapshot.matching(_every_form(words), limit, where, rows=rows)
    lost = list(words)
    if found:
        has = shared(words, rows[-1].values("words")[0])
        lost = [one for one in words if one not in has or has[one] not in forms(one)]
        share = max(len(words) - len(lost), 1) / len(words)
        gains = {one: share * score / found[0][1] for one, score in found if score > 0}
    lost = [one for one in lost if edits(one) and not snapshot.matching(_every_form([one]), 1)]
    for word in lost:
        near_words = snapshot.matching(word, limit, where, wrong_letters=edits(word), rows=rows)
        for one, score in near_words:
            gain = MISSPELT / len(words) * score / near_words[0][1] if score > 0 else 0
            gains[one] = gains.get(one, 0) + gain
    return gains


def _every_form(words: Sequence[str]) -> str:
    return " ".join(form for word in words for form in forms(word))


def unit_shares(snapshot: Snapshot, query: Float32, rows: Rows) -> Float32:
    """What each unit of an item's image adds to its score, `[rows, units]`; zeros without an image.

    Parameters
    ----------
    query
        Centred, of unit length, `[dim]`.
    rows
        With the columns of `DETAILS`.
    """
    images, texts = rows.array("images"), rows.array("texts")
    space = snapshot.space
    both = IMAGE_WEIGHT * space.images(images) + TEXT_WEIGHT * space.texts(texts)
    length = np.linalg.norm(both, axis=1) * np.linalg.norm(images - space.image_centre, axis=1)
    scale = IMAGE_WEIGHT / np.where(length > 0, length, np.inf)
    return np.asarray(shares_of(snapshot, query, rows.array("units")) * scale[:, None], np.float32)


def shares_of(snapshot: Snapshot, query: Float32, units: Float32) -> Float32:
    """What each unit adds to the product of a query and an embedding that is not scaled, `[images, units]`."""
    return np.asarray(
        np.nan_to_num(units - snapshot.unit_centre) * (query @ snapshot.reference.path), np.float32
    )


def reasons_for(
    snapshot: Snapshot,
    query: Float32,
    rows: Rows,
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
        return [() for _ in range(len(rows))]
    quiet = {name.casefold() for name in muted}
    if snapshot.reference.tested.any():
        details = snapshot.rows(rows.ids, DETAILS)
        shares = unit_shares(snapshot, query, details)
        answers = np.nan_to_num(details.array("units") - snapshot.unit_centre, nan=-1)
        shares = np.where(answers > 0, shares, 0)
    else:  # then no unit is a reason
        shares = np.zeros((len(rows), 0), np.float32)
    near = _near_concepts(snapshot, query, rows.array("fused"))
    words = query_words(texts)
    shared_words = [_shared(words, text) for text in rows.values("words")]
    found = []
    for place in range(len(rows)):
        kinds = (
            shared_words[place],
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
    untested: bool = False,
) -> list[Reason]:
    """The units that add most (`sign` 1) or take away most (-1), strongest first; only those whose names were tested.

    Parameters
    ----------
    shares
        `[units]`.
    quiet
        Names, in lower case, of units that are not to be given.
    untested
        Give units whose names were not tested, too.
    """
    reference = snapshot.reference
    found: list[Reason] = []
    order = np.argsort(-sign * shares, kind="stable")
    for unit in order if untested else order[reference.tested[order]]:
        if len(found) >= limit or sign * shares[unit] <= 0:
            break
        name, tested = reference.names[unit], bool(reference.tested[unit])
        if name.casefold() in quiet:
            continue
        # An untested name is no more than where the unit's weights point: it tells nobody anything.
        text = name if tested else "without a tested name"
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


def _shared(words: Sequence[str], text: str) -> tuple[Reason, ...]:
    both = shared(words, text) if words else {}
    if not both:
        return ()
    named = [own if own in forms(word) else f"{own} (for {word})" for word, own in both.items()]
    shown = ", ".join(named[:SHOWN_WORDS])
    text = f"shares the word{'s' * (len(both) > 1)} {shown}"
    return (Reason(kind="words", text=text, weight=float(len(both))),)


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
    found = best(snapshot, query, limit + SPARE, where=condition(snapshot, where))
    doubles: dict[str, list[str]] = {}
    if group:
        found, doubles = grouped(found, limit)
    found = found.take(range(min(limit, len(found))))
    relevances = relevance(snapshot, query.kind, found.scores)
    if only_relevant:
        keep = np.flatnonzero(relevances >= cut).tolist()
        found, relevances = found.take(keep), relevances[keep]
    why = reasons_for(snapshot, query.vector, found.rows, texts=query.texts, limit=reasons)
    return hits(found, relevances, why, cut=cut, doubles=doubles)


def grouped(found: Found, limit: int) -> tuple[Found, dict[str, list[str]]]:
    """Leave out what is nearly the same as something before it; says by id what was left out for whom."""
    vectors, ids = found.rows.array("fused"), found.rows.ids
    kept: list[int] = []
    doubles: dict[str, list[str]] = {}
    for place in range(len(found)):
        near = vectors[kept] @ vectors[place] if kept else np.zeros(0)
        if len(near) and near.max() >= DUPLICATE:
            doubles.setdefault(ids[kept[int(near.argmax())]], []).append(ids[place])
        elif len(kept) < limit:
            kept.append(place)
    return found.take(kept), doubles


def hits(
    found: Found,
    relevances: Float32,
    reasons: Sequence[tuple[Reason, ...]],
    *,
    cut: float,
    doubles: Mapping[str, Sequence[str]] | None = None,
) -> list[Hit]:
    """What was found with everything that is shown of it."""
    shown = found.rows.table.select(["id", "title", "category", "price"]).to_pylist()
    return [
        Hit(
            **row,
            score=float(found.scores[place]),
            relevance=float(relevances[place]),
            relevant=bool(relevances[place] >= cut),
            reasons=reasons[place],
            duplicates=tuple((doubles or {}).get(row["id"], ())),
        )
        for place, row in enumerate(shown)
    ]


def check_limit(limit: int, cut: float) -> None:
    """Refuse a `limit` or a cut that makes no sense."""
    if limit < 1:
        raise SynestheteError(f"the limit is {limit}, expected at least 1")
    if not 0 <= cut <= 1:
        raise SynestheteError(f"the cut is {cut}, expected 0 to 1")
