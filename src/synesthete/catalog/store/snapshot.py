"""A catalogue at one moment: its items in the order of their ids, their vectors, and the index over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Float32, Float64, Int64
from synesthete.catalog.encode import Space, make_space
from synesthete.catalog.reference import Reference
from synesthete.catalog.schema import Item
from synesthete.catalog.store.centroids import Sums, sums_of
from synesthete.catalog.store.ledger import Ledger
from synesthete.catalog.store.nearest import IVF_ABOVE, Nearest
from synesthete.catalog.store.segments import Segment
from synesthete.errors import SynestheteError, near

T = TypeVar("T")

CHUNK = 16384


@dataclass(frozen=True, kw_only=True)
class Change:
    """From one snapshot to the next.

    Attributes
    ----------
    source
        For every row of the new one, the row of the old one that is the same item, or -1.
    fresh
        Rows of the new one that are new or other than before.
    gone
        Rows of the old one that are other now, or no more.
    rows_before
        How many rows the old one has.
    ground
        Whether the centres are the same, so that what was computed of vectors holds.
    """

    source: Int64
    fresh: Int64
    gone: Int64
    rows_before: int
    ground: bool


class Snapshot:
    """Taken when it is made; it never changes.

    What takes long (the index, what unrelated queries score) is taken over from the snapshot before, but for the
    items that changed, and equals what would be computed from scratch.

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
    before
        The snapshot before this one.

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
        photos: tuple[Float64, int] | None = None,
        ivf_above: int = IVF_ABOVE,
        before: Snapshot | None = None,
    ) -> None:
        self.reference = reference
        self.layer = layer
        known = {one.name: one for one in before._segments} if before else {}
        moment = ledger.snapshot(known)
        self.generation, live = moment.generation, moment.live
        self._segments: list[Segment] = moment.segments
        self.ids: list[str] = [one for one, _, _ in live]
        self._row_of = {one: row for row, one in enumerate(self.ids)}
        order = {segment.name: place for place, segment in enumerate(self._segments)}
        self._segment = np.array([order[name] for _, name, _ in live], np.int32)
        self._local = np.array([row for _, _, row in live], np.int64)
        self._sums = moment.sums
        self._photos = photos
        self._ivf_above = ivf_above
        self._lock = threading.RLock()
        self._kept: dict[Any, Any] = {}
        self._updates: dict[Any, Callable[[Any, Snapshot, Snapshot, Change], Any]] = {}
        if before is not None:
            self._take_over(before)

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
        """`images`, `texts` or `units` of some rows, or of all."""
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

    def computed(
        self,
        key: Any,
        make: Callable[[], T],
        update: Callable[[T, Snapshot, Snapshot, Change], T | None] | None = None,
    ) -> T:
        """What was made under a key before, or is made now; safe for threads.

        Parameters
        ----------
        update
            Makes of it what the next snapshot has under this key, given both snapshots and what changed; None: computed again.
        """
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                if update is not None:
                    self._updates[key] = update
            found: T = self._kept[key]
            return found

    @cached_property
    def sums(self) -> Sums:
        """What the centres are made of: kept in the ledger, or of the items as they are."""
        if self._sums is not None:
            return self._sums
        rows = [np.sort(self._local[self._segment == at]) for at in range(len(self._segments))]
        found = sums_of(zip(self._segments, rows, strict=True))
        dim, units = self.reference.text_vectors.shape[1], len(self.reference.unit_mean)
        nothing = (np.zeros(dim), 0)
        return found or Sums(nothing, nothing, (np.zeros(units), 0))

    @cached_property
    def space(self) -> Space:
        """Centres of this catalogue."""
        return make_space(
            self.sums.images,
            self.sums.texts,
            self.reference.image_vectors,
            self.reference.text_vectors,
            self._photos,
        )

    @property
    def nearest(self) -> Nearest:
        """The index over the fused vectors."""
        return self.computed("nearest", self._index, _index_changed)

    def fused(self, rows: Int64) -> Float32:
        """Fused unit vectors of some rows, as the index holds them."""
        return self.nearest.vectors(np.asarray(rows, np.int64))

    def fuse(self, rows: Int64) -> Float32:
        """Fused vectors of some rows, computed."""
        return self.space.fuse(self.gather("images", rows), self.gather("texts", rows))

    def _take_over(self, before: Snapshot) -> None:
        """Whatever the snapshot before has made and can be brought up to date."""
        with before._lock:
            kept = {key: (before._kept[key], update) for key, update in before._updates.items()}
        if not kept:
            return
        change = self._change(before)
        for key, (value, update) in kept.items():
            updated = update(value, before, self, change)
            if updated is not None:
                self._kept[key], self._updates[key] = updated, update

    def _change(self, before: Snapshot) -> Change:
        source = np.array([before._row_of.get(one, -1) for one in self.ids], np.int64)
        place = {one.name: at for at, one in enumerate(before._segments)}
        segment = np.array([place.get(one.name, -1) for one in self._segments], np.int64)
        if len(before):
            there = (source >= 0) & (segment[self._segment] == before._segment[source])
            source = np.where(there & (self._local == before._local[source]), source, -1)
        kept = np.zeros(len(before), bool)
        kept[source[source >= 0]] = True
        mine, theirs = self.space, before.space
        ground = np.array_equal(mine.image_centre, theirs.image_centre) and np.array_equal(
            mine.text_centre, theirs.text_centre
        )
        return Change(
            source=source,
            fresh=np.flatnonzero(source < 0),
            gone=np.flatnonzero(~kept),
            rows_before=len(before),
            ground=ground,
        )

    def _index(self) -> Nearest:
        dim = self.reference.text_vectors.shape[1]
        vectors = (self.fuse(rows) for rows in self._chunks())
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


def _index_changed(
    index: Nearest, _before: Snapshot, snapshot: Snapshot, change: Change
) -> Nearest | None:
    kind = "flat" if len(snapshot) <= snapshot._ivf_above else "ivf"
    if not change.ground or kind != index.kind:
        return None
    return index.changed(change.source, snapshot.fuse(change.fresh))
