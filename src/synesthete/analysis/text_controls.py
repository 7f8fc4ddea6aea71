"""Controls of what reads texts: word order, a bag of words, and other texts that are alike in length, word frequency and spelling.

A text unit may answer to the words of a text and not to what it says. So the concept of a held-out description or anecdote, which
does not name it, is also looked for by TF-IDF, and by the model with the words in random order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Float16, Float32, Floating, Int64
from synesthete._core.intervals import Rate
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import Criteria, Scores
from synesthete.analysis.selectivity import concept_scores
from synesthete.probes.probe_set import NAMELESS, TEXT_MODALITIES

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BAG_OF_WORDS = "bag_of_words"
MATCHED = 20  # texts of other concepts that each text is compared with
POOL = 4096  # texts of a modality and half that those are chosen from, evenly over all
CHUNK = 512
_WORD = r"\w+"


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The labelled texts of an atlas, as the controls read them.

    Attributes
    ----------
    rows
        `[texts]`: their places among the rows of the design, rising.
    words
        `[texts, words]`: TF-IDF, rows of length 1.
    matched
        `[texts, MATCHED]`: of each text of the scoring half the places in the design of the most alike texts of other concepts in
        the same modality and half; -1 where there are no more, and for other texts.
    """

    rows: Int64
    words: csr_matrix
    matched: Int64

    @classmethod
    def of(cls, texts: Sequence[str], design: Design) -> Texts | None:
        """From the rows of a design; None without texts of two concepts.

        Parameters
        ----------
        texts
            Of each row; empty for an image.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        rows = np.flatnonzero(np.array([bool(text) for text in texts]))
        if len(np.unique(design.concept[rows])) < 2:
            return None
        own = [texts[int(row)] for row in rows]
        words = TfidfVectorizer(token_pattern=_WORD, dtype=np.float32)
        try:
            found = words.fit_transform(own)
        except ValueError:  # not one word in them
            return None
        return cls(rows=rows, words=found, matched=_matched(own, rows, design))

    def bag_of_words(self, design: Design) -> Float16:
        """The reader that knows words only: `[rows of the design, concepts]`, cosine of each text with the mean TF-IDF of a concept's texts.

        The means are over the selection half; a concept without a text there has a constant unit. Rows of images are NaN.
        """
        centroids, _ = _centroids(self.words, self.rows, design)
        found = np.full((len(design.concept), len(design.concepts)), np.nan, np.float16)
        found[self.rows] = (self.words @ centroids.T).toarray()
        return found


def _matched(texts: Sequence[str], rows: Int64, design: Design) -> Int64:
    """See `Texts.matched`: nearest by the sum of three distances, each in standard deviations over pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from wordfreq import zipf_frequency

    found = np.full((len(rows), MATCHED), -1, np.int64)
    known: dict[str, float] = {}

    def frequency(text: str) -> float:
        each = text.casefold().split()
        for word in set(each) - set(known):
            known[word] = zipf_frequency(word, "en")
        return float(np.mean([known[word] for word in each])) if each else 0.0

    plain = np.stack(
        [
            np.log([max(len(text), 1) for text in texts]),
            [frequency(text) for text in texts],
        ]
    ).astype(np.float32)
    spelling = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), dtype=np.float32)
    letters = spelling.fit_transform(texts)
    for modality in np.unique(design.modality[rows]):
        some = np.flatnonzero((design.modality[rows] == modality) & design.split.scoring[rows])
        pool = some[np.linspace(0, len(some) - 1, min(len(some), POOL)).astype(int)]
        concept = design.concept[rows[pool]]
        for start in range(0, len(some), CHUNK):
            part = some[start : start + CHUNK]
            distances = [np.abs(one[part, None] - one[None, pool]) for one in plain]
            distances.append(1 - (letters[part] @ letters[pool].T).toarray())
            total = sum(one / max(float(one.std()), 1e-6) for one in distances)
            assert isinstance(total, np.ndarray)
            total[design.concept[rows[part]][:, None] == concept[None]] = np.inf
            best = np.argsort(total, axis=1, kind="stable")[:, :MATCHED]
            near = rows[pool[best]]
            near[~np.isfinite(np.take_along_axis(total, best, axis=1))] = -1
            found[part, : near.shape[1]] = near
    return found


