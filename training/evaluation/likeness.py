"""How near the text tower puts texts that are spelt alike: what it says beyond meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.spelling import ngrams


def nearest_spelt(texts: Sequence[str]) -> np.ndarray:
    """For each of `texts` the place of the one that shares most of its letters and pairs of letters, `[texts]`.

    What is shared is the sum of the smaller counts over the sum of the larger ones (Ružička).
    """
    counts = [ngrams(text) for text in texts]
    column = {gram: i for i, gram in enumerate({gram: None for found in counts for gram in found})}
    table = np.zeros((len(texts), len(column)), np.int16)
    for row, found in zip(table, counts, strict=True):
        for gram, count in found.items():
            row[column[gram]] = count
    nearest = np.empty(len(texts), np.int64)
    for i, row in enumerate(table):
        larger = np.maximum(table, row).sum(1)
        shared = np.minimum(table, row).sum(1) / np.maximum(larger, 1)
        shared[i] = -1
        nearest[i] = shared.astype(np.float32).argmax()
    return nearest


def spelt_alike(model: Any, texts: Sequence[str], nearest: np.ndarray) -> dict[str, Any]:
    """Mean cosine of each of `texts` to the one spelt most like it (`nearest_spelt`), and to all others.

    Texts spelt alike may mean alike too ("flower", "sunflower"): what a tower says of spelling is seen beside one that was
    not taught any.
    """
    rows = model.encode_texts(list(texts))
    cosines = rows @ rows.T
    n = len(texts)
    alike = cosines[np.arange(n), nearest]
    margin = 1.96 * float(alike.std(ddof=1)) / n**0.5
    mean = float(alike.mean())
    return {
        "n": n,
        "nearest": round(mean, 3),
        "interval": [round(mean - margin, 3), round(mean + margin, 3)],
        "others": round(float((cosines.sum() - np.trace(cosines)) / (n * n - n)), 3),
    }
