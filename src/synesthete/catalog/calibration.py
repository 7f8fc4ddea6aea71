"""How a score becomes a relevance: against the best score that queries about something else reach here.

A cosine means another thing for every query, catalogue and model, so no flat cut-off works. The null is made of
queries that have nothing to do with the catalogue: texts of common English words that occur in none of its texts, and
pictures of the built-in probe set whose concept occurs in none of them. Each is asked of the whole catalogue, and its
best score is kept. The relevance of a score is the share of those best scores that are lower. For an unrelated query
the relevance of the first result is therefore uniform between 0 and 1: with a cut at 0.9, one unrelated query in ten
finds anything, whatever the number of items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from synesthete.catalog.encoding import unit_length
from synesthete.catalog.reference import LENGTHS, TEXTS_PER_LENGTH
from synesthete.catalog.snapshot import Snapshot
from synesthete.catalog.space import make_query
from synesthete.catalog.texts import words_of

Float32 = npt.NDArray[np.float32]

LEAST = 40  # unrelated queries; with fewer all of the reference are used, which makes relevance too low, not too high


@dataclass(frozen=True)
class Kind:
    """What a query is made of, as far as its null depends on it.

    Attributes
    ----------
    words
        1, 2, 4 or 8: the length of its texts, rounded down; 0 without a text.
    picture
        Whether it has a picture.
    text_weight
        What its texts count beside its pictures.
    """

    words: int
    picture: bool
    text_weight: float = 0.5


def kind_of(texts: list[str], pictures: int, text_weight: float = 0.5) -> Kind:
    """The kind of a query of some texts and pictures.

    Examples
    --------
    >>> kind_of(["a small blue mug"], 0).words
    4
    """
    if not texts:
        return Kind(0, pictures > 0)
    mean = sum(len(text.split()) for text in texts) / len(texts)
    words = max((length for length in LENGTHS if length <= mean), default=LENGTHS[0])
    return Kind(words, pictures > 0, text_weight if pictures else 1.0)


def relevance(snapshot: Snapshot, kind: Kind, scores: Float32) -> Float32:
    """Share of unrelated queries of this kind whose best item scores lower, for each score."""
    best = null(snapshot, kind)
    below = np.searchsorted(best, np.asarray(scores, np.float32), side="left")
    return np.asarray(below / max(len(best), 1), np.float32)


def null(snapshot: Snapshot, kind: Kind) -> Float32:
    """Best scores of unrelated queries of a kind, ascending; kept with the snapshot."""
    return snapshot.computed(("null", kind), lambda: _null(snapshot, kind))


def _null(snapshot: Snapshot, kind: Kind) -> Float32:
    if not len(snapshot):
        return np.zeros(0, np.float32)
    space, reference = snapshot.space, snapshot.reference
    parts = []
    if kind.words:
        parts.append(space.asked_texts(reference.text_vectors[_texts(snapshot, kind.words)]))
    if kind.picture:
        # Each kind of photo about its own centre: these are not customers' photos.
        vectors = reference.picture_vectors - reference.picture_vectors.mean(0)
        parts.append(unit_length(vectors[_pictures(snapshot)]))
    if len(parts) == 2:
        # Every text with some picture: neither list is repeated in step with the other.
        rows = np.random.default_rng(0).integers(0, len(parts[1]), len(parts[0]))
        weights = np.array([kind.text_weight, 1 - kind.text_weight], np.float32)
        pairs = zip(parts[0], parts[1][rows], strict=True)
        queries = np.stack([make_query(np.stack(pair), weights) for pair in pairs])
    else:
        queries = parts[0]
    scores, _ = snapshot.nearest.search(np.asarray(queries, np.float32), 1)
    return np.sort(scores[:, 0])


def _texts(snapshot: Snapshot, words: int) -> npt.NDArray[np.int64]:
    start = LENGTHS.index(words) * TEXTS_PER_LENGTH
    rows = np.arange(start, start + TEXTS_PER_LENGTH)
    known = _vocabulary(snapshot)
    texts = snapshot.reference.texts
    free = np.array([known.isdisjoint(texts[row].split()) for row in rows])
    return rows[free] if free.sum() >= LEAST else rows


def _pictures(snapshot: Snapshot) -> npt.NDArray[np.int64]:
    known = _vocabulary(snapshot)
    labels = snapshot.reference.picture_labels
    free = np.array([known.isdisjoint(_forms(label)) for label in labels])
    rows = np.arange(len(labels))
    return rows[free] if free.sum() >= LEAST else rows


def _forms(label: str) -> set[str]:
    """Words of a label, and their simple plurals and singulars."""
    words = words_of(label)
    return {form for word in words for form in (word, f"{word}s", f"{word}es", word.rstrip("s"))}


def _vocabulary(snapshot: Snapshot) -> frozenset[str]:
    return snapshot.computed("vocabulary", lambda: _words(snapshot))


def _words(snapshot: Snapshot) -> frozenset[str]:
    """Words of the catalogue's titles, categories, descriptions and ids."""
    found: set[str] = set()
    for name in ("id", "title", "category", "description"):
        for text in pc.unique(snapshot.column(name)).to_pylist():
            found.update(words_of(text.replace("_", " ").replace("-", " ")))
    return frozenset(found)
