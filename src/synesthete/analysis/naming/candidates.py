"""Candidate names: proposed on the images of one half of the artists, tested on the other by balanced AUC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import ndtr

from synesthete._core.arrays import Bool, Float32, Float64, Floating, Int64
from synesthete._core.intervals import wilson
from synesthete.analysis.multimodality import LEVEL
from synesthete.analysis.selectivity import average_precision, ranks_by_chunk
from synesthete.analysis.significance import benjamini_hochberg

PROPOSALS = 5  # words that each scorer proposes for a unit
KEPT = 3  # names that are tested per unit
AT_ONCE = 4_000_000  # scores ranked at once, which bounds the memory of ranking them
LIKE_MOST, LIKE_LEAST = (
    0.005,
    10,
)  # at most this share of a half's images is about a word, at least so many images
LIKENESS_BYTES = 100_000_000


@dataclass(frozen=True)
class Images:
    """The images of one half that names are chosen or tested on.

    Attributes
    ----------
    rows
        Image numbers.
    modality
        `[images]` codes.
    sets
        Sparse `[words, images]`, 1 where the image is about the word.
    """

    rows: Int64
    modality: Int64
    sets: sparse.csr_array

    def by_modality(self) -> Iterator[tuple[Int64, sparse.csr_array]]:
        """Yield (positions within this half, sets over them) of each modality."""
        for code in np.unique(self.modality):
            here = np.flatnonzero(self.modality == code)
            yield here, self.sets[:, here]


def labelled(rows: Int64, concept: Int64, modality: Int64, words: int) -> Images:
    """Images that are about a word because they are labelled so."""
    ones = np.ones(len(rows))
    sets = sparse.csr_array((ones, (concept, np.arange(len(rows)))), shape=(words, len(rows)))
    return Images(rows, modality, sets)


def alike(
    rows: Int64, modality: Int64, images: Float32, words: Float32, *, concepts: int
) -> Images:
    """Images that are about a word because they are those most like it, for their modality.

    As many as one of the labelled concepts has on average, and at least 10: with more, most would be of something else, and no name
    could be distinguished from a wrong one. At most 0.5 % of the half. Likenesses are compared in standard deviations from the mean of
    the modality, so that a modality which does not show the thing has none of its images among them.

    Parameters
    ----------
    images, words
        Embeddings of length one, `[len(rows), dim]` and `[words, dim]`.
    concepts
        How many concepts the images show.
    """
    share = min(LIKE_MOST, 1 / concepts)
    count = min(len(rows), max(LIKE_LEAST, round(share * len(rows))))
    groups = [np.flatnonzero(modality == code) for code in np.unique(modality)]
    step = max(1, LIKENESS_BYTES // (4 * len(rows)))
    columns: list[Int64] = []
    for start in range(0, len(words), step):
        likeness = words[start : start + step] @ images.T
        for here in groups:
            some = likeness[:, here]
            some -= some.mean(axis=1, keepdims=True)
            spread = some.std(axis=1, keepdims=True)
            likeness[:, here] = some / np.where(spread > 0, spread, 1.0)
        columns.append(np.argpartition(-likeness, count - 1, axis=1)[:, :count].ravel())
    column, owner = np.concatenate(columns), np.repeat(np.arange(len(words)), count)
    sets = sparse.csr_array((np.ones(len(column)), (owner, column)), shape=(len(words), len(rows)))
    return Images(rows, modality, sets)


@dataclass(frozen=True)
class Balanced:
    """How well units separate images of words from the others: `[units, words]` each.

    Attributes
    ----------
    auc
        Mean over modalities; NaN where no modality has both images of the word and others.
    error
        Its standard error: Hanley and McNeil's (1982) for each modality, of an AUC with half a pair taken
        from the winning side.
    p
        Of an AUC this large by chance: Mann-Whitney z summed over modalities (Stouffer), 1 where untested.
    """

    auc: Float32
    error: Float32
    p: Float32


def balanced_auc(activations: Floating, images: Images) -> Balanced:
    """AUC of every unit for every word's images, balanced over modalities.

    Parameters
    ----------
    activations
        `[len(images.rows), units]`.
    """
    shape = activations.shape[1], images.sets.shape[0]
    total, variance, z = (np.zeros(shape, np.float32) for _ in range(3))
    modalities = np.zeros(shape[1])
    for one in _compared(activations, images):
        modalities += one.counts if one.units.start == 0 else 0
        total[one.units, one.counts] += one.auc
        # Ties count against the word, as everywhere here.
        null = np.sqrt((one.images + 1) / (12 * one.positives * (one.images - one.positives)))
        z[one.units, one.counts] += (one.wins - 0.5) / null
        shrunk = np.abs(one.auc - 0.5 / (one.positives * (one.images - one.positives) + 1))
        variance[one.units, one.counts] += _variance(shrunk, one.positives, one.images)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, error = total / modalities, np.sqrt(variance) / modalities
        p = np.nan_to_num(ndtr(-z / np.sqrt(modalities)), nan=1.0)
    return Balanced(
        np.asarray(mean, np.float32), np.asarray(error, np.float32), np.asarray(p, np.float32)
    )


def mean_auc(activations: Floating, images: Images) -> Float32:
    """The AUC of `balanced_auc` alone, `[units, words]`."""
    total = np.zeros((activations.shape[1], images.sets.shape[0]), np.float32)
    modalities = np.zeros(images.sets.shape[0], np.float32)
    for one in _compared(activations, images):
        modalities += one.counts if one.units.start == 0 else 0
        total[one.units, one.counts] += one.auc
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / modalities)


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Some units within one modality.

    `counts` `[words]`: which words have both images and others there; `positives` are the images of
    those; `auc` and `wins` (strictly, as a share) are `[units, counted words]`.
    """

    units: slice
    counts: Bool
    positives: Float64
    images: int
    auc: Float64
    wins: Float64


