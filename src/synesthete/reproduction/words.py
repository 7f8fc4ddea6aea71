"""Sections on written words: which excite a unit, and what the images of words mean to the model."""

from __future__ import annotations

import numpy as np

from synesthete._core.arrays import Float32, Float64, Int64
from synesthete.analysis.rendered_words import centred
from synesthete.reproduction.section import (
    ASSOCIATED,
    PAIRS,
    Found,
    Row,
    Subject,
    mean_row,
    own_among_best,
    share,
)

TOP = 5
RANDOM_PAIRS = 10_000
PUBLISHED_COSINE = 0.52
SHOWN = 8
ARTICLE = {
    "meaning": "The article has no number: such sums work in some cases, where units that read spelling are masked. Here none is",
    "spelling": "Not measured in the article: what spelling alone gives",
}


def rendered_words(subject: Subject) -> Found:
    """Whether the words that excite a neuron most are those of its concept, how near two words of the article are, and word arithmetic."""
    words = subject.words
    place = {word: i for i, word in enumerate(words.words)}
    neurons = [one for one in subject.multimodal if one.concept in place]
    order = np.argsort(-words.activations, axis=0, kind="stable")[:TOP]
    own = np.array([place[one.concept] for one in neurons], np.int64)
    best = order[:, [one.unit for one in neurons]]
    hits, exchanged = own_among_best(best, own, subject.seed)
    rows = [
        share(
            "words",
            f"multimodal neurons whose concept is among the {TOP} words that excite them most",
            hits,
            control=exchanged,
            note=f"of {len(words.words):,} drawn words; control: concepts exchanged among the neurons. Their concepts were chosen on other images and "
            f"fonts, but they count as multimodal by a test that words in this font ({words.font}) are part of, so the share is a high one",
        )
    ]
    english = np.flatnonzero(words.english)
    vectors = centred(words.embeddings, english)
    rows.append(_associated(subject, vectors))
    rows += [_arithmetic(subject, vectors, kind) for kind in PAIRS]
    lines = [
        f"{one.heading} ({one.address}): " + ", ".join(words.words[i] for i in order[:, one.unit])
        for one in neurons[:SHOWN]
    ]
    return Found(rows, {}, lines)


def _associated(subject: Subject, vectors: Float32) -> Row:
    """The article's example of an association that a model should not have."""
    words = subject.words
    english = np.flatnonzero(words.english)
    left, right = words.rows(ASSOCIATED)
    rng = np.random.default_rng(subject.seed)
    a, b = rng.choice(english, (2, RANDOM_PAIRS))
    random = (vectors[a] * vectors[b]).sum(axis=1)[a != b]
    low, high = np.quantile(random, [0.025, 0.975])
    return Row(
        section="words",
        measure=f"cosine of the images of {ASSOCIATED[0]} and {ASSOCIATED[1]}",
        n=len(english),
        value=float(vectors[left] @ vectors[right]),
        published=PUBLISHED_COSINE,
        control=float(random.mean()),
        note=f"less the mean of {len(english):,} English words (the article: 10,000), n; control: random pairs of them, of which 95 % are between "
        f"{low:.2f} and {high:.2f}",
    )


def _arithmetic(subject: Subject, vectors: Float32, kind: str) -> Row:
    """Sums such as king - man + woman: is queen among the words that are nearest?"""
    drawn = [subject.words.rows(pair) for pair in PAIRS[kind]]
    pairs = np.array([pair for pair in drawn if pair.min() >= 0]).reshape(-1, 2)
    by_sum, alone = arithmetic(vectors, pairs)
    (first, second), (third, fourth) = PAIRS[kind][:2]
    return mean_row(
        "words",
        f"pairs that differ in {kind}: sums such as {third} - {first} + {second} that have {fourth} among the {TOP} nearest words",
        by_sum,
        seed=subject.seed,
        control=float(alone.mean()) if len(alone) else None,
        note=f"each pair by the differences of the others, among {len(vectors):,} drawn words, embeddings of their images less the mean; interval over "
        f"pairs; control: among those nearest to the one word ({third}), without arithmetic. {ARTICLE[kind]}",
    )


def arithmetic(vectors: Float32, pairs: Int64) -> tuple[Float64, Float64]:
    """How often the difference of another pair, added to the first word of a pair, leads to its second.

    Parameters
    ----------
    vectors
        `[words, dim]` of length one.
    pairs
        `[pairs, 2]` rows of `vectors`.

    Returns
    -------
    tuple
        `[pairs]` shares of the other pairs whose difference has the second word among the `TOP` nearest, the words of the sum left out; and
        `[pairs]`, 1 where it is among those nearest to the first word alone.
    """
    of_others = [
        [
            _is_near(vectors, vectors[first] - vectors[a] + vectors[b], second, [first, a, b])
            for a, b in pairs
            if a != first
        ]
        for first, second in pairs
    ]
    alone = [_is_near(vectors, vectors[first], second, [first]) for first, second in pairs]
    return np.array([np.mean(one) for one in of_others if one]), np.array(alone, np.float64)


def _is_near(vectors: Float32, query: Float32, target: int, others: list[int]) -> bool:
    cosines = vectors @ query
    cosines[others] = -np.inf
    return bool((cosines >= cosines[target]).sum() <= TOP)
