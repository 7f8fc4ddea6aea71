"""Sections on texts as sums of units: emotions, classes, and the texts that a unit promotes."""

from __future__ import annotations

import numpy as np

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete._core.intervals import Rate
from synesthete.analysis.decomposition import Decomposition, causal_check, decompose, word_factors
from synesthete.analysis.decomposition.causal import text_scores
from synesthete.analysis.decomposition.fit import EMOTIONS, Sample, Units, factored, sample_of
from synesthete.analysis.provenance import control_activations
from synesthete.analysis.zero_shot import class_embeddings, ranks_of_truth
from synesthete.errors import SynestheteError
from synesthete.published import Emotions
from synesthete.published import emotions as published_emotions
from synesthete.reproduction.section import (
    PERMUTATIONS,
    UNMEASURED,
    Found,
    Row,
    Subject,
    mean_row,
    own_among_best,
    share,
)

PLEASANT = frozenset(
    [
        "joy",
        "serenity",
        "ecstasy",
        "trust",
        "acceptance",
        "admiration",
        "interest",
        "love",
        "pride",
        "hope",
        "relief",
        "gratitude",
        "amazement",
        "anticipation",
    ]
)
TERMS = 10
LETTERS = 6
CHECKED, IMAGES, OTHERS = 8, 16, 9
CLASS_TERMS = 3
PUBLISHED_TOP5 = 0.564
ROUTES = {"exact": "along the weights", "fitted": "by covariance"}
TOP = 5


def emotions(subject: Subject) -> Found:
    """Emotions as sparse sums of units, whether raising the first of them moves images there, and factors of the sums; the same of strings that mean nothing."""
    nonsense = _nonsense(len(EMOTIONS), subject.seed)
    subject.say(f"writes {len(EMOTIONS)} emotions and as many random strings as sums of units")
    sums, others = (
        [
            decompose(
                subject.atlas, word, layer=subject.layer, terms=TERMS, positive=True, seed=subject.seed
            )
            for word in words
        ]
        for words in (EMOTIONS, nonsense)
    )  # fmt: skip
    twins = [one.r2_random_twin for one in sums if one.r2_random_twin is not None]
    twin = f"{np.mean(twins):.3f}" if twins else "not recorded"
    theirs = published_emotions()
    rows = [
        mean_row(
            "emotions",
            f"explained variance of an emotion by {TERMS} units, on images by held-out artists",
            [one.r2 for one in sums],
            seed=subject.seed,
            control=float(np.mean([one.r2 for one in others])),
            note=f"R², mean over emotions, whose interval is over them and not over artists (below 0: worse than the mean); control: {len(nonsense)} random strings of "
            f"{LETTERS} letters, so what is explained is any direction of the embedding; by units of the untrained twin {twin}, with images shuffled "
            f"{np.mean([one.r2_shuffled for one in sums]):.3f}. The article prints weights of {len(theirs.words)} words, not how well they explain",
        )
    ]
    for factors in (2, 7):
        found, random = (
            word_factors(subject.atlas, words, factors=factors, layer=subject.layer, terms=TERMS)
            for words in (EMOTIONS, nonsense)
        )
        rows.append(
            Row(
                section="emotions",
                measure=f"share of the squared weights that {factors} factors keep",
                n=len(EMOTIONS),
                value=found.explained,
                published=factored(theirs.weights, factors)[2],
                control=random.explained,
                note=f"NMF; control: of the random strings; each emotion's weights permuted over the units {_permuted_factors(found.weights, factors, subject.seed):.3f}. Published: "
                f"computed from the article's weights of its {len(theirs.words)} words, other and more of them, those below zero left out; permuted "
                f"{_permuted_factors(theirs.weights, factors, subject.seed):.3f}",
            )
        )
        if factors == 2:
            rows.append(_valence(found.words, found.loadings, subject.seed))
    rows.append(_causal(subject, sums, others))
    rows += _same_units(subject, theirs)
    lines = [
        f"{one.text} = " + " + ".join(t.heading or t.address for t in one.terms[:3]) for one in sums
    ]
    return Found(rows, {}, lines)