def among_matched(
    activations: Floating, scores: Scores, design: Design, texts: Texts, criteria: Criteria
) -> dict[str, int]:
    """Units that pass among matched texts too: their verdict again, each modality of texts against `Texts.matched` alone.

    Returns
    -------
    dict
        `selective_matched_texts` and `multimodal_matched_texts`: of the units with that verdict those that keep it. q is not
        computed again: it is over all texts.
    """
    passes, ap = scores.passes.copy(), scores.ap.copy()
    units = np.flatnonzero(scores.selective)
    place = np.full(len(design.concept), -1)
    place[texts.rows] = np.arange(len(texts.rows))
    for modality, name in enumerate(design.modalities):
        if name not in TEXT_MODALITIES:
            continue
        rows = design.images(modality, scoring=True)
        for concept in np.unique(scores.concept[units]):
            own = units[(scores.concept[units] == concept) & passes[units, modality]]
            positive = rows[design.concept[rows] == concept]
            near = np.unique(texts.matched[place[positive]])
            some = np.concatenate([positive, near[near >= 0]])
            if not len(own):
                continue
            labels = [(design.concept[some], np.full(len(own), concept))]
            (one,) = concept_scores(activations[np.ix_(some, own)], labels, len(design.concepts))
            with np.errstate(invalid="ignore"):
                passes[own, modality] = one.auc >= criteria.auc
            ap[own, modality] = np.minimum(ap[own, modality], one.ap)
    again = replace(scores, passes=passes, ap=ap)
    return {
        "selective_matched_texts": int((scores.selective & again.at(0.0, design.needed)).sum()),
        "multimodal_matched_texts": int(
            (scores.multimodal & again.at(criteria.ap, design.needed)).sum()
        ),
    }


def reading(readers: Mapping[str, Floating | csr_matrix], design: Design, texts: Texts) -> dict[str, Any]:  # fmt: skip
    """How well held-out descriptions and anecdotes are read: the rank of their concept among all, by nearest centroid.

    Centroids are of the selection half's texts of every modality, of length 1 each; likeness is the cosine.

    Parameters
    ----------
    readers
        By name: activations `[rows of the design, units]`, which are standardised over the selection half's texts, or TF-IDF `[texts, words]`.

    Returns
    -------
    dict
        `concepts`, of how many the one is looked for; and for each of `description` and `anecdote` that is there `n` texts and for each
        reader `top_1` with its Wilson interval (`low`, `high`), `top_5` and `median_rank` (ties count against it).
    """
    found: dict[str, Any] = {}
    codes, scoring = design.concept[texts.rows], design.split.scoring[texts.rows]
    for name, values in readers.items():
        vectors: Any = values
        if isinstance(values, np.ndarray):
            vectors = _standardised(values[texts.rows].astype(np.float32), ~scoring)
        centroids, there = _centroids(vectors, texts.rows, design)
        found["concepts"] = int(there.sum())
        for modality in NAMELESS:
            if modality not in design.modalities:
                continue
            own = design.modality[texts.rows] == design.modalities.index(modality)
            some = np.flatnonzero(own & scoring & there[codes])
            likeness = vectors[some] @ centroids.T
            likeness = likeness if isinstance(likeness, np.ndarray) else likeness.toarray()
            likeness[:, ~there] = -np.inf
            right = np.take_along_axis(likeness, codes[some][:, None], axis=1)
            ranks = (likeness >= right).sum(axis=1)
            entry = found.setdefault(modality, {"n": len(some)})
            first = Rate.of(ranks == 1)
            entry[name] = {
                "top_1": first.rate,
                "low": first.interval[0],
                "high": first.interval[1],
                "top_5": Rate.of(ranks <= 5).rate,
                "median_rank": float(np.median(ranks)) if len(some) else None,
            }
    return found


def _standardised(values: Float32, fitted: np.ndarray) -> Float32:
    """Each unit less its mean over some rows, by its standard deviation there, and each row of length 1."""
    if fitted.any():
        values = values - values[fitted].mean(axis=0)
        values /= np.maximum(values[fitted].std(axis=0), 1e-6)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _centroids(vectors: Any, rows: Int64, design: Design) -> tuple[Any, np.ndarray]:
    """Mean vector of each concept's texts in the selection half, of length 1 `[concepts, dim]`, and which have any `[concepts]`."""
    from scipy.sparse import csr_matrix, diags

    chosen = np.flatnonzero(~design.split.scoring[rows])
    codes = design.concept[rows[chosen]]
    shape = (len(design.concepts), len(chosen))
    member = csr_matrix(
        (np.ones(len(chosen), np.float32), (codes, np.arange(len(chosen)))), shape=shape
    )
    sums = member @ vectors[chosen]
    there = np.bincount(codes, minlength=len(design.concepts)) > 0
    if isinstance(sums, np.ndarray):
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), there
    length = np.sqrt(np.asarray(sums.multiply(sums).sum(axis=1)).ravel())
    return diags(1 / np.maximum(length, 1e-12)).astype(np.float32) @ sums, there