def _compared(activations: Floating, images: Images) -> Iterator[_Compared]:
    for here, sets in images.by_modality():
        positives = np.asarray(sets.sum(axis=1), np.float64).ravel()
        pairs = positives * (len(here) - positives)
        counts = pairs > 0
        some, n_pos, n_pairs = sets[np.flatnonzero(counts)], positives[counts], pairs[counts]
        least = n_pos * (n_pos + 1) / 2
        for units, low, high in ranks_by_chunk(activations[here]):
            lowest = (some @ low).T
            auc = ((lowest + (some @ high).T) / 2 - least) / n_pairs
            yield _Compared(
                units=units,
                counts=counts,
                positives=n_pos,
                images=len(here),
                auc=auc,
                wins=(lowest - least) / n_pairs,
            )


def _variance(auc: Float64, n_pos: Float64, n_images: int) -> Float64:
    n_neg = n_images - n_pos
    both_pos, both_neg = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (n_pos - 1) * (both_pos - auc**2) + (n_neg - 1) * (both_neg - auc**2)
    return np.asarray((auc * (1 - auc) + spread) / (n_pos * n_neg), np.float64)


def interval(
    auc: npt.ArrayLike, error: npt.ArrayLike, *, share: float = 0.95
) -> tuple[Float64, Float64]:
    """Wilson interval of an AUC whose standard error says how many images it is worth.

    A proportion of n trials has the variance a (1 - a) / n; solved for n, with a no nearer to the ends than
    the error allows (the idea of Kottas, Kuss and Zapf 2014, doi 10.1186/1471-2288-14-26).

    Examples
    --------
    >>> low, high = interval(0.9, 0.05)
    >>> round(float(low), 3), round(float(high), 3)
    (0.761, 0.962)
    """
    a, s = np.asarray(auc, np.float64), np.maximum(np.asarray(error, np.float64), 1e-6)
    inner = np.clip(a, np.minimum(s / 2, 0.5), np.maximum(1 - s / 2, 0.5))
    n = inner * (1 - inner) / s**2
    low, high = wilson(a, n, confidence=share)
    return low, np.maximum(high, a)


@dataclass(frozen=True)
class Candidates:
    """Each unit's candidate names, best first, `[units, KEPT]`.

    Attributes
    ----------
    word
        Number in the vocabulary, -1 for none.
    method
        Which scorer ranked it highest (an index of `methods`), -1 for none.
    score
        Mean over the scorers of its standard score among all words of the unit.
    methods
        Names of the scorers.
    """

    word: Int64
    method: Int64
    score: Float64
    methods: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Candidates on the images they were not chosen on, `[units, KEPT]`; NaN where there is none.

    Attributes
    ----------
    auc, low, high
        Balanced over modalities, with its 95 % interval.
    q
        False discovery rate of `auc`.
    ap
        `[modalities, units, KEPT]`: average precision within each modality, by its code.
    """

    auc: Float64
    low: Float64
    high: Float64
    q: Float64
    ap: Float64

    @property
    def precision(self) -> Float64:
        """`[units, KEPT]`: mean of `ap` over the modalities that have images of the name."""
        return mean_known(self.ap)

    def held(self, threshold: float, precision: float = 0.0, *, level: float = LEVEL) -> Bool:
        """Which names hold: AUC and average precision reach their thresholds, at a false discovery rate of `level`."""
        with np.errstate(invalid="ignore"):
            found = (self.auc >= threshold) & (self.q <= level)
        return np.asarray(found & (np.nan_to_num(self.precision) >= precision))


def propose(scores: Mapping[str, Float32]) -> Candidates:
    """Candidates from several scorers: the words that any of them ranks high, ranked by the mean over all.

    Parameters
    ----------
    scores
        Scorer → `[units, words]`, higher is better; NaN and -inf where a word cannot be scored.

    Examples
    --------
    >>> import numpy as np
    >>> found = propose({"a": np.array([[0.0, 2.0, 1.0]], np.float32)})
    >>> found.word.tolist(), found.methods[found.method[0, 0]]
    ([[1, 2, 0]], 'a')
    """
    units, words = next(iter(scores.values())).shape
    step = max(1, AT_ONCE // words)
    parts = [
        _propose({name: values[start : start + step] for name, values in scores.items()})
        for start in range(0, units, step)
    ]
    word, method, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Candidates(word, method, score, tuple(scores))


def _propose(scores: Mapping[str, Float32]) -> tuple[Int64, Int64, Float64]:
    units, words = next(iter(scores.values())).shape
    total = np.zeros((units, words), np.float32)
    proposed = np.zeros((units, words), np.bool_)
    places = []
    for values in scores.values():
        finite = np.isfinite(values)
        known = np.where(finite, values, np.nan)
        standard = np.where(finite, _standard(known), -10.0)
        total += standard
        order = np.argsort(-standard, axis=1, kind="stable")[:, :PROPOSALS]
        good = np.take_along_axis(finite, order, axis=1)
        rows, columns = np.nonzero(good)
        proposed[rows, order[rows, columns]] = True
        place = np.full((units, words), PROPOSALS, np.int8)
        np.put_along_axis(place, order, np.arange(order.shape[1], dtype=np.int8)[None], axis=1)
        places.append(place)
    total = np.where(proposed, total / len(scores), -np.inf)
    kept = np.argsort(-total, axis=1, kind="stable")[:, :KEPT]
    score = np.take_along_axis(total, kept, axis=1).astype(np.float64)
    none = ~np.isfinite(score)
    method = np.stack([np.take_along_axis(p, kept, axis=1) for p in places]).argmin(axis=0)
    pad = ((0, 0), (0, KEPT - kept.shape[1]))
    return (
        np.pad(np.where(none, -1, kept), pad, constant_values=-1),
        np.pad(np.where(none, -1, method), pad, constant_values=-1),
        np.pad(np.where(none, np.nan, score), pad, constant_values=np.nan),
    )


def _standard(values: Float32) -> Float32:
    """Standard scores along rows that may have gaps; 0 where a row is constant."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, values, 0.0)
    centred = np.where(known, centred - centred.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0), np.float32)


