"""CLIP-Dissect in its plain formulation: all likenesses of images and words in memory at once, a gather per unit.

The steps of the authors' similarity.py (arXiv 2204.10965), with their constants, in numpy; what
synesthete.analysis.naming is timed against.
"""

from __future__ import annotations

import numpy as np


def soft_wpmi(activations: np.ndarray, images: np.ndarray, words: np.ndarray) -> np.ndarray:
    """softWPMI, `[units, words]`."""
    likely, rows = _softmax(10 * (images @ words.T)), _top(activations, 100)
    share = 0.998 - np.arange(100, dtype=np.float32)[:, None] / 100 * np.float32(0.998 - 0.97)
    given = [np.log(1 + share * (likely[mine] - 1) + np.float32(1e-7)).sum(0) for mine in rows]
    return _information(np.stack(given), 1.0)


def wpmi(activations: np.ndarray, images: np.ndarray, words: np.ndarray) -> np.ndarray:
    """WPMI, `[units, words]`."""
    likely, rows = _softmax(2 * (images @ words.T)), _top(activations, 28)
    given = [np.log(likely[mine] + np.float32(1e-7)).sum(0) for mine in rows]
    return _information(np.stack(given), 0.6)


def rank_reorder(activations: np.ndarray, images: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Rank reorder, `[units, words]`, divided by the error of five random orders as the authors do."""
    likeness, count = images @ words.T, int(len(activations) * 0.05)
    rng, out = np.random.default_rng(0), []
    for unit, mine in enumerate(_top(activations, count)):
        some = likeness[mine]
        values = activations[mine, unit].astype(np.float32)
        ranks = some.argsort(axis=0).argsort(axis=0)
        error = (np.abs(values[:, None] - values[::-1][ranks]) ** 3).mean(0)
        orders = np.stack([rng.permutation(values) for _ in range(5)])
        with np.errstate(invalid="ignore"):
            scale = (np.abs(values - orders) ** 3).mean() * np.sqrt(some.mean(0))
        out.append(np.nan_to_num(-error / scale, nan=-np.inf))
    return np.stack(out)


def cos_cubed(activations: np.ndarray, images: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Cosine cubed, `[units, words]`."""
    return _cubed(activations.astype(np.float32)).T @ _cubed(images @ words.T)


PLAIN = {
    "softwpmi": soft_wpmi,
    "wpmi": wpmi,
    "rank-reorder": rank_reorder,
    "cos-cubed": cos_cubed,
}


def needs(images: int, words: int) -> int:
    """Bytes that the plain formulation holds at its peak: the likenesses and two copies in steps."""
    return 3 * 4 * images * words


def _softmax(values: np.ndarray) -> np.ndarray:
    likely = np.exp(values - values.max(1, keepdims=True))
    return likely / likely.sum(1, keepdims=True)


def _top(activations: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-activations.T.astype(np.float32), axis=1, kind="stable")[:, :count]


def _information(given: np.ndarray, weight: float) -> np.ndarray:
    highest = given.max(0)
    return given - weight * (highest + np.log(np.exp(given - highest).mean(0)))


def _cubed(columns: np.ndarray) -> np.ndarray:
    cubes = (columns - columns.mean(0)) ** 3
    return cubes / np.maximum(np.linalg.norm(cubes, axis=0), 1e-3)