def _same_units(subject: Subject, theirs: Emotions) -> list[Row]:
    """For the article's own model: whether the units of our sums are those of the published ones."""
    if not subject.is_published:
        return []
    rising = np.flatnonzero(theirs.weights.any(axis=1))
    words = [theirs.words[i] for i in rising]
    found = word_factors(subject.atlas, words, layer=subject.layer, terms=TERMS)
    order = np.argsort(-found.weights, axis=1, kind="stable")[:, :TERMS]
    ours = np.where(np.take_along_axis(found.weights, order, 1) > 0, found.units[order], -1)
    first = theirs.units[theirs.weights[rising].argmax(axis=1)]
    hits, exchanged = own_among_best(ours.T, first, subject.seed)
    return [
        share(
            "emotions",
            f"words whose first unit in the article is among the {TERMS} of ours",
            hits,
            control=exchanged,
            note="control: words exchanged. The article's sums are of the linear path from units to the embedding of its own templates",
        )
    ]


def _permuted_factors(weights: Float64, factors: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    shuffled = np.array([row[rng.permutation(len(row))] for row in weights])
    _, _, explained = factored(shuffled, factors)
    return explained


def _valence(words: list[str], loadings: Float64, seed: int) -> Row:
    """Whether the first two factors tell pleasant from unpleasant emotions, whichever is which."""
    total = loadings.sum(axis=1)
    side = np.divide(loadings[:, 0], total, out=np.full(len(total), 0.5), where=total > 0)
    pleasant = np.array([word in PLEASANT for word in words])
    value = _separation(side, pleasant)
    rng = np.random.default_rng(seed)
    random = [_separation(side, rng.permutation(pleasant)) for _ in range(PERMUTATIONS)]
    return Row(
        section="emotions",
        measure="separation of pleasant and unpleasant emotions by two factors (AUC)",
        n=len(words),
        value=value,
        control=float(np.mean(random)),
        note=f"the article's two factors are valence and arousal; control: labels permuted, of which {np.mean(np.array(random) >= value):.0%} "
        "are as high",
    )


def _separation(values: Float64, positive: Bool) -> float:
    higher = (values[positive][:, None] > values[~positive]).mean()
    equal = (values[positive][:, None] == values[~positive]).mean()
    area = float(higher + equal / 2)
    return max(area, 1 - area)


def _nonsense(count: int, seed: int) -> list[str]:
    """Strings of random letters, which no embedding can know the meaning of."""
    letters = np.random.default_rng(seed).integers(26, size=(count, LETTERS))
    return ["".join(chr(ord("a") + letter) for letter in word) for word in letters]


def _causal(subject: Subject, sums: list[Decomposition], others: list[Decomposition]) -> Row:
    """Raise an emotion's first unit on images of other things: does it move them there more than other units do?"""
    measure = "emotions whose first unit, raised, moves images to them more than any of the other units raised"
    (found, reason), (random, _) = (_raised(subject, one) for one in (sums, others))
    checked = min(CHECKED, len(sums))
    note = (
        f"the {checked} best explained emotions, {IMAGES} images of other concepts and {OTHERS} other units drawn for each; control: the best explained random strings "
        f"({random.successes} of {random.n}), since a unit was fitted to its text's cosine, whatever that means; by chance {1 / (1 + OTHERS):.2f}"
    )
    if found.n < checked:
        note = f"{UNMEASURED} for {checked - found.n} of {checked}: {reason}; {note}"
    return share("emotions", measure, found, control=random.rate, note=note)


def _raised(subject: Subject, sums: list[Decomposition]) -> tuple[Rate, str]:
    """How many of the best explained texts pass, and why the others could not be tried."""
    hits, done, reason = 0, 0, ""
    known = [one for one in sorted(sums, key=lambda found: -found.r2)[:CHECKED] if one.terms]
    for place, one in enumerate(known):
        try:
            check = causal_check(
                subject.atlas,
                one.terms[0].address,
                text=one.text,
                images=IMAGES,
                controls=OTHERS,
                seed=subject.seed * CHECKED + place,  # other images and other units for each
            )
        except SynestheteError as error:
            reason = str(error)
            continue
        done += 1
        hits += check.p <= 1 / (1 + OTHERS) + 1e-9
    return Rate(hits, done), reason


def classes(subject: Subject) -> Found:
    """Classes as sums of three units each, fitted on one half of the artists and asked to classify the images of the other."""
    atlas = subject.atlas
    sample = sample_of(atlas)
    names = list(atlas.concepts)
    directions = class_embeddings(subject.model, names)
    embeddings = np.asarray(atlas.embeddings()[sample.rows], np.float32)
    concept = atlas.probes["concept"].to_pylist()
    number = {name: i for i, name in enumerate(names)}
    truth = np.array([number[concept[row]] for row in sample.rows[sample.test]], np.int64)
    targets = sample.centred(embeddings.astype(np.float64) @ directions.T)
    subject.say(f"writes {len(names)} classes as sums of {CLASS_TERMS} units")
    hits = _ranks(atlas.activations(subject.layer), targets, sample, truth) < TOP
    control = control_activations(atlas, subject.layer)
    by_twin = None if control is None else _ranks(control, targets, sample, truth) < TOP
    whole = ranks_of_truth(embeddings[sample.test], directions, truth) < TOP
    shown = sample.modality[sample.test]
    rows = []
    for code, modality in enumerate(sample.modalities):
        here = shown == code
        if not here.any():
            continue
        # ImageNet's are photos.
        published = PUBLISHED_TOP5 if modality == "photo" else None
        written = "; the class's name itself, written" if modality == "word" else ""
        rows.append(
            share(
                "classes",
                f"{modality}: images whose class is among the first {TOP}, each class a sum of {CLASS_TERMS} units",
                Rate.of(hits[here]),
                published=published,
                control=None if by_twin is None else float(by_twin[here].mean()),
                note=f"{len(names)} classes, images by held-out artists (the article: 1,000 of ImageNet){written}; control: units of the untrained "
                f"twin; by chance {TOP / len(names):.3f}; the whole embedding, zero shot: {float(whole[here].mean()):.3f}",
            )
        )
    return Found(rows)


def _ranks(matrix: Floating, targets: Float64, sample: Sample, truth: Int64) -> Int64:
    """`[held-out images]`, the place of the truth among the classes, from 0. What is fitted knows the modalities; of the held-out images only they themselves are used."""
    fit, test = ~sample.test, sample.test
    values = np.nan_to_num(np.asarray(matrix[sample.rows], np.float32))
    units = Units(sample.centred(values)[fit])
    held_out = values[test] - values[fit].mean(axis=0)
    scores = np.empty((int(test.sum()), targets.shape[1]), np.float32)
    for i, target in enumerate(targets.T):
        weights, picked = units.fit(target[fit], CLASS_TERMS)
        scores[:, i] = held_out[:, picked] @ weights
    own = scores[np.arange(len(truth)), truth]
    return np.asarray((scores >= own[:, None]).sum(axis=1) - 1, np.int64)


def promoted_texts(subject: Subject) -> Found:
    """Which texts a unit drives the embedding towards: whether its concept is among the first of all concepts."""
    names = list(subject.atlas.concepts)
    directions = class_embeddings(subject.model, names)
    directions = directions - directions.mean(axis=0)
    neurons = subject.multimodal
    units = [one.unit for one in neurons]
    route, scores = text_scores(subject.atlas, subject.model, subject.layer, units, directions)
    number = {name: i for i, name in enumerate(names)}
    own = np.array([number[one.concept] for one in neurons], np.int64)
    best = np.argsort(-scores, axis=0, kind="stable")[:TOP]
    hits, exchanged = own_among_best(best, own, subject.seed)
    return Found(
        [
            share(
                "texts",
                f"multimodal neurons whose concept is among the {TOP} texts that they promote most",
                hits,
                control=exchanged,
                note=f"of {len(names)} concepts, {ROUTES[route]}; control: concepts exchanged among the neurons",
            )
        ],
        {},
        [
            f"{one.heading} ({one.address}): " + ", ".join(names[i] for i in best[:, k])
            for k, one in enumerate(neurons[:8])
        ],
    )