def contrast(activations: Floating, images: Images) -> Float32:
    """Mean activation for a word's images above the others', in standard deviations, `[units, words]`.

    The mean over modalities, as for the AUC; NaN where a modality has nothing to compare.
    """
    words, units = images.sets.shape[0], activations.shape[1]
    total, modalities = np.zeros((words, units)), np.zeros((words, 1))
    for here, sets in images.by_modality():
        values = np.nan_to_num(np.asarray(activations[here], np.float32))
        n_pos = np.asarray(sets.sum(axis=1)).reshape(-1, 1)
        counts = (n_pos > 0) & (n_pos < len(here))
        sums = sets @ values
        with np.errstate(invalid="ignore", divide="ignore"):
            rest = (values.sum(0) - sums) / (len(here) - n_pos)
            apart = (sums / n_pos - rest) / values.std(0)
        total += np.where(counts, np.nan_to_num(apart), 0.0)
        modalities += counts
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((total / modalities).T, np.float32)


def test(activations: Floating, images: Images, candidates: Candidates) -> Tested:
    """Measure candidates on the other half: balanced AUC over the whole range, with its interval."""
    used, place = np.unique(candidates.word, return_inverse=True)
    place = place.reshape(candidates.word.shape)
    some = Images(images.rows, images.modality, images.sets[np.maximum(used, 0)])
    result = balanced_auc(activations, some)

    def of_candidates(values: Float32) -> Float64:
        picked = np.take_along_axis(values, place, axis=1).astype(np.float64)
        return np.where(candidates.word < 0, np.nan, picked)

    auc = of_candidates(result.auc)
    low, high = interval(auc, of_candidates(result.error))
    return Tested(
        auc=auc,
        low=low,
        high=high,
        q=benjamini_hochberg(of_candidates(result.p)),
        ap=precision_of(activations, images, candidates.word),
    )


def precision_of(activations: Floating, images: Images, words: Int64) -> Float64:
    """Average precision of each unit for its own words within each modality, ties against the word.

    Parameters
    ----------
    activations
        `[len(images.rows), units]`.
    words
        `[units, kept]`, -1 for none.

    Returns
    -------
    array `[modalities, units, kept]`
        By the code of the modality; NaN where it has no image of the word, or no other.
    """
    out = np.full((int(images.modality.max(initial=-1)) + 1, *words.shape), np.nan)
    for here, sets in images.by_modality():
        code = int(images.modality[here[0]])
        count = np.diff(sets.indptr)
        n_pos = np.where(words >= 0, count[words], 0)
        place = np.arange(int(n_pos.max(initial=0)))
        if not place.size:
            continue
        there = place < n_pos[:, :, None]
        rows = sets.indices[np.where(there, sets.indptr[words][:, :, None] + place, 0)]
        for units, low, _ in ranks_by_chunk(activations[here]):
            column = np.arange(units.stop - units.start)[:, None, None]
            lowest = np.where(there[units], low[rows[units], column], 0.0)
            flat = average_precision(lowest.reshape(-1, len(place)), len(here))
            out[code, units] = flat.reshape(-1, words.shape[1])
        out[code, (n_pos == 0) | (n_pos == len(here))] = np.nan
    return out


def mean_known(values: Float64) -> Float64:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))
