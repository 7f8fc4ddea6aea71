"""A catalogue at one moment: its items in the order of their ids, their vectors, and the index over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.catalog.ledger import Ledger
from synesthete.catalog.nearest import IVF_ABOVE, Nearest
from synesthete.catalog.reference import Reference
from synesthete.catalog.space import Space, make_space
from synesthete.catalog.types import Item
from synesthete.errors import SynestheteError, near

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
T = TypeVar("T")

CHUNK = 16384


class Snapshot:
    """Taken when it is made; it never changes.

    Parameters
    ----------
    ledger, reference
        Of the catalogue.
    layer
        Whose units give the reasons.
    photos
        Sum and number of the embeddings of customers' photos.
    ivf_above
        Above so many items the index is an inverted file.

    Attributes
    ----------
    generation
        Of the ledger when it was taken.
    ids
        Of the items, sorted; rows of every array follow this order.
    """

    def __init__(
        self,
        ledger: Ledger,
        reference: Reference,
        layer: str,
        *,
        photos: tuple[npt.NDArray[np.float64], int] | None = None,
        ivf_above: int = IVF_ABOVE,
    ) -> None:
        self.reference = reference
        self.layer = layer
        self.generation, self._segments, live = ledger.snapshot()
        self.ids: list[str] = [one for one, _, _ in live]
        self._row_of = {one: row for row, one in enumerate(self.ids)}
        order = {segment.name: place for place, segment in enumerate(self._segments)}
        self._segment = np.array([order[name] for _, name, _ in live], np.int32)
        self._local = np.array([row for _, _, row in live], np.int64)
        self._photos = photos
        self._ivf_above = ivf_above
        self._lock = threading.RLock()
        self._kept: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._row_of

    def row(self, item_id: str) -> int:
        """The row of an item.

        Raises
        ------
        SynestheteError
            No such item; near ids are listed.
        """
        if item_id not in self._row_of:
            options = self.ids if len(self.ids) <= 20_000 else []
            raise SynestheteError(f"no item {item_id!r}", hint=near(item_id, options))
        return self._row_of[item_id]

    def gather(self, name: str, rows: Int64 | None = None) -> Float32:
        """`pictures`, `texts` or `units` of some rows, or of all."""
        chosen = np.arange(len(self.ids)) if rows is None else np.asarray(rows, np.int64)
        width = self._segments[0].array(name).shape[1] if self._segments else 0
        found = np.zeros((len(chosen), width), np.float32)
        for place, segment in enumerate(self._segments):
            mine = np.flatnonzero(self._segment[chosen] == place)
            if len(mine):
                found[mine] = segment.array(name)[self._local[chosen[mine]]]
        return found

    def items(self, rows: Sequence[int]) -> Iterator[Item]:
        """Items in the order asked for, read in pieces."""
        for start in range(0, len(rows), 256):
            some = np.asarray(rows[start : start + 256], np.int64)
            found: dict[int, Item] = {}
            for place, segment in enumerate(self._segments):
                mine = some[self._segment[some] == place]
                if len(mine):
                    local = self._local[mine].tolist()
                    found.update(zip(mine.tolist(), segment.rows(local), strict=True))
            for row in some.tolist():
                yield found[row]

    def thumbnail(self, row: int) -> bytes | None:
        """The thumbnail of a row."""
        return self._segments[int(self._segment[row])].thumbnail(int(self._local[row]))

    def column(self, name: str) -> pa.Array:
        """A column of the items' table in the order of the rows; kept."""
        return self.computed(("column", name), lambda: self._column(name))

    def computed(self, key: Any, make: Callable[[], T]) -> T:
        """What was made under a key before, or is made now; safe for threads."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            found: T = self._kept[key]
            return found

    @cached_property
    def space(self) -> Space:
        """Centres of this catalogue."""
        return make_space(
            self._sum("pictures"),
            self._sum("texts"),
            self.reference.picture_vectors,
            self.reference.text_vectors,
            self._photos,
        )

    @property
    def nearest(self) -> Nearest:
        """The index over the fused vectors."""
        return self.computed("nearest", self._index)

    def fused(self, rows: Int64) -> Float32:
        """Fused unit vectors of some rows, as the index holds them."""
        return self.nearest.vectors(np.asarray(rows, np.int64))

    def _sum(self, name: str) -> tuple[npt.NDArray[np.float64], int]:
        """Sum of the vectors that are there, and how many."""
        total, count = np.zeros(self.reference.text_vectors.shape[1], np.float64), 0
        for rows in self._chunks():
            part = self.gather(name, rows).astype(np.float64)
            total += part.sum(0)
            count += int(part.any(axis=1).sum())
        return total, count

    def _index(self) -> Nearest:
        space = self.space
        vectors = (
            space.fuse(self.gather("pictures", rows), self.gather("texts", rows))
            for rows in self._chunks()
        )
        dim = self.reference.text_vectors.shape[1]
        return Nearest(dim, vectors, len(self.ids), ivf_above=self._ivf_above)

    def _chunks(self) -> Iterator[Int64]:
        for start in range(0, len(self.ids), CHUNK):
            yield np.arange(start, min(start + CHUNK, len(self.ids)))

    def _column(self, name: str) -> pa.Array:
        if not self.ids:
            return pa.array([], pa.large_string())
        parts = [segment.columns([name])[name] for segment in self._segments]
        starts = np.cumsum([0, *(len(segment) for segment in self._segments)])
        whole = pa.chunked_array([chunk for part in parts for chunk in part.chunks])
        taken = whole.take(pa.array(starts[self._segment] + self._local))
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken
