"""CLIP-Dissect's four scorers: how well each word describes each unit, from images and their likeness to words.

Oikarinen and Weng 2023, *CLIP-Dissect* (arXiv 2204.10965), with the defaults of the authors' code. All take
`activations` `[images, units]`, `images` `[images, dim]` and `words` `[words, dim]`, both of length one, and give
`[units, words]`, higher is better. Likenesses `[images, words]` are never held whole: words come in chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Scorer = Callable[[npt.NDArray[np.floating], Float32, Float32], Float32]

CHUNK_BYTES = 32_000_000  # likenesses held at once
MIN_PROBABILITY = 1e-7
SOFT_TOP, SOFT_SHARPNESS, SOFT_WEIGHT = 100, 10.0, 1.0
SOFT_START, SOFT_END = (
    0.998,
    0.97,
)  # probability that the best, the last of the top images is an example
HARD_TOP, HARD_SHARPNESS, HARD_WEIGHT = 28, 2.0, 0.6
REORDER_TOP, REORDER_POWER, REORDER_SCALE = 0.05, 3, 0.5
CUBED_MIN_NORM = 1e-3


def soft_wpmi(
    activations: npt.NDArray[np.floating], images: Float32, words: Float32, *, top: int = SOFT_TOP
) -> Float32:
    """Soft weighted pointwise mutual information over the `top` images, the best counting most."""
    top = min(top, len(activations))
    share = SOFT_START - np.arange(top) / top * (SOFT_START - SOFT_END)

    def of(likely: Float32) -> Float32:
        return np.asarray(np.log1p(share[:, None] * (likely - 1) + MIN_PROBABILITY), np.float32)

    return _mutual_information(activations, images, words, top, SOFT_SHARPNESS, SOFT_WEIGHT, of)


def wpmi(
    activations: npt.NDArray[np.floating], images: Float32, words: Float32, *, top: int = HARD_TOP
) -> Float32:
    """Weighted pointwise mutual information (Oikarinen and Weng's form of MILAN's), `top` images alike."""

    def of(likely: Float32) -> Float32:
        return np.asarray(np.log(likely + MIN_PROBABILITY), np.float32)

    top = min(top, len(activations))
    return _mutual_information(activations, images, words, top, HARD_SHARPNESS, HARD_WEIGHT, of)


def rank_reorder(activations: npt.NDArray[np.floating], images: Float32, words: Float32) -> Float32:
    """Minus the error of a unit's top 5 % activations when they are reordered by likeness to the word.

    The authors divide by the error of five random orders; here by its expectation over all orders, which is
    the same for every word of a unit. Where the mean likeness is not positive the measure is undefined
    and the score is -inf.
    """
    count = max(2, int(len(activations) * REORDER_TOP))
    rows = top_images(activations, count)
    out = np.empty((activations.shape[1], len(words)), np.float32)
    for part, likeness in _likenesses(images, words):
        for unit in range(len(out)):
            values = np.asarray(activations[rows[unit], unit], np.float64)
            some = likeness[rows[unit]]
            ranks = some.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
            error = (np.abs(values[:, None] - values[::-1][ranks]) ** REORDER_POWER).mean(0)
            chance = (np.abs(values[:, None] - values) ** REORDER_POWER).mean()
            mean = some.mean(0)
            with np.errstate(invalid="ignore", divide="ignore"):
                score = -error / max(chance, 1e-30) / np.sqrt(np.where(mean > 0, mean, np.nan))
            out[unit, part] = np.where(np.isnan(score), -np.inf, score)
    return out


def cos_cubed(activations: npt.NDArray[np.floating], images: Float32, words: Float32) -> Float32:
    """Cosine of the cubes of centred activations and centred likenesses, over all images."""
    units = _cubed(np.asarray(activations, np.float32)).T
    out = np.empty((activations.shape[1], len(words)), np.float32)
    for part, likeness in _likenesses(images, words):
        out[:, part] = units @ _cubed(likeness)
    return out


SCORERS: dict[str, Scorer] = {
    "softwpmi": soft_wpmi,
    "wpmi": wpmi,
    "rank-reorder": rank_reorder,
    "cos-cubed": cos_cubed,
}


def top_images(activations: npt.NDArray[np.floating], count: int) -> Int64:
    """The `count` images that excite each unit most, `[units, count]`, best first, ties by smaller number."""
    values = np.asarray(activations, np.float32).T
    kept = np.argpartition(-values, count - 1, axis=1)[:, :count]
    # Partition breaks ties anyhow; take all that are above the last value, then the smallest numbers.
    last = np.take_along_axis(values, kept, axis=1).min(axis=1, keepdims=True)
    out = np.empty((len(values), count), np.int64)
    for unit, row in enumerate(values):
        among = np.flatnonzero(row >= last[unit])
        out[unit] = among[np.argsort(-row[among], kind="stable")][:count]
    return out


def _mutual_information(
    activations: npt.NDArray[np.floating],
    images: Float32,
    words: Float32,
    top: int,
    sharpness: float,
    weight: float,
    of: Callable[[Float32], Float32],
) -> Float32:
    """Log p(word | top images) - weight * log p(word), p by a softmax over all words."""
    rows = top_images(activations, top)
    used, place = np.unique(rows, return_inverse=True)
    place = place.reshape(rows.shape)
    shown = images[used]
    total = np.full(len(used), -np.inf, np.float32)
    for _, likeness in _likenesses(shown, words):
        likeness *= sharpness
        total = np.logaddexp(total, logsumexp(likeness, axis=1)).astype(np.float32)
    given = np.empty((len(rows), len(words)), np.float32)
    for part, likeness in _likenesses(shown, words):
        likeness *= sharpness
        likeness -= total[:, None]
        likely = np.exp(likeness, out=likeness)
        for unit, mine in enumerate(place):
            given[unit, part] = of(likely[mine]).sum(0, dtype=np.float64)
    overall = logsumexp(given, axis=0) - np.log(len(given))
    return np.asarray(given - weight * overall, np.float32)


def _likenesses(images: Float32, words: Float32) -> Iterator[tuple[slice, Float32]]:
    """Yield (words, likenesses `[images, those words]`)."""
    step = max(1, CHUNK_BYTES // (4 * max(len(images), 1)))
    for start in range(0, len(words), step):
        part = slice(start, min(start + step, len(words)))
        yield part, images @ words[part].T


def _cubed(columns: Float32) -> Float32:
    cubes = (columns - columns.mean(0)) ** 3
    norms: Float32 = np.linalg.norm(cubes, axis=0)
    return np.asarray(cubes / np.maximum(norms, CUBED_MIN_NORM), np.float32)
