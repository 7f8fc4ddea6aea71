"""Selectivity: how well each unit separates each concept from the rest, within one modality, as an AUC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Bool, Float32, Float64, Floating, Int64
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Values ranked at a time: bounds the temporary arrays (about 60 bytes a value) whatever the layer's width.
RANKED_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class AucTable:
    """AUC of every unit for every concept within one modality, and what a significance test needs.

    Attributes
    ----------
    auc
        `[units, concepts]`: P(image of the concept excites the unit more than another image) + half of
        P(equal). NaN where the concept has no image here, or nothing but images of it.
    wins
        `[units, concepts]`: a lower bound on the number of (positive, negative) pairs that the positive
        wins strictly: every tie, between positives too, counts against the concept. An integer.
    n_pos, n_neg
        `[concepts]`: images of the concept, and of the others.
    """

    auc: Float32
    wins: Float64
    n_pos: Int64
    n_neg: Int64


def auc_table(activations: Floating, concept_codes: npt.ArrayLike, n_concepts: int) -> AucTable:
    """AUC of every unit for every concept, among images of one modality.

    Ranks are taken once per unit; the rank sums of all concepts are then one product with the (sparse)
    concept indicator, exact because ranks are integers in float64. Hanley & McNeil 1982 for AUC as the
    Mann-Whitney statistic.

    Parameters
    ----------
    activations
        `[images, units]`, any float type. A missing activation (NaN) ranks below every number.
    concept_codes
        `[images]`, integers from 0 to `n_concepts - 1`.
    n_concepts
        How many concepts there are; a concept may have no image here.

    Raises
    ------
    SynestheteError
        When shapes disagree or a code is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> acts = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 1.0], [0.0, 1.0]])  # 4 images, 2 units
    >>> table = auc_table(acts, [0, 0, 1, 1], 2)
    >>> table.auc.tolist()  # unit 0 prefers concept 0; unit 1 is constant
    [[1.0, 0.0], [0.5, 0.5]]
    """
    return next(iter(auc_tables(activations, [concept_codes], n_concepts)))


def auc_tables(
    activations: Floating,
    labelings: Sequence[npt.ArrayLike],
    n_concepts: int,
) -> list[AucTable]:
    """`auc_table` for several labelings of the same images (true and shuffled), ranking once.

    Parameters
    ----------
    activations
        `[images, units]`.
    labelings
        Each `[images]` concept codes.

    Returns
    -------
    list of AucTable
        One per labeling.
    """
    n_images, n_units = activations.shape
    codes = [_checked_codes(labels, n_images, n_concepts) for labels in labelings]
    indicator = _indicator(codes, n_images, n_concepts)
    n_pos = np.stack([np.bincount(c, minlength=n_concepts) for c in codes]).astype(np.int64)
    n_neg = n_images - n_pos
    auc = np.empty((len(codes), n_units, n_concepts), np.float32)
    wins = np.empty((len(codes), n_units, n_concepts), np.float64)
    least = n_pos * (n_pos + 1) / 2  # rank sum of a concept whose images are the weakest
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = np.where(n_pos * n_neg > 0, n_pos * n_neg, np.nan)
    for units, low, high in ranks_by_chunk(activations):
        shape = (len(codes), n_concepts, units.stop - units.start)
        low_sum = (indicator @ low).reshape(shape)
        high_sum = (indicator @ high).reshape(shape)
        average = (low_sum + high_sum) / 2
        auc[:, units] = (average - least[:, :, None]).transpose(0, 2, 1) / pairs[:, None, :]
        wins[:, units] = (low_sum - least[:, :, None]).transpose(0, 2, 1)
    np.maximum(wins, 0.0, out=wins)
    return [AucTable(auc[i], wins[i], n_pos[i], n_neg[i]) for i in range(len(codes))]


@dataclass(frozen=True, kw_only=True)
class ConceptScores:
    """How well each unit separates its own concept from the rest within one modality.

    Attributes
    ----------
    auc
        `[units]`; NaN where the concept has no image here, or nothing but images of it.
    wins
        `[units]`: as in `AucTable`.
    ap
        `[units]`: average precision, the mean over the concept's images of the precision at their rank; among equal values the
        images of other concepts come first (ties against the concept).
    correlation
        `[units]`: Pearson's, of activation and label.
    n_pos, n_neg
        `[units]`: images of the unit's concept, and of the others.
    """

    auc: Float64
    wins: Float64
    ap: Float64
    correlation: Float64
    n_pos: Int64
    n_neg: Int64


def concept_scores(
    activations: Floating, labelings: Sequence[tuple[Int64, Int64]], n_concepts: int
) -> list[ConceptScores]:
    """Score each unit on one concept, for several labelings of the same images, ranking once.

    Parameters
    ----------
    activations
        `[images, units]`. A missing activation (NaN) ranks below every number.
    labelings
        For each the concept codes `[images]`, and the concept of each unit `[units]` (-1 for none).
    n_concepts
        How many concepts there are.

    Examples
    --------
    >>> import numpy as np
    >>> acts = np.array([[3.0], [2.0], [1.0], [0.0]])
    >>> (found,) = concept_scores(acts, [(np.array([0, 1, 0, 1]), np.array([0]))], 2)
    >>> found.auc.tolist(), round(float(found.ap[0]), 3)  # ranks 1 and 3: (1/1 + 2/3) / 2
    ([0.75], 0.833)
    """
    n_images, n_units = activations.shape
    places = [_positives(codes, concept, n_concepts) for codes, concept in labelings]
    tables = np.full((len(labelings), 4, n_units), np.nan)
    for units, low, high in ranks_by_chunk(activations):
        values = activations[:, units].astype(np.float64)
        with np.errstate(invalid="ignore"):
            mean, std = values.mean(axis=0), values.std(axis=0)
        for table, (rows, there) in zip(tables, places, strict=True):
            table[:, units] = _scores_of(
                (rows[units], there[units]), low, high, (values, mean, std), n_images
            )
    found = []
    for table, (_, there) in zip(tables, places, strict=True):
        n_pos = there.sum(axis=1)
        table[:, (n_pos == 0) | (n_pos == n_images)] = np.nan
        auc, wins, ap, correlation = table
        found.append(
            ConceptScores(
                auc=auc,
                wins=wins,
                ap=ap,
                correlation=correlation,
                n_pos=n_pos,
                n_neg=n_images - n_pos,
            )
        )
    return found


def _positives(codes: Int64, concept: Int64, n_concepts: int) -> tuple[Int64, Bool]:
    """Image numbers of each unit's concept `[units, most]`, and which of them there are."""
    order = np.argsort(codes, kind="stable")
    count = np.bincount(codes, minlength=n_concepts)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    n_pos = np.where(concept >= 0, count[concept], 0)
    place = np.arange(int(n_pos.max(initial=0)))
    there = place < n_pos[:, None]
    return order[np.where(there, start[concept][:, None] + place, 0)], there


