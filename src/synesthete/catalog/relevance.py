"""How a score becomes a relevance: against the best score that queries about something else reach here.

A cosine means another thing for every query, catalogue and model, so no flat cut-off works. The null is made of
queries that have nothing to do with the catalogue: texts of common English words that occur in none of its texts, and
images of the built-in probe set whose concept occurs in none of them. Each is asked of the whole catalogue, and its
best score is kept. The relevance of a score is the share of those best scores that are lower. For an unrelated query
the relevance of the first result is therefore uniform between 0 and 1: with a cut at 0.9, one unrelated query in ten
finds anything, whatever the number of items.
"""

from __future__ import annotations

from collections.abc import Iterable
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

_BREAK = r"[^\p{L}\p{N}]+"
SEARCHED = ("id", "title", "category", "description")  # where a word makes a query related
FEW = 20  # queries that are asked one by one
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
        return np.sort(unrelated.best.scores)
    # All are asked and kept, so that another word in the catalogue asks none of them again.
    every = _all_texts(kind.words) if kind.words else _all_images(snapshot)
    nothing = np.zeros(0, np.int64)
    unrelated = snapshot.computed(
        ("asked", kind),
        lambda: _ask(snapshot, kind, *((every, nothing) if kind.words else (nothing, every))),
        _updated,
    )
    return np.sort(unrelated.best.scores[np.isin(every, texts if kind.words else images)])


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
