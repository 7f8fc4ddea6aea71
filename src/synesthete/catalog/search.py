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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Bool, Float32, Int64
from synesthete.catalog.encode import IMAGE_WEIGHT, TEXT_WEIGHT
from synesthete.catalog.facets import COUNTED, check_sort, column_of, facets_of, sorted_ids
from synesthete.catalog.filters import condition
from synesthete.catalog.query_encoder import Query, QueryEncoder
from synesthete.catalog.relevance import relevance
from synesthete.catalog.requests import RELEVANCE, Search, SearchPage
from synesthete.catalog.schema import Hit, Reason
from synesthete.catalog.store.snapshot import FOUND, Rows, Snapshot
from synesthete.catalog.words import MISSPELT, WORDS, edits, forms, query_words, shared
from synesthete.errors import SynestheteError

DETAILS = ("images", "texts", "units")

NEAR = 2.0  # standard deviations over the concepts, on both sides
SHOWN_WORDS = 5
DUPLICATE = 0.97  # cosine of fused vectors
# Items that come first, and how many are read for them: to read items takes longer than to rank them.
HEAD, FEW = 25, 40
DEPTH = 1000  # items that are ranked: every page of a search is cut from the same list
MOST_KNOWN = 100_000  # words
COMPARED = 256  # rows that are compared with all at once


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


def best(
    snapshot: Snapshot,
    query: Query,
    limit: int,
    *,
    where: str | None = None,
    columns: Sequence[str] = FOUND,
) -> Found:
    """The best items by words and vectors, best first, ties by id; a filter is a condition of SQL.

    The items are ranked by numbers that the indexes give, of the `DEPTH` nearest by vectors and as many by words, and only the
    best of them are read. The first `HEAD` are the best of `FEW` that are read, and do not depend on `limit`.
    """
    return _read(
        snapshot, query, _candidates(snapshot, query, max(DEPTH, limit), where), limit, columns
    )


def _read(
    snapshot: Snapshot,
    query: Query,
    candidates: _Candidates,
    limit: int,
    columns: Sequence[str] = FOUND,
) -> Found:
    """The best of the candidates, as `best` gives them."""
    chosen = candidates.row_ids[: max(FEW, limit)].tolist()
    rows = snapshot.taken(chosen, list(dict.fromkeys(["id", "fused", *columns])))
    # Row by row: a matrix product rounds differently by how many rows there are.
    cosines = (rows.array("fused") * query.vector).sum(axis=1)
    gained = np.array([candidates.gains.get(one, 0) for one in chosen])
    scores = np.asarray(cosines + WORDS * query.kind.text_weight * gained, np.float32)
    order = np.lexsort((np.array(rows.ids), -scores))
    head = order[order < FEW][:HEAD]
    rest = order[~np.isin(order, head)]
    return Found(rows, scores).take([*head.tolist(), *rest.tolist()][:limit])


@dataclass(frozen=True)
class _Candidates:
    """Row ids, best first, and by row id the share of the query's words that an item has, 0 to 1."""

    row_ids: Int64
    gains: dict[int, float]


def _candidates(snapshot: Snapshot, query: Query, depth: int, where: str | None) -> _Candidates:
    """What the indexes find, `depth` items at most.

    The best by words of the whole catalogue has the share that it has, whatever the filter; the others less by their BM25
    scores. A word that is nowhere in the catalogue is looked for with a wrong letter or two, and counts less.
    """
    if not len(snapshot):
        return _Candidates(np.zeros(0, np.int64), {})
    words = query_words(query.texts)
    if not words:
        # As many whatever the page: with a filter the index looks into more lists for more items.
        (near,) = snapshot.nearest_rows(query.vector, depth, where)
        ids = np.array(near.row_ids, np.int64)
        return _Candidates(ids[np.lexsort((ids, near.numbers("_distance")))], {})
    every = _every_form(words)
    requests = [snapshot.by_words(every, depth, where, columns=())]
    if where:
        requests.append(snapshot.by_words(every, 1, columns=("words",)))
    near, matched, *best_of_all = snapshot.nearest_rows(query.vector, depth, where, *requests)
    first = best_of_all[0] if best_of_all else _first(snapshot, matched)
    gains: dict[int, float] = {}
    lost = list(words)
    if len(first):
        has = shared(words, first.values("words")[0])
        lost = [one for one in words if one not in has or has[one] not in forms(one)]
        gains = _shares(matched, first, max(len(words) - len(lost), 1) / len(words))
    for word in _unknown(snapshot, [one for one in lost if edits(one)]):
        requests = [
            snapshot.by_words(word, depth, where, wrong_letters=edits(word), columns=()),
            snapshot.by_words(word, 1, wrong_letters=edits(word), columns=()),
        ]
        matched, first = snapshot.find(*requests)
        for one, gain in _shares(matched, first, MISSPELT / len(words)).items():
            gains[one] = gains.get(one, 0) + gain
    # What is not among the nearest is at most as near as the last of them.
    cosines = 1 - near.numbers("_distance")
    known = dict(zip(near.row_ids, cosines.tolist(), strict=True))
    least = float(cosines.min(initial=1.0))
    ids = np.array(list(dict.fromkeys([*known, *gains])), np.int64)
    weight = WORDS * query.kind.text_weight
    scores = [known.get(one, least) + weight * gains.get(one, 0) for one in ids.tolist()]
    return _Candidates(ids[np.lexsort((ids, -np.array(scores)))][:depth], gains)


