"""What a catalogue's vectors add up to: the ground of its centres, kept so that one more item need not move them.

Centres are means over all items, so strictly every change moves them, and with them every fused vector and every score.
The writer therefore keeps the sums of one moment in the ledger, and they stand until more than one item in a thousand
has changed: all readers, whenever they open the catalogue, have the same centres. Below a thousand items every change counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Int64
from synesthete.atlas.arrays import Shape, read_npz
from synesthete.catalog.store.segments import ARRAYS, Segment

STEADY = 1000  # the sums stand while no more than one item in so many has changed
CHUNK = 8192


@dataclass(frozen=True)
class Sums:
    """Sum `[dim]` or `[units]` and number of what is there: items' image vectors, text vectors, unit activations.

    Half-precision numbers add up without rounding in doubles (up to 2²⁹ in all), so the order plays no part.
    """

    images: tuple[Float64, int]
    texts: tuple[Float64, int]
    units: tuple[Float64, int]

    def to_bytes(self) -> bytes:
        """As an `.npz` without pickles."""
        stream = io.BytesIO()
        values = {file: getattr(self, name) for name, file in ARRAYS.items()}
        arrays = {file: total for file, (total, _) in values.items()}
        counts = np.array([count for _, count in values.values()], np.int64)
        np.savez(stream, counts=counts, **arrays)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Sums:
        """Read what `to_bytes` wrote; raises `SynestheteError` where it is damaged."""
        expected: dict[str, tuple[Any, Shape]] = dict.fromkeys(
            ARRAYS.values(), (np.float64, (None,))
        )
        expected["counts"] = (np.int64, (len(ARRAYS),))
        found = read_npz(data, expected, source="the sums of the catalogue")
        counts = found["counts"].tolist()
        totals = (found[file] for file in ARRAYS.values())
        return cls(*zip(totals, counts, strict=True))


def sums_of(parts: Iterable[tuple[Segment, Int64]]) -> Sums | None:
    """Sums over some rows of segments, a few thousand at a time; None where there is no segment."""
    found: dict[str, tuple[Float64, int]] = {}
    for segment, rows in parts:
        for name in ARRAYS:
            values = segment.array(name)
            total, count = found.get(name, (np.zeros(values.shape[1]), 0))
            for start in range(0, len(rows), CHUNK):
                part = values[rows[start : start + CHUNK]]
                # No image: zeros for its vector, NaN for its units.
                there = part[:, 0] == part[:, 0] if name == "units" else part.any(axis=1)
                total = total + part[there].sum(axis=0, dtype=np.float64)
                count += int(there.sum())
            found[name] = total, count
    return Sums(**found) if found else None


def steady(changes: int, items: int) -> bool:
    """Whether so many changes leave the sums of a catalogue of so many items as they were.

    Examples
    --------
    >>> steady(1, 999), steady(1, 1000)
    (False, True)
    """
    return changes * STEADY <= items
