"""CLIP-Dissect's four scorers: how well each word describes each unit, from images and their likeness to words.

Oikarinen and Weng 2023, *CLIP-Dissect* (arXiv 2204.10965), with the defaults of the authors' code
(github.com/Trustworthy-ML-Lab/CLIP-dissect, similarity.py). All take `activations` `[images, units]`, `images`
`[images, dim]` and `words` `[words, dim]`, the last two of length one, and give `[units, words]`, higher is
better. Likenesses `[images, words]` are never held whole: beside its answer a scorer holds a few times
`CHUNK_BYTES`, however many images, units and words there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float32, Floating, Int64

Scorer = Callable[[Floating, Float32, Float32], Float32]

CHUNK_BYTES = 64_000_000  # of likenesses, or of activations, held at once
MIN_PROBABILITY = 1e-7
SOFT_TOP, SOFT_SHARPNESS, SOFT_WEIGHT = 100, 10.0, 1.0
SOFT_START, SOFT_END = 0.998, 0.97  # probability that the best, the last top image is an example
HARD_TOP, HARD_SHARPNESS, HARD_WEIGHT = 28, 2.0, 0.6
SMALLEST = 1e-36  # a product of probabilities that single precision still has all its digits for
REORDER_TOP = 0.05  # cubes of differences, and the root of the mean likeness, are in rank_reorder
CUBED_MIN_NORM = 1e-3


def soft_wpmi(
    activations: Floating, images: Float32, words: Float32, *, top: int = SOFT_TOP
) -> Float32:
    """Soft weighted pointwise mutual information over the `top` images, the best counting most."""
    top = min(top, len(activations))
    share = SOFT_START - np.arange(top)[:, None] / top * (SOFT_START - SOFT_END)
    # 1 + share * (p - 1) + the least probability, summed so that a small p loses nothing.
    rest = np.asarray(1 - share + MIN_PROBABILITY, np.float32)
    share = np.asarray(share, np.float32)

    def of(likely: Float32) -> Float32:
        likely *= share
        likely += rest
        return likely

    least = float(rest.min())
    return _mutual_information(
        activations, images, words, top, SOFT_SHARPNESS, SOFT_WEIGHT, of, least
    )


def wpmi(activations: Floating, images: Float32, words: Float32, *, top: int = HARD_TOP) -> Float32:
    """Weighted pointwise mutual information (Oikarinen and Weng's form of MILAN's), `top` images alike."""

    def of(likely: Float32) -> Float32:
        likely += np.float32(MIN_PROBABILITY)
        return likely

    top = min(top, len(activations))
    return _mutual_information(
        activations, images, words, top, HARD_SHARPNESS, HARD_WEIGHT, of, MIN_PROBABILITY
    )


def rank_reorder(activations: Floating, images: Float32, words: Float32) -> Float32:
    """Minus the error of a unit's top 5 % activations when they are reordered by likeness to the word.

    The authors divide by the error of five random orders; here by its expectation over all orders, which is
    the same for every word of a unit. Where the mean likeness is not positive the measure is undefined
    and the score is -inf.
    """
    count = max(2, int(len(activations) * REORDER_TOP))
    rows = top_images(activations, count)
    values = np.asarray(np.take_along_axis(activations, rows.T, axis=0), np.float32).T
    chance = [max(float(_cubes(np.abs(row[:, None] - row)).mean()), 1e-30) for row in values]
    out = np.empty((activations.shape[1], len(words)), np.float32)
    for part, likeness in _likenesses(images, words):
        places = _places(likeness)
        for unit, mine in enumerate(rows):
            # Where each of the top images goes, least like first: one sort of short integers per word.
            order = np.take(places, mine, axis=1).argsort(axis=1, kind="stable")
            moved = np.take(values[unit], order)
            moved -= values[unit, ::-1]
            error = _cubes(np.abs(moved, out=moved)).mean(axis=1)
            mean = np.take(likeness, mine, axis=0).mean(axis=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                score = -error / chance[unit] / np.sqrt(mean)
            out[unit, part] = np.where(mean > 0, score, -np.inf)
    return out


def cos_cubed(activations: Floating, images: Float32, words: Float32) -> Float32:
    """Cosine of the cubes of centred activations and centred likenesses, over all images."""
    out = np.empty((activations.shape[1], len(words)), np.float32)
    for part, likeness in _likenesses(images, words):
        cubed = _cubed(likeness)
        for units in _chunks(activations.shape[1], len(activations)):
            mine = _cubed(np.asarray(activations[:, units], np.float32))
            out[units, part] = mine.T @ cubed
    return out


SCORERS: dict[str, Scorer] = {
    "softwpmi": soft_wpmi,
    "wpmi": wpmi,
    "rank-reorder": rank_reorder,
    "cos-cubed": cos_cubed,
}


def top_images(activations: Floating, count: int) -> Int64:
    """The `count` images that excite each unit most, `[units, count]`, best first, ties by smaller number."""
    out = np.empty((activations.shape[1], count), np.int64)
    for units in _chunks(activations.shape[1], len(activations)):
        values = np.ascontiguousarray(activations[:, units].T, np.float32)
        # Partition breaks ties anyhow; take all that are not below the last value, then the smallest numbers.
        last = np.partition(values, len(activations) - count, axis=1)[:, -count]
        for unit, row in enumerate(values):
            among = np.flatnonzero(row >= last[unit])
            out[units.start + unit] = among[np.argsort(-row[among], kind="stable")][:count]
    return out


def _mutual_information(
    activations: Floating,
    images: Float32,
    words: Float32,
    top: int,
    sharpness: float,
    weight: float,
    of: Callable[[Float32], Float32],
    least: float,
) -> Float32:
    """Log p(word | top images) - weight * log p(word), p by a softmax over all words; `of` gives none below `least`."""
    rows = top_images(activations, top)
    used, place = np.unique(rows, return_inverse=True)
    place = place.reshape(rows.shape)
    shown = images[used]
    total = np.zeros(len(used), np.float64)
    for _, likely in _powers(shown, words, sharpness):
        total += likely.sum(axis=1, dtype=np.float64)
    inverse = np.asarray(1 / total, np.float32)[:, None]
    given = np.empty((len(rows), len(words)), np.float32)
    for part, likely in _powers(shown, words, sharpness):
        likely *= inverse
        for unit, mine in enumerate(place):
            given[unit, part] = _log_product(of(likely[mine]), least)
    for part in _chunks(len(words), len(given)):
        some = given[:, part].astype(np.float64)
        highest = some.max(axis=0)
        overall = highest + np.log(np.exp(some - highest).mean(axis=0))
        given[:, part] = some - weight * overall
    return given


def _log_product(probabilities: Float32, least: float) -> Float32:
    """The sum of logarithms down the columns: of products of as many rows as cannot underflow, since logarithms are what takes long."""
    together = max(1, int(np.log(SMALLEST) / np.log(least)))
    whole = len(probabilities) // together * together
    groups = probabilities[:whole].reshape(-1, together, probabilities.shape[1]).prod(axis=1)
    rest = probabilities[whole:].prod(axis=0)
    return np.asarray(np.log(groups).sum(axis=0) + np.log(rest), np.float32)


def _powers(images: Float32, words: Float32, sharpness: float) -> Iterator[tuple[slice, Float32]]:
    """Exp of sharpened likenesses; cosines are at most 1, so that none is too large to add up."""
    for part, likeness in _likenesses(images, words):
        likeness *= sharpness
        yield part, np.exp(likeness, out=likeness)


def _likenesses(images: Float32, words: Float32) -> Iterator[tuple[slice, Float32]]:
    """Yield (words, likenesses `[images, those words]`)."""
    for part in _chunks(len(words), len(images)):
        yield part, images @ words[part].T


def _chunks(number: int, length: int) -> Iterator[slice]:
    """Slices of `number` rows of `length` float32 each, as many as fit in `CHUNK_BYTES`."""
    step = max(1, CHUNK_BYTES // (4 * max(length, 1)))
    for start in range(0, number, step):
        yield slice(start, min(start + step, number))


def _places(likeness: Float32) -> npt.NDArray[np.integer]:
    """`[words, images]`: place among the images, from 0, equal ones sharing it; 16 bits where they do."""
    columns = np.ascontiguousarray(likeness.T)
    order = columns.argsort(axis=1)
    ordered = np.take_along_axis(columns, order, axis=1)
    rises = np.zeros(columns.shape, np.uint16 if len(likeness) <= 65_536 else np.int64)
    np.cumsum(ordered[:, 1:] > ordered[:, :-1], axis=1, dtype=rises.dtype, out=rises[:, 1:])
    places = np.empty_like(rises)
    np.put_along_axis(places, order, rises, axis=1)
    return places


def _cubes(values: Float32) -> Float32:
    return values * values * values


def _cubed(columns: Float32) -> Float32:
    cubes = _cubes(columns - columns.mean(axis=0))
    norms: Float32 = np.linalg.norm(cubes, axis=0)
    return np.asarray(cubes / np.maximum(norms, CUBED_MIN_NORM), np.float32)