def _first(snapshot: Snapshot, matched: Rows) -> Rows:
    """The best of what was found by words, with its words: to find it once more takes longer than to read it."""
    if not len(matched):
        return matched
    best = matched.take([int(matched.numbers("_score").argmax())])
    words = snapshot.taken(best.row_ids, ["words"])
    return Rows(words.table.append_column("_score", best.table["_score"]))


def _shares(matched: Rows, first: Rows, share: float) -> dict[int, float]:
    """Row id to the share that an item has, where the first one of the catalogue has this one."""
    scores = matched.numbers("_score") * (share / max(first.numbers("_score").max(initial=0), 1e-9))
    return dict(zip(matched.row_ids, scores.tolist(), strict=True))


def _unknown(snapshot: Snapshot, words: Sequence[str]) -> list[str]:
    """Those of some words that no item has."""
    known = snapshot.computed(
        "words that items have", set[str], lambda same, now: set(same) if now.only_new else set()
    )
    unsure = [one for one in words if one not in known]
    if not unsure:
        return []
    requests = [snapshot.by_words(_every_form([one]), 1, columns=()) for one in unsure]
    there = [len(rows) > 0 for rows in snapshot.find(*requests)]
    if len(known) > MOST_KNOWN:
        known.clear()
    known.update(one for one, found in zip(unsure, there, strict=True) if found)
    return [one for one, found in zip(unsure, there, strict=True) if not found]


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


def search(encoder: QueryEncoder, request: Search) -> SearchPage:
    """A page of the items that are nearest to a text, an image or both; without them, of those that pass the filters.

    Raises
    ------
    SynestheteError
        `limit` below 1, an offset below 0, a cut outside 0 to 1, an unknown filter or order, nothing to search for.
    """
    blank = not (request.text or "").strip() and request.image is None
    unwanted = [*request.without, *request.without_image]
    if blank and not unwanted and (request.where or request.sort != RELEVANCE):
        return browse(encoder.snapshot, request)
    return ranked(encoder.snapshot, encoder.query(request.text, request.image, unwanted), request)


def browse(snapshot: Snapshot, request: Search) -> SearchPage:
    """A page of all items that pass the filters."""
    check(snapshot, request)
    columns = {"id", column_of(request.sort), *(COUNTED if request.facets else ())}
    batches = list(snapshot.scan(sorted(columns), condition(snapshot, request.where)))
    ids = sorted_ids(batches, request.sort)
    shown = ids[request.offset : request.offset + request.limit]
    every = np.ones(len(shown), np.float32)
    found = Found(snapshot.rows(shown), 0 * every)
    listed = hits(found, every, [()] * len(shown), cut=request.cut)
    return _page(snapshot, request, listed, ids, len(ids), batches)


