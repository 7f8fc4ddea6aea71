"""Images and texts through a model, in batches, and rates with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.zero_shot import class_embeddings
from training.tiles import on_white

__all__ = ["class_embeddings", "embed", "rate", "tile_image"]


def embed(model: Any, images: Iterable[Image.Image], batch: int = 64) -> np.ndarray:
    """Unit embeddings fp32 `[images, dim]`."""
    import torch

    parts, left = [], iter(images)
    while some := [model.preprocess(image) for image in islice(left, batch)]:
        parts.append(model.encode_images(torch.stack(some)))
    return np.concatenate(parts)


def tile_image(tile: np.ndarray) -> Image.Image:
    """An RGBA tile `[side, side, 4]` of the training data on white."""
    return Image.fromarray(on_white(tile))


def rate(right: Sequence[bool] | np.ndarray) -> dict[str, Any]:
    """Share of what is true, with `n` and the 95 % Wilson interval.

    >>> rate([True, True, False, True])
    {'n': 4, 'rate': 0.75, 'interval': [0.3006, 0.9544]}
    """
    n, hits = len(right), int(np.sum(right))
    low, high = wilson_interval(hits, n)
    return {
        "n": n,
        "rate": round(hits / max(n, 1), 4),
        "interval": [round(low, 4), round(high, 4)],
    }
