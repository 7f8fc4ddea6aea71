"""How a score becomes a relevance: against the best score that queries about something else reach here.

A cosine means another thing for every query, catalogue and model, so no flat cut-off works. The null is made of
queries that have nothing to do with the catalogue: texts of common English words that occur in none of its texts, and
images of the built-in probe set whose concept occurs in none of them. Each is asked of the whole catalogue, and its
best score is kept. The relevance of a score is the share of those best scores that are lower. For an unrelated query
the relevance of the first result is therefore uniform between 0 and 1: with a cut at 0.9, one unrelated query in ten
finds anything, whatever the number of items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from synesthete._core.arrays import Float32, Int64
from synesthete.catalog.encode import make_query, unit_length, words_of
from synesthete.catalog.reference import LENGTHS, TEXTS_PER_LENGTH
from synesthete.catalog.store.snapshot import Change, Snapshot

SEARCHED = ("id", "title", "category", "description")  # where a word makes a query related
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
    scores: Float32
    rows: Int64


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
        return np.sort(unrelated.scores)
    # All are asked and kept, so that another word in the catalogue asks none of them again.
    every = _all_texts(kind.words) if kind.words else _all_images(snapshot)
    nothing = np.zeros(0, np.int64)
    unrelated = snapshot.computed(
        ("asked", kind),
        lambda: _ask(snapshot, kind, *((every, nothing) if kind.words else (nothing, every))),
        _updated,
    )
    return np.sort(unrelated.scores[np.isin(every, texts if kind.words else images)])


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
    scores, rows = snapshot.nearest.best(queries)
    return _UnrelatedQueries(
        kind=kind, texts=texts, images=images, queries=queries, scores=scores, rows=rows
    )


def _updated(
    unrelated: _UnrelatedQueries, _before: Snapshot, snapshot: Snapshot, change: Change
) -> _UnrelatedQueries | None:
    """The same queries in the next snapshot: against what is new, and against all where the best item is gone."""
    if not change.ground or not len(snapshot):
        return None
    place = np.full(change.rows_before, -1, np.int64)
    there = np.flatnonzero(change.source >= 0)
    place[change.source[there]] = there
    rows = place[unrelated.rows]
    scores = np.where(rows >= 0, unrelated.scores, -np.inf).astype(np.float32)
    lost = np.flatnonzero(rows < 0)
    if len(lost):
        scores[lost], rows[lost] = snapshot.nearest.best(unrelated.queries[lost])
    if len(change.fresh):
        found = unrelated.queries @ snapshot.fused(change.fresh).T
        at = found.argmax(axis=1)
        top = found[np.arange(len(at)), at]
        better = top > scores
        scores[better], rows[better] = top[better], change.fresh[at[better]]
    return replace(unrelated, scores=scores, rows=rows)


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
    """Words of the reference that are in the catalogue's titles, categories, descriptions or ids."""
    counts = snapshot.computed("vocabulary", lambda: _words(snapshot), _words_again)
    return {term for term, count in counts.items() if count > 0}


def _words(snapshot: Snapshot) -> dict[str, int]:
    """In how many of the catalogue's texts each word of the reference is."""
    reference = snapshot.reference
    wanted = {word for text in reference.texts for word in text.split()}
    wanted.update(form for label in reference.image_labels for form in _forms(label))
    found = dict.fromkeys(wanted, 0)
    for name in SEARCHED:
        counted = pc.value_counts(snapshot.column(name))
        for one in counted.to_pylist():
            _count(found, one["values"], one["counts"])
    return found


def _words_again(
    counts: dict[str, int], before: Snapshot, snapshot: Snapshot, change: Change
) -> dict[str, int]:
    found = dict(counts)
    for which, rows, times in ((before, change.gone, -1), (snapshot, change.fresh, 1)):
        for item in which.items(rows.tolist()):
            for name in SEARCHED:
                _count(found, getattr(item, name), times)
    return found


def _count(counts: dict[str, int], text: str, times: int) -> None:
    for word in words_of(text.replace("_", " ").replace("-", " ")):
        if word in counts:
            counts[word] += times
