"""Items of a small table, for tests and for the processes that they start."""

from __future__ import annotations

import numpy as np

from synesthete.catalog import Item
from synesthete.catalog.encode import Batch

DIM, UNITS = 4, 6


def batch(items: dict[str, str]) -> Batch:
    """Items with their title as the value; vectors tell the title's length."""
    count = len(items)
    return Batch(
        items=[Item(key, title=value) for key, value in items.items()],
        digests=[f"digest {value}" for value in items.values()],
        images=np.zeros((count, DIM), np.float16),
        texts=np.array([[1 + len(value), 1, 2, 3] for value in items.values()], np.float16),
        units=np.full((count, UNITS), np.nan, np.float16),
        thumbnails=[value.encode() for value in items.values()],
    )