def _scores_of(
    positives: tuple[Int64, Bool],
    low: Float64,
    high: Float64,
    activations: tuple[Float64, Float64, Float64],
    n_images: int,
) -> Float64:
    """AUC, wins, average precision and correlation `[4, units]` of one chunk."""
    rows, there = positives
    values, mean, std = activations
    column = np.arange(len(rows))[:, None]
    lowest, highest = (np.where(there, ranks[rows, column], 0.0) for ranks in (low, high))
    n = there.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        own_mean = np.where(there, values[rows, column], 0.0).sum(axis=1) / n
        correlation = (own_mean - mean) / std * np.sqrt(n / (n_images - n))
    return np.concatenate([_rank_scores(lowest, highest, n, n_images), correlation[None]])


def _rank_scores(lowest: Float64, highest: Float64, n: Int64, n_images: int) -> Float64:
    """AUC, wins and average precision `[3, units]` from the ranks of each unit's positives `[units, most]`, 0 where there is none."""
    n_neg = n_images - n
    least = n * (n + 1) / 2
    wins = np.maximum(lowest.sum(axis=1) - least, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = ((lowest.sum(axis=1) + highest.sum(axis=1)) / 2 - least) / (n * n_neg)
    return np.stack([auc, wins, average_precision(lowest, n_images)])


def average_precision(lowest: Float64, n_images: int) -> Float64:
    """Mean over the positives of the precision at their rank, ties against them, `[units]`; NaN without positives.

    Parameters
    ----------
    lowest
        `[units, most]`: each positive's lowest rank among equal values, from 1 for the weakest image; 0 for none.

    Examples
    --------
    >>> import numpy as np
    >>> average_precision(np.array([[5.0, 3.0, 0.0]]), 5).round(3).tolist()  # first and third: (1/1 + 2/3) / 2
    [0.833]
    """
    # Strongest first, those that are not there last. At least as strong are n_images - rank + 1 images, of which the concept's
    # own equals that come later stand behind.
    ranks = -np.sort(-lowest, axis=1)
    n = (lowest > 0).sum(axis=1)
    place = np.arange(ranks.shape[1])
    last = np.tile(place, (len(ranks), 1))
    for j in range(ranks.shape[1] - 2, -1, -1):
        last[:, j] = np.where(ranks[:, j] == ranks[:, j + 1], last[:, j + 1], j)
    position = n_images - ranks + 1 - (last - place)
    with np.errstate(invalid="ignore"):
        precision = np.where(place < n[:, None], (place + 1) / position, 0.0)
        return np.asarray(precision.sum(axis=1) / n)


class Ranking:
    """Images of one modality in the order of each unit's activations: ranks within any subset of them follow by counting.

    Sorting is most of the work of an analysis; repeated on many subsets of the same images, it is done once.

    Parameters
    ----------
    activations
        `[images, units]`, few enough units to be held at once.
    codes
        `[images]` concept codes.
    n_concepts
        How many concepts there are.

    Examples
    --------
    >>> import numpy as np
    >>> ranking = Ranking(np.array([[3.0], [2.0], [1.0], [0.0]]), np.array([0, 1, 0, 1]), 2)
    >>> ranking.table(np.array([True, True, True, True])).auc.tolist()
    [[0.75, 0.25]]
    >>> ranking.table(np.array([False, True, True, True])).auc.tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, activations: Floating, codes: Int64, n_concepts: int) -> None:
        keys = _sortable(np.ascontiguousarray(activations.T))
        units, images = keys.shape
        order = np.argsort(keys, axis=1, kind="stable")
        ordered = np.take_along_axis(keys, order, axis=1)
        # Places in the order, of the first image of each run of equals and of the one after its last, as indices of `_below`.
        first = np.tile(np.arange(images, dtype=np.int32), (units, 1))
        after = first + 1
        same = ordered[:, 1:] == ordered[:, :-1]
        first[:, 1:][same] = 0
        np.maximum.accumulate(first, axis=1, out=first)
        after[:, :-1][same] = images
        after = np.minimum.accumulate(after[:, ::-1], axis=1)[:, ::-1]
        start = np.arange(units, dtype=np.int64)[:, None] * (images + 1)
        self._first, self._after = first + start, after + start
        self._place = np.empty((units, images), np.int32)
        np.put_along_axis(self._place, order, np.arange(images, dtype=np.int32)[None], axis=1)
        self._order = order.astype(np.int32)
        self._codes, self._n_concepts = codes, n_concepts
        self._cell = codes[order] + np.arange(units)[:, None] * n_concepts

    def _below(self, subset: Bool) -> npt.NDArray[np.int32]:
        """How many images of the subset are among the weakest k, `[units * (images + 1)]`."""
        found = np.zeros((len(self._order), len(subset) + 1), np.int32)
        np.cumsum(subset[self._order], axis=1, out=found[:, 1:])
        return found.ravel()

    def table(self, subset: Bool) -> AucTable:
        """`auc_table` of the images of a subset `[images]`, without `wins`."""
        units = len(self._order)
        below, members = self._below(subset), np.flatnonzero(subset[self._order])
        twice = below[self._first.ravel()[members]] + below[self._after.ravel()[members]]
        sums = np.bincount(
            self._cell.ravel()[members], weights=twice, minlength=units * self._n_concepts
        ).reshape(units, self._n_concepts)
        n_pos = np.bincount(self._codes[subset], minlength=self._n_concepts)
        n_neg = int(subset.sum()) - n_pos
        with np.errstate(invalid="ignore", divide="ignore"):
            auc = (sums - n_pos * n_pos) / np.where(n_pos * n_neg > 0, 2.0 * n_pos * n_neg, np.nan)
        return AucTable(auc.astype(np.float32), np.empty((0, 0)), n_pos, n_neg)

    def scores(self, subset: Bool, concept: Int64) -> tuple[Float64, Int64]:
        """How well each unit separates its own concept, among the images of a subset.

        Parameters
        ----------
        subset
            `[images]`.
        concept
            `[units]` codes.

        Returns
        -------
        tuple
            AUC, wins and average precision as in `ConceptScores` `[3, units]`, NaN where undefined; and images of the concept `[units]`.
        """
        images = np.flatnonzero(subset)
        rows, there = _positives(self._codes[images], concept, self._n_concepts)
        where = self._place[np.arange(len(rows))[:, None], images[rows]]
        where = where + np.arange(len(rows))[:, None] * len(subset)
        below = self._below(subset)
        lowest = np.where(there, below[self._first.ravel()[where]] + 1.0, 0.0)
        highest = np.where(there, below[self._after.ravel()[where]].astype(np.float64), 0.0)
        n = there.sum(axis=1)
        found = _rank_scores(lowest, highest, n, len(images))
        found[:, (n == 0) | (n == len(images))] = np.nan
        return found, n


def _checked_codes(labels: npt.ArrayLike, n_images: int, n_concepts: int) -> Int64:
    codes = np.asarray(labels, dtype=np.int64)
    if codes.shape != (n_images,):
        raise SynestheteError(
            f"{n_images} images have {codes.size} concept labels", hint="one label per image"
        )
    if codes.size and (codes.min() < 0 or codes.max() >= n_concepts):
        raise SynestheteError(f"concept codes must lie in 0..{n_concepts - 1}")
    return codes


def _indicator(codes: Sequence[Int64], n_images: int, n_concepts: int) -> csr_array:
    """Sparse `[labelings * concepts, images]`: 1 where the image shows the concept."""
    from scipy import sparse  # takes long to import

    rows = np.concatenate([c + i * n_concepts for i, c in enumerate(codes)])
    columns = np.tile(np.arange(n_images), len(codes))
    shape = (len(codes) * n_concepts, n_images)
    return sparse.csr_array((np.ones(rows.size), (rows, columns)), shape=shape)


def ranks_by_chunk(
    activations: Floating,
) -> Iterator[tuple[slice, Float64, Float64]]:
    """Yield (units, lowest rank, highest rank), ranks `[images, units]` from 1, equal values sharing both."""
    n_images, n_units = activations.shape
    step = max(1, RANKED_AT_ONCE // max(n_images, 1))
    for start in range(0, n_units, step):
        units = slice(start, min(start + step, n_units))
        keys = _sortable(np.ascontiguousarray(activations[:, units].T))
        low, high = _extreme_ranks(keys)
        yield units, low, high


def _sortable(values: Floating) -> npt.NDArray[np.generic]:
    """Keys in the order of the values: float16 becomes int16, which numpy radix-sorts, 15 times faster."""
    values = np.where(np.isnan(values), -np.inf, values) + values.dtype.type(0)  # -0 becomes +0
    if values.dtype != np.float16:
        return values
    bits = values.view(np.int16)
    return np.where(bits >= 0, bits, np.int16(-32768) - bits - np.int16(1)).astype(np.int16)


def _extreme_ranks(keys: npt.NDArray[np.generic]) -> tuple[Float64, Float64]:
    """Lowest and highest rank within each run of equal keys, `[units, images]` in, `[images, units]` out."""
    n_images = keys.shape[1]
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, axis=1)
    change = ordered[:, 1:] != ordered[:, :-1]
    position = np.arange(1, n_images, dtype=np.int32)
    ranks = np.empty(keys.shape, np.int32)
    run = np.ones(keys.shape, np.int32)
    np.maximum.accumulate(np.where(change, position + 1, 1), axis=1, out=run[:, 1:])
    np.put_along_axis(ranks, order, run, axis=1)
    low = np.ascontiguousarray(ranks.T, dtype=np.float64)
    run[:, -1:] = n_images
    backwards = np.where(change, position, n_images)[:, ::-1]
    run[:, :-1] = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    np.put_along_axis(ranks, order, run, axis=1)
    return low, np.ascontiguousarray(ranks.T, dtype=np.float64)
