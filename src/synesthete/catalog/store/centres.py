"""Centres of a catalogue's vectors: means over its items, frozen, so that one more item moves nobody else's vector.

They are made again, in one go with all fused vectors, when the number of items has doubled or halved since, or when asked to.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Float32
from synesthete.atlas.arrays import read_npz
from synesthete.catalog.encode import PRIOR, Space, centre_of
from synesthete.catalog.reference import Reference
from synesthete.errors import SynestheteError

KEY = b"centres"
VECTORS = ("ground_images", "ground_texts", "ground_units", "images", "texts", "units")


@dataclass(frozen=True, kw_only=True)
class Centres:
    """Means over the items, with the reference counted in, and of the reference alone (`ground_…`).

    Attributes
    ----------
    images, texts
        `[dim]`.
    units
        `[units]`.
    items
        How many items they are of.
    version
        Grows with every recentering; 0 before any item.
    """

    ground_images: Float32
    ground_texts: Float32
    ground_units: Float32
    images: Float32
    texts: Float32
    units: Float32
    items: int = 0
    version: int = 0

    @classmethod
    def of_reference(cls, reference: Reference) -> Centres:
        """Those of a catalogue without items."""
        images, texts = reference.image_vectors.mean(0), reference.text_vectors.mean(0)
        ground = {"images": images, "texts": texts, "units": reference.unit_mean}
        return cls(**ground, **{f"ground_{name}": value for name, value in ground.items()})

    @classmethod
    def of(cls, schema: pa.Schema) -> Centres:
        """Those that a table was written with; raises `SynestheteError` where they are damaged."""
        data = (schema.metadata or {}).get(KEY)
        if data is None:
            raise SynestheteError("the catalogue's table is damaged: it has no centres")
        expected = {**dict.fromkeys(VECTORS, (np.float32, (None,))), "counts": (np.int64, (2,))}
        found = read_npz(base64.b64decode(data), expected, source="the centres of the catalogue")
        items, version = found.pop("counts").tolist()
        return cls(**found, items=items, version=version)

    def to_text(self) -> bytes:
        """As the metadata of a table's schema can hold them."""
        stream = io.BytesIO()
        counts = np.array([self.items, self.version], np.int64)
        np.savez(stream, counts=counts, **{name: getattr(self, name) for name in VECTORS})
        return base64.b64encode(stream.getvalue())

    @property
    def space(self) -> Space:
        """The space of the items; queries have the reference's centres in it."""
        return Space(self.images, self.texts, self.ground_images, self.ground_texts)

    def outgrown(self, items: int) -> bool:
        """Whether so many items are twice as many as the centres are of, or half as many."""
        return items >= 2 * max(self.items, 1) - (self.items == 0) or 2 * items <= self.items


def centres_of(batches: Iterable[pa.RecordBatch], before: Centres) -> Centres:
    """The centres of items, a few thousand at a time; sums are in double precision."""
    totals = {name: np.zeros(len(getattr(before, name))) for name in ("images", "texts", "units")}
    counts, items = dict.fromkeys(totals, 0), 0
    for batch in batches:
        items += len(batch)
        for name in totals:
            values = np.nan_to_num(array_of(batch, name))
            there = values.any(axis=1)
            totals[name] += values[there].sum(axis=0, dtype=np.float64)
            counts[name] += int(there.sum())
    means = {
        name: centre_of(total, counts[name], getattr(before, f"ground_{name}"), PRIOR)
        for name, total in totals.items()
    }
    return replace(before, **means, items=items, version=before.version + 1)


def array_of(table: pa.Table | pa.RecordBatch, name: str) -> Float32:
    """A column of vectors `[rows, width]`; what an item lacks is zeros, or NaN for units."""
    column = table[name]
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    width = table.schema.field(name).type.list_size
    flat = column.flatten().to_numpy(zero_copy_only=False)
    found: Float32 = flat.reshape(-1, width).astype(np.float32)
    if name == "units":
        found[~found.any(axis=1)] = np.nan
    return found
