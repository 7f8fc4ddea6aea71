"""Sections on written words: which excite a unit, and what the images of words mean to the model."""

from __future__ import annotations

import numpy as np

from synesthete.analysis.rendered_words import centred
from synesthete.reproduction.section import ASSOCIATED, Found, Row, Subject, own_among_best, share

TOP = 5
PAIRS = 10_000
PUBLISHED_COSINE = 0.52
SHOWN = 8


def rendered_words(subject: Subject) -> Found:
    """Whether the words that excite a neuron most are those of its concept, and how near two words of the article are."""
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
    rows.append(_associated(subject))
    lines = [
        f"{one.heading} ({one.address}): " + ", ".join(words.words[i] for i in order[:, one.unit])
        for one in neurons[:SHOWN]
    ]
    return Found(rows, {}, lines)


def _associated(subject: Subject) -> Row:
    """The article's example of an association that a model should not have."""
    words = subject.words
    english = np.flatnonzero(words.english)
    vectors = centred(words.embeddings, english)
    left, right = words.rows(ASSOCIATED)
    rng = np.random.default_rng(subject.seed)
    a, b = rng.choice(english, (2, PAIRS))
    random = (vectors[a] * vectors[b]).sum(axis=1)[a != b]
    low, high = np.quantile(random, [0.025, 0.975])
    return Row(
        section="words",
        measure=f"cosine of the images of {ASSOCIATED[0]} and {ASSOCIATED[1]}",
        n=len(english),
        value=float(vectors[left] @ vectors[right]),
        published=PUBLISHED_COSINE,
        control=float(random.mean()),
        note=f"less the mean of {len(english):,} English words (the article: 10,000); control: random pairs of them, of which 95 % are between "
        f"{low:.2f} and {high:.2f}",
    )
