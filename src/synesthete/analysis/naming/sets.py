"""Which images a word is about, and how well units tell them from the others: balanced AUC, interval, p."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import ndtr

from synesthete._core.intervals import wilson
from synesthete.analysis.selectivity import ranks_by_chunk

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

LIKE_SHARE, LIKE_LEAST = 0.005, 10  # of a half's images are about a word, at least so many
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


def alike(rows: Int64, modality: Int64, images: Float32, words: Float32) -> Images:
    """Images that are about a word because they are the 0.5 % most like it, for their modality.

    Likenesses are compared in standard deviations from the mean of the modality, so that a modality which
    does not show the thing has none of its images among them.

    Parameters
    ----------
    images, words
        Embeddings of length one, `[len(rows), dim]` and `[words, dim]`.
    """
    count = min(len(rows), max(LIKE_LEAST, round(LIKE_SHARE * len(rows))))
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
    """How well units tell images of words from the others: `[units, words]` each.

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


def balanced_auc(activations: npt.NDArray[np.floating], images: Images) -> Balanced:
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
        # Ties are held against the word, as everywhere here.
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


def mean_auc(activations: npt.NDArray[np.floating], images: Images) -> Float32:
    """The AUC of `balanced_auc` alone, `[units, words]`."""
    total = np.zeros((activations.shape[1], images.sets.shape[0]), np.float32)
    modalities = np.zeros(images.sets.shape[0], np.float32)
    for one in _compared(activations, images):
        modalities += one.counts if one.units.start == 0 else 0
        total[one.units, one.counts] += one.auc
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / modalities)


@dataclass(frozen=True)
class _Compared:
    """Some units within one modality.

    `counts` `[words]` says which words have both images and others there; `positives` are the images of
    those; `auc` and `wins` (strictly, as a share) are `[units, counted words]`.
    """

    units: slice
    counts: Bool
    positives: Float64
    images: int
    auc: Float64
    wins: Float64


def _compared(activations: npt.NDArray[np.floating], images: Images) -> Iterator[_Compared]:
    for here, sets in images.by_modality():
        positives = np.asarray(sets.sum(axis=1), np.float64).ravel()
        pairs = positives * (len(here) - positives)
        counts = pairs > 0
        some, n_pos, n_pairs = sets[np.flatnonzero(counts)], positives[counts], pairs[counts]
        least = n_pos * (n_pos + 1) / 2
        for units, low, high in ranks_by_chunk(activations[here]):
            lowest = (some @ low).T
            auc = ((lowest + (some @ high).T) / 2 - least) / n_pairs
            yield _Compared(units, counts, n_pos, len(here), auc, (lowest - least) / n_pairs)


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