def ranked(snapshot: Snapshot, query: Query, request: Search) -> SearchPage:
    """A page of the items that are nearest to a query; `text`, `image` and `without` of the request are in it already."""
    check(snapshot, request)
    needed = request.facets or request.sort != RELEVANCE  # of all items that match, not of a page
    # The same items are ranked for every page, so that pages joined are one answer.
    end, depth = request.offset + request.limit, max(DEPTH, request.limit)
    candidates = _candidates(snapshot, query, depth, condition(snapshot, request.where))
    shallow = not needed and end <= HEAD
    if shallow:
        found = _read(snapshot, query, candidates, HEAD)
        listing = _listing(snapshot, query, found, request)
        # Otherwise what follows is not in it.
        shallow = end < len(listing.places) or len(found) < HEAD
    if not shallow:
        found = _read(snapshot, query, candidates, depth, ("id", "fused"))
        listing = _listing(snapshot, query, found, request)
    places, ids = listing.places, found.rows.ids
    total = int(listing.matching.sum())
    # Of the items that match, where an order or facets need more of them than their vectors.
    columns = {"id", column_of(request.sort), *(COUNTED if request.facets else ())}
    matching = [ids[place] for place in np.flatnonzero(listing.matching)] if needed else []
    batches = snapshot.rows(matching, sorted(columns)).table.to_batches() if needed else []
    if request.sort != RELEVANCE:
        rank = {one: at for at, one in enumerate(sorted_ids(batches, request.sort))}
        places.sort(key=lambda place: rank[ids[place]])
    shown = places[request.offset : end]
    scored = found.take(shown)
    if not shallow:
        scored = Found(snapshot.rows(scored.rows.ids), scored.scores)
    why = reasons_for(snapshot, query.vector, scored.rows, texts=query.texts, limit=request.reasons)
    relevances = listing.relevances[shown]
    listed = hits(scored, relevances, why, cut=request.cut, doubles=listing.doubles)
    page = _page(snapshot, request, listed, places, total, batches)
    ranked_all = len(found) < (HEAD if shallow else depth)
    return replace(page, at_least=not ranked_all and (shallow or total == len(found)))


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """How relevant each item found is, and the places of those that are listed."""

    relevances: Float32
    matching: Bool
    places: list[int]
    doubles: dict[str, list[str]]


def _listing(snapshot: Snapshot, query: Query, found: Found, request: Search) -> _Listing:
    relevances = relevance(snapshot, query.kind, found.scores)
    matching = relevances >= request.cut
    places, doubles = list(range(len(found))), dict[str, list[str]]()
    if request.group:
        places, doubles = grouped(found)
    if request.only_relevant or request.sort != RELEVANCE:
        places = [place for place in places if matching[place]]
    return _Listing(relevances=relevances, matching=matching, places=places, doubles=doubles)


def _page(
    snapshot: Snapshot,
    request: Search,
    listed: list[Hit],
    every: Sequence[Any],
    total: int,
    batches: list[pa.RecordBatch],
) -> SearchPage:
    end = request.offset + request.limit
    facets, price = facets_of(snapshot, batches, request.facets) if request.facets else ((), None)
    return SearchPage(
        hits=listed,
        next=end if end < len(every) else None,
        total=total,
        facets=facets,
        price=price,
    )


def grouped(found: Found) -> tuple[list[int], dict[str, list[str]]]:
    """Places without what is nearly the same as something before it; and by id what was left out for whom.

    The first `HEAD` and what follows them are grouped apart, as they are ranked.
    """
    vectors, ids = found.rows.array("fused"), found.rows.ids
    kept = np.ones(len(found), bool)
    doubles: dict[str, list[str]] = {}
    for first, stop in ((0, HEAD), (HEAD, len(found))):
        for start in range(first, min(stop, len(found)), COMPARED):
            end = min(start + COMPARED, stop)
            block = np.tril(vectors[start:end] @ vectors[first:stop].T, start - first - 1)
            for row in np.flatnonzero(block.max(axis=1) >= DUPLICATE):
                near = block[row] * kept[first:stop]
                if near.max() >= DUPLICATE:
                    doubles.setdefault(ids[first + int(near.argmax())], []).append(ids[start + row])
                    kept[start + row] = False
    return np.flatnonzero(kept).tolist(), doubles


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


def check(snapshot: Snapshot, request: Search) -> None:
    """Refuse a search whose numbers or order make no sense."""
    check_limit(request.limit, request.cut)
    for name in ("offset", "reasons", "facets"):
        if (value := getattr(request, name)) < 0:
            raise SynestheteError(f"{name} is {value}, expected 0 or more")
    check_sort(snapshot, request.sort)
