"""How a score becomes a relevance: against the best score that queries about something else reach here.

A cosine means another thing for every query, catalogue and model, so no flat cut-off works. The null is made of
queries that have nothing to do with the catalogue: texts of common English words that occur in none of its texts, and
images of the built-in probe set whose concept occurs in none of them. Each is asked of the whole catalogue, and its
best score is kept, with what an item gains by a word that an unrelated one may be misspelt for. The relevance of a score
is the share of those best scores that are lower. For an unrelated query the relevance of the first result is therefore
uniform between 0 and 1: with a cut at 0.9, one unrelated query in ten finds anything, whatever the number of items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from synesthete._core.arrays import Float32, Int64
from synesthete.catalog.encode import make_query, unit_length, words_of
from synesthete.catalog.reference import LENGTHS, TEXTS_PER_LENGTH
from synesthete.catalog.store.centres import array_of
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.words import MISSPELT, WORDS, edits

_BREAK = r"[^\p{L}\p{N}]+"
SEARCHED = ("id", "title", "category", "description")  # where a word makes a query related
FEW = 20  # queries that are asked one by one
# Words that may be taken for an item's, how many of them are tried at once, and items of each that are kept.
TRIED, TOGETHER, CLOSE = 150, 10, 10
STALE, LEAST_STALE = 0.05, 20  # share and number of items that change before they are tried again
LEAST = 40  # unrelated queries; with fewer all of the reference are used, which makes relevance too low, not too high


@dataclass(frozen=True)
class Kind:
    """What a query is made of, as far as its null depends on it.

    Attributes
    ----------
    words
        1, 2, 4 or 8: the length of its texts, rounded down; 0 without a text.
    image
        Whether it has an image.
    text_weight
        What its texts count beside its images.
    """

    words: int
    image: bool
    text_weight: float = 0.5


def kind_of(texts: list[str], images: int, text_weight: float = 0.5) -> Kind:
    """The kind of a query of some texts and images.

    Examples
    --------
    >>> kind_of(["a small blue mug"], 0).words
    4
    """
    if not texts:
        return Kind(0, images > 0)
    mean = sum(len(text.split()) for text in texts) / len(texts)
    words = max((length for length in LENGTHS if length <= mean), default=LENGTHS[0])
    return Kind(words, images > 0, text_weight if images else 1.0)


def relevance(snapshot: Snapshot, kind: Kind, scores: Float32) -> Float32:
    """Share of unrelated queries of this kind whose best item scores lower, for each score."""
    best = null_distribution(snapshot, kind)
    below = np.searchsorted(best, np.asarray(scores, np.float32), side="left")
    return np.asarray(below / max(len(best), 1), np.float32)


def null_distribution(snapshot: Snapshot, kind: Kind) -> Float32:
    """Best scores of unrelated queries of a kind, ascending; kept with the snapshot."""
    return snapshot.computed(("null", kind), lambda: _null(snapshot, kind))


@dataclass(frozen=True, kw_only=True)
class _UnrelatedQueries:
    """Queries of the reference, and for each the best item and its score."""

    kind: Kind
    texts: Int64
    images: Int64
    queries: Float32
    best: _Best


@dataclass(frozen=True)
class _Best:
    """Score, id and revision of the best item of every query."""

    scores: Float32
    ids: npt.NDArray[np.object_]
    revisions: Int64


def _null(snapshot: Snapshot, kind: Kind) -> Float32:
    if not len(snapshot):
        return np.zeros(0, np.float32)
    texts = _texts(snapshot, kind.words) if kind.words else np.zeros(0, np.int64)
    images = _images(snapshot) if kind.image else np.zeros(0, np.int64)
    if kind.words and kind.image:
        # Every text with some image: neither list is repeated in step with the other.
        images = images[np.random.default_rng(0).integers(0, len(images), len(texts))]
        unrelated = snapshot.computed(
            ("asked", kind, texts.tobytes(), images.tobytes()),
            lambda: _ask(snapshot, kind, texts, images),
            _updated,
        )
        return np.sort(_with_gains(snapshot, kind, unrelated.queries, unrelated.best.scores))
    # All are asked and kept, so that another word in the catalogue asks none of them again.
    every = _all_texts(kind.words) if kind.words else _all_images(snapshot)
    nothing = np.zeros(0, np.int64)
    unrelated = snapshot.computed(
        ("asked", kind),
        lambda: _ask(snapshot, kind, *((every, nothing) if kind.words else (nothing, every))),
        _updated,
    )
    free = np.isin(every, texts if kind.words else images)
    scores = unrelated.best.scores[free]
    if kind.words:
        scores = _with_gains(snapshot, kind, unrelated.queries[free], scores)
    return np.sort(scores)


def _ask(snapshot: Snapshot, kind: Kind, texts: Int64, images: Int64) -> _UnrelatedQueries:
    space, reference = snapshot.space, snapshot.reference
    parts = []
    if kind.words:
        parts.append(space.query_texts(reference.text_vectors[texts]))
    if kind.image:
        # Each kind of photo about its own centre: these are not customers' photos.
        vectors = reference.image_vectors - reference.image_vectors.mean(0)
        parts.append(unit_length(vectors[images]))
    queries = parts[0]
    if len(parts) == 2:
        weights = np.array([kind.text_weight, 1 - kind.text_weight], np.float32)
        pairs = zip(*parts, strict=True)
        queries = np.stack([make_query(np.stack(pair), weights) for pair in pairs])
    queries = np.asarray(queries, np.float32)
    columns = ["id", "revision", "fused"]
    found = _better(_nothing(len(queries)), queries, snapshot.scan(columns))
    return _UnrelatedQueries(kind=kind, texts=texts, images=images, queries=queries, best=found)


def _nothing(count: int) -> _Best:
    return _Best(
        np.full(count, -np.inf, np.float32), np.full(count, "", object), np.zeros(count, np.int64)
    )


def _better(best: _Best, queries: Float32, batches: Iterable[pa.RecordBatch]) -> _Best:
    """The best of what was best and of some more items; all are compared."""
    scores, ids, revisions = best.scores.copy(), best.ids.copy(), best.revisions.copy()
    for batch in batches:
        if not len(batch):
            continue
        found = queries @ array_of(batch, "fused").T
        at = found.argmax(axis=1)
        top = found[np.arange(len(at)), at]
        better = top > scores
        scores[better] = top[better]
        for values, name in ((ids, "id"), (revisions, "revision")):
            values[better] = batch[name].take(pa.array(at[better])).to_pylist()
    return _Best(scores, ids, revisions)


def _updated(unrelated: _UnrelatedQueries, snapshot: Snapshot) -> _UnrelatedQueries:
    """The same queries in the next snapshot: against what is new, and against all where the best item is gone."""
    best, queries = unrelated.best, unrelated.queries
    there = None if snapshot.only_new else snapshot.there(list(dict.fromkeys(best.ids.tolist())))
    pairs = zip(best.ids.tolist(), best.revisions.tolist(), strict=True)
    lost = [
        at
        for at, (one, revision) in enumerate(pairs)
        if there is not None and there.get(one) != revision
    ]
    scores = best.scores.copy()
    scores[lost] = -np.inf
    best = _better(replace(best, scores=scores), queries, snapshot.fresh)
    if len(lost) > FEW:
        best = _better(best, queries, snapshot.scan(["id", "revision", "fused"]))
    else:
        for at in lost:
            columns = ("id", "revision", "fused")
            one = snapshot.nearest(queries[at], 1, columns=columns).table.to_batches()
            found = _better(_nothing(1), queries[at : at + 1], one)
            if found.scores[0] > best.scores[at]:
                best.scores[at], best.ids[at] = found.scores[0], found.ids[0]
                best.revisions[at] = found.revisions[0]
    return replace(unrelated, best=best)


@dataclass(frozen=True)
class _Taken:
    """Items that a search takes an unrelated word for a word of: row ids, shares of the gain, and vectors `[items, dim]`."""

    ids: Int64
    shares: Float32
    vectors: Float32


@dataclass(frozen=True)
class _Misspelt:
    """For each word that was tried the items that it is taken for a word of, None where there are none.

    `items` is how many there are now, `changed` how many came or went since the words were tried.
    """

    words: Sequence[_Taken | None]
    items: int
    changed: int = 0


def _with_gains(snapshot: Snapshot, kind: Kind, queries: Float32, scores: Float32) -> Float32:
    """Best scores of unrelated texts, where an item has words that theirs may be misspelt for.

    Which words are near one of an item does not depend on the other words of a text: so a few words are tried for texts of
    all lengths, the n-th text has the n-th of them, and longer ones the next ones, too.
    """
    taken = snapshot.computed("misspelt", lambda: _misspelt(snapshot), _still_misspelt).words
    if not any(taken):
        return scores
    found = scores.copy()
    gain = WORDS * kind.text_weight * MISSPELT / kind.words
    for place, query in enumerate(queries):
        own = [taken[(place * kind.words + n) % len(taken)] for n in range(kind.words)]
        near = [one for one in own if one is not None]
        if near:
            ids, first, of = np.unique(
                np.concatenate([one.ids for one in near]), return_index=True, return_inverse=True
            )
            gains = np.zeros(len(ids))
            np.add.at(gains, of, gain * np.concatenate([one.shares for one in near]))
            vectors = np.concatenate([one.vectors for one in near])[first]
            found[place] = max(found[place], float((vectors @ query + gains).max()))
    return found


def _misspelt(snapshot: Snapshot) -> _Misspelt:
    """Try the first unrelated words; most of a small catalogue are near none, so a few are tried at once."""
    words = [snapshot.reference.texts[row] for row in _texts(snapshot, 1)]
    known = _vocabulary(snapshot)
    words = [one for one in words if edits(one) and one not in known][:TRIED]
    near: dict[str, _Taken | None] = dict.fromkeys(words)
    for wrong in (1, 2):
        alike = [one for one in words if edits(one) == wrong]
        groups = [alike[start : start + TOGETHER] for start in range(0, len(alike), TOGETHER)]
        any_of = [
            snapshot.by_words(" ".join(some), 1, columns=(), wrong_letters=wrong) for some in groups
        ]
        left = [
            one
            for some, rows in zip(groups, snapshot.find(*any_of), strict=True)
            for one in (some if len(rows) else ())
        ]
        each = [
            snapshot.by_words(one, CLOSE, columns=("fused",), wrong_letters=wrong) for one in left
        ]
        for one, rows in zip(left, snapshot.find(*each), strict=True):
            if len(rows):
                best = rows.numbers("_score")
                near[one] = _Taken(
                    np.array(rows.row_ids, np.int64),
                    np.asarray(best / max(best.max(), 1e-9), np.float32),
                    rows.array("fused"),
                )
    return _Misspelt(list(near.values()), len(snapshot))


def _still_misspelt(known: _Misspelt, snapshot: Snapshot) -> _Misspelt:
    """What the next snapshot has: the same, until so many items have changed that it may be another share of the words."""
    came = sum(map(len, snapshot.fresh))
    gone = known.items + came - len(snapshot)
    changed = known.changed + came + gone
    if changed > max(STALE * len(snapshot), LEAST_STALE):
        return _misspelt(snapshot)
    return replace(known, items=len(snapshot), changed=changed)


def _all_texts(words: int) -> Int64:
    start = LENGTHS.index(words) * TEXTS_PER_LENGTH
    return np.arange(start, start + TEXTS_PER_LENGTH)


def _all_images(snapshot: Snapshot) -> Int64:
    return np.arange(len(snapshot.reference.image_labels))


def _texts(snapshot: Snapshot, words: int) -> Int64:
    rows, known = _all_texts(words), _vocabulary(snapshot)
    texts = snapshot.reference.texts
    free = np.array([known.isdisjoint(texts[row].split()) for row in rows])
    return rows[free] if free.sum() >= LEAST else rows


def _images(snapshot: Snapshot) -> Int64:
    known = _vocabulary(snapshot)
    labels = snapshot.reference.image_labels
    free = np.array([known.isdisjoint(_forms(label)) for label in labels])
    rows = _all_images(snapshot)
    return rows[free] if free.sum() >= LEAST else rows


def _forms(label: str) -> set[str]:
    """Words of a label, and their simple plurals and singulars."""
    words = words_of(label)
    return {form for word in words for form in (word, f"{word}s", f"{word}es", word.rstrip("s"))}


def _vocabulary(snapshot: Snapshot) -> set[str]:
    """Words of the unrelated queries that are in titles, categories, descriptions or ids; those of deleted items until it is opened again."""
    return snapshot.computed("vocabulary", lambda: _words(snapshot, snapshot.scan(SEARCHED)), _more)


def _more(known: set[str], snapshot: Snapshot) -> set[str]:
    return known | _words(snapshot, snapshot.fresh)


def _words(snapshot: Snapshot, batches: Iterable[pa.RecordBatch]) -> set[str]:
    # Of all words, these alone count, so what is kept does not grow with the items.
    wanted = snapshot.computed(
        "reference words", lambda: _reference_words(snapshot), lambda same, _: same
    )
    found: set[str] = set()
    for batch in batches:
        # Together: of one item, most of the time goes into reading the pattern.
        texts = pa.concat_arrays([batch[name].cast(pa.large_string()) for name in SEARCHED])
        pieces = pc.split_pattern_regex(pc.utf8_lower(texts), _BREAK)
        found |= wanted.intersection(pc.unique(pc.list_flatten(pieces)).to_pylist())
    return found


def _reference_words(snapshot: Snapshot) -> set[str]:
    reference = snapshot.reference
    found = {word for text in reference.texts for word in text.split()}
    return found.union(*map(_forms, set(reference.image_labels)))
