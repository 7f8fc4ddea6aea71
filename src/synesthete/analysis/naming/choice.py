"""Names are chosen on one half of the images and tested on the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.analysis.multimodality import LEVEL
from synesthete.analysis.naming.sets import Images, balanced_auc, interval
from synesthete.analysis.significance import benjamini_hochberg

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

PROPOSALS = 5  # words that each scorer proposes for a unit
KEPT = 3  # names that are tested per unit
AT_ONCE = 4_000_000  # scores ranked at once, which bounds the memory of ranking them


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


@dataclass(frozen=True)
class Tested:
    """Candidates on the images they were not chosen on, `[units, KEPT]`; NaN where there is none."""

    auc: Float64
    low: Float64
    high: Float64
    q: Float64

    def held(self, threshold: float, level: float = LEVEL) -> npt.NDArray[np.bool_]:
        """Which names hold: the AUC reaches the threshold, at a false discovery rate of `level`."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.auc >= threshold) & (self.q <= level))


def propose(scores: Mapping[str, Float32]) -> Candidates:
    """Candidates from several scorers: the words that any of them ranks high, by what all of them say.

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
    """Standard scores along rows that may have gaps; 0 where a row says nothing."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, values, 0.0)
    centred = np.where(known, centred - centred.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0), np.float32)


def contrast(activations: npt.NDArray[np.floating], images: Images) -> Float32:
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


def test(activations: npt.NDArray[np.floating], images: Images, candidates: Candidates) -> Tested:
    """Measure candidates on the other half: balanced AUC over the whole range, with its interval."""
    used, place = np.unique(candidates.word, return_inverse=True)
    place = place.reshape(candidates.word.shape)
    some = Images(images.rows, images.modality, images.sets[np.maximum(used, 0)])
    told = balanced_auc(activations, some)

    def mine(values: Float32) -> Float64:
        picked = np.take_along_axis(values, place, axis=1).astype(np.float64)
        return np.where(candidates.word < 0, np.nan, picked)

    low, high = interval(mine(told.auc), mine(told.error))
    return Tested(mine(told.auc), low, high, benjamini_hochberg(mine(told.p)))
