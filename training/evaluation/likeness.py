"""How near the text tower puts texts that are spelt alike: what it says beyond meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.spelling import ngrams


def spelt_alike(model: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Mean cosine of each of `texts` to the one that shares most of its letters and pairs of letters, and to all others.

    What is shared is the sum of the smaller counts over the sum of the larger ones (Ružička). Texts spelt alike may mean
    alike too ("flower", "sunflower"): what a tower says of spelling is seen beside one that was not taught any.
    """
    counts = [ngrams(text) for text in texts]
    shared = np.array(
        [[(a & b).total() / max((a | b).total(), 1) for b in counts] for a in counts], np.float32
    )
    np.fill_diagonal(shared, -1)
    rows = model.encode_texts(list(texts))
    cosines = rows @ rows.T
    n = len(texts)
    nearest = cosines[np.arange(n), shared.argmax(1)]
    margin = 1.96 * float(nearest.std(ddof=1)) / n**0.5
    mean = float(nearest.mean())
    return {
        "n": n,
        "nearest": round(mean, 3),
        "interval": [round(mean - margin, 3), round(mean + margin, 3)],
        "others": round(float((cosines.sum() - np.trace(cosines)) / (n * n - n)), 3),
    }
