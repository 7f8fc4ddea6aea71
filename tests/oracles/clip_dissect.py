"""CLIP-Dissect's scorers as their formulas stand, one unit, one word, one image at a time."""

from __future__ import annotations

import math

import numpy as np


def likeness(images: np.ndarray, words: np.ndarray) -> np.ndarray:
    return images.astype(np.float64) @ words.astype(np.float64).T


def softmax_rows(values: np.ndarray, sharpness: float) -> np.ndarray:
    out = np.empty_like(values)
    for i, row in enumerate(values):
        powers = [math.exp(sharpness * (v - row.max())) for v in row]
        out[i] = [p / sum(powers) for p in powers]
    return out


def best_first(column: np.ndarray, count: int) -> list[int]:
    return sorted(range(len(column)), key=lambda i: (-column[i], i))[:count]


def mutual_information(
    activations: np.ndarray, images: np.ndarray, words: np.ndarray, *, top: int, soft: bool
) -> np.ndarray:
    sharpness, weight = (10.0, 1.0) if soft else (2.0, 0.6)
    likely = softmax_rows(likeness(images, words), sharpness)
    units = activations.shape[1]
    given = np.zeros((units, len(words)))
    for u in range(units):
        for k, image in enumerate(best_first(activations[:, u], top)):
            for w in range(len(words)):
                if soft:
                    share = 0.998 - k / top * (0.998 - 0.97)
                    given[u, w] += math.log(1 + share * (likely[image, w] - 1) + 1e-7)
                else:
                    given[u, w] += math.log(likely[image, w] + 1e-7)
    out = np.zeros_like(given)
    for w in range(len(words)):
        highest = given[:, w].max()
        mean = sum(math.exp(value - highest) for value in given[:, w]) / units
        out[:, w] = given[:, w] - weight * (highest + math.log(mean))
    return out


def rank_reorder(activations: np.ndarray, images: np.ndarray, words: np.ndarray) -> np.ndarray:
    like = likeness(images, words)
    count = max(2, int(len(activations) * 0.05))
    out = np.zeros((activations.shape[1], len(words)))
    for u in range(activations.shape[1]):
        rows = best_first(activations[:, u], count)
        values = [float(activations[i, u]) for i in rows]
        chance = sum(abs(a - b) ** 3 for a in values for b in values) / count**2
        ascending = sorted(values)
        for w in range(len(words)):
            mine = [like[i, w] for i in rows]
            rank = {k: r for r, k in enumerate(sorted(range(count), key=lambda k: (mine[k], k)))}
            error = sum(abs(values[k] - ascending[rank[k]]) ** 3 for k in range(count)) / count
            mean = sum(mine) / count
            out[u, w] = -error / chance / mean**0.5 if mean > 0 else -math.inf
    return out


def cos_cubed(activations: np.ndarray, images: np.ndarray, words: np.ndarray) -> np.ndarray:
    like = likeness(images, words)
    out = np.zeros((activations.shape[1], len(words)))
    for u in range(activations.shape[1]):
        a = (activations[:, u] - activations[:, u].mean()) ** 3
        for w in range(len(words)):
            b = (like[:, w] - like[:, w].mean()) ** 3
            out[u, w] = a @ b / max(np.linalg.norm(a), 1e-3) / max(np.linalg.norm(b), 1e-3)
    return out
