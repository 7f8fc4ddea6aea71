"""A catalogue at one moment: a version of its table, the space of its vectors, and what was computed of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Float32, Float64, Int64
from synesthete.catalog.encode import PHOTO_PRIOR, Space, centre_of
from synesthete.catalog.reference import Reference
from synesthete.catalog.schema import Item
from synesthete.catalog.store.centres import Centres, array_of
from synesthete.catalog.store.table import (
    ITEM_COLUMNS,
    ItemTable,
    indexed_to,
    item_of,
    probes_of,
    quoted,
)
from synesthete.errors import SynestheteError, near

T = TypeVar("T")

SPARE = 8  # lists looked into, for each that the catalogue's own vectors need: queries are less like items than items are
FOUND = ("id", "title", "category", "price", "words", "fused")  # of what a search finds
FRESH = ("id", "revision", "title", "category", "description", "attributes", "fused")
SAME_GROUND = 1e-4  # means of unit vectors, by other machines' rounding
CHUNK, IDS, MOST_FRESH = 256, 1024, 20_000  # items, ids and items at once


@dataclass(frozen=True)
class Rows:
    """Some items, with the columns that were read of them."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ids(self) -> list[str]:
        """Their ids."""
        return self.values("id")

    def values(self, name: str) -> list[Any]:
        """A column."""
        found: list[Any] = self.table[name].to_pylist()
        return found

    @property
    def row_ids(self) -> list[int]:
        """Where they stand in their version of the table."""
        return self.values("_rowid")

    def numbers(self, name: str) -> Float64:
        """A column of numbers `[rows]`."""
        return np.asarray(self.table[name].to_numpy(), np.float64)

    def array(self, name: str) -> Float32:
        """A column of vectors `[rows, width]`; zeros, or NaN for units, where an item has none."""
        return array_of(self.table, name)

    def items(self) -> list[Item]:
        """The items as they were given."""
        return [item_of(row) for row in self.table.select(ITEM_COLUMNS).to_pylist()]

    def take(self, places: Sequence[int]) -> Rows:
        """Some of them, in the order asked for."""
        return Rows(self.table.take(pa.array(places, pa.int64())))


@dataclass(frozen=True)
class _Unindexed:
    """Items that the vector index does not have yet: their places in the table `[items]`, and their vectors `[items, dim]`."""

    row_ids: Int64
    vectors: Float32

    @classmethod
    def of(cls, batches: Sequence[pa.RecordBatch], dim: int) -> _Unindexed:
        """Those of some rows."""
        ids = [batch["_rowid"].to_numpy().astype(np.int64) for batch in batches]
        vectors = [array_of(batch, "fused") for batch in batches]
        return cls(
            np.concatenate([np.zeros(0, np.int64), *ids]),
            np.concatenate([np.zeros((0, dim), np.float32), *vectors]),
        )

    def __add__(self, other: _Unindexed) -> _Unindexed:
        return _Unindexed(
            np.concatenate([self.row_ids, other.row_ids]),
            np.concatenate([self.vectors, other.vectors]),
        )

    def joined(self, near: Rows, vector: Float32, limit: int) -> Rows:
        """The nearest of what the index found (`_distance`, `_rowid`) and these."""
        distances = np.concatenate([near.numbers("_distance"), 1 - self.vectors @ vector])
        ids = np.concatenate([np.array(near.row_ids, np.int64), self.row_ids])
        order = np.argsort(distances, kind="stable")[:limit]
        return Rows(pa.table({"_distance": distances[order], "_rowid": ids[order]}))


class Snapshot:
    """Taken when it is made; it never changes.

    What takes long (what unrelated queries score) is taken over from the snapshot before, but for the items that changed.

    Parameters
    ----------
    items, reference
        Of the catalogue; raises `SynestheteError` where another model wrote the items.
    layer
        Whose units give the reasons.
    photos
        Sum and number of the embeddings of customers' photos.
    before
        The snapshot before this one.

    Attributes
    ----------
    version
        Of the table: its name and number.
    centres
        Of its items' vectors.
    fresh
        The items that came since the snapshot before, while what it has computed is brought up to date.
    only_new
        Whether all others are as they were: none was replaced or deleted.
    moved
        Whether rows have other places in the table than in the snapshot before.
    """

    def __init__(
        self,
        items: ItemTable,
        reference: Reference,
        layer: str,
        *,
        photos: tuple[Float64, int] | None = None,
        before: Snapshot | None = None,
    ) -> None:
        self.reference = reference
        self.layer = layer
        self._table = items.pinned()
        self._items = items
        schema = self._table.schema
        self._probes = probes_of(schema)
        self._indexed_to = indexed_to(schema) if self._probes else 0
        self.version = (self._table.name, int(self._table.version))
        same = before if before is not None and before.version[0] == self.version[0] else None
        # A table keeps the centres that it was made with.
        self.centres: Centres = Centres.of(schema) if same is None else same.centres
        if same is None:
            _refuse_other(self.centres, reference)
        with items.errors():  # at once: later this version of the table may be gone
            self._count = int(self._table.count_rows())
        self._photos = photos
        self.fresh: list[pa.RecordBatch] = []
        self.only_new, self.moved = False, True
        self._before: Snapshot | None = None
        self._lock = threading.RLock()
        self._kept: dict[Any, Any] = {}
        self._updates: dict[Any, Callable[[Any, Snapshot], Any]] = {}
        if same is not None:
            self._take_over(same)

    @property
    def generation(self) -> int:
        """A number that grows with every change of the items."""
        return self.version[1]

    def __len__(self) -> int:
        return self._count

    @cached_property
    def ids(self) -> list[str]:
        """Of all items, sorted."""
        return sorted(one for batch in self.scan(["id"]) for one in batch["id"].to_pylist())

    @cached_property
    def space(self) -> Space:
        """Centres of this catalogue, and of what its customers send."""
        space = self.centres.space
        if self._photos is None:
            return space
        total, count = self._photos
        centre = centre_of(total, count, self.centres.ground_images, PHOTO_PRIOR)
        return replace(space, query_image_centre=centre)

    @property
    def unit_centre(self) -> Float32:
        """Mean answer of every unit, `[units]`."""
        return self.centres.units

    def rows(self, ids: Sequence[str], columns: Sequence[str] = FOUND) -> Rows:
        """Some items, in the order asked for.

        Raises
        ------
        SynestheteError
            No such item; near ids are listed.
        """
        wanted, names = list(dict.fromkeys(ids)), list(dict.fromkeys(["id", *columns]))
        requests = [
            self._query().where(f"id IN ({quoted(wanted[start : start + IDS])})").select(names)
            for start in range(0, len(wanted), IDS)
        ]
        if not requests:
            return Rows(pa.schema([self._table.schema.field(name) for name in names]).empty_table())
        table = pa.concat_tables([found.table for found in self.find(*requests)])
        place = {one: at for at, one in enumerate(table["id"].to_pylist())}
        for one in wanted:
            if one not in place:
                self._no_item(one)
        return Rows(table.take(pa.array([place[one] for one in ids], pa.int64())))

    def there(self, ids: Sequence[str]) -> dict[str, int]:
        """Id to revision of those ids that are in the catalogue."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), IDS):
            where = f"id IN ({quoted(ids[start : start + IDS])})"
            for batch in self.scan(["id", "revision"], where):
                found.update(zip(*(batch[n].to_pylist() for n in ("id", "revision")), strict=True))
        return found

    def items(self, ids: Sequence[str] | None = None) -> Iterator[Item]:
        """Items in the order asked for, or all by id, read in pieces."""
        chosen = self.ids if ids is None else ids
        for start in range(0, len(chosen), CHUNK):
            yield from self.rows(chosen[start : start + CHUNK], ITEM_COLUMNS).items()

    def page(self, after: str, limit: int) -> list[Item]:
        """The items whose ids come next after one, by id."""
        from lancedb.query import ColumnOrdering

        with self._items.errors():
            request = self._table.search().where(f"id > {quoted([after])}")
            request = request.order_by([ColumnOrdering(column_name="id")])
            found = request.select(list(ITEM_COLUMNS)).limit(limit).to_arrow()
        return Rows(found).items()

    def scan(
        self, columns: Sequence[str], where: str | None = None, *, row_ids: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Columns of all items that pass a filter, piece by piece, in no order; with `_rowid`, if that is wanted."""
        with self._items.errors():
            request = self._table.search().select(list(columns)).with_row_id(row_ids)
            yield from (request.where(where) if where else request).to_batches(8192)

    def nearest(
        self,
        vector: Float32,
        limit: int,
        where: str | None = None,
        columns: Sequence[str] = FOUND,
    ) -> Rows:
        """The items whose fused vectors are nearest; above ten thousand items by an index that finds nearly all."""
        (found,) = self.find(self.by_vector(vector, limit, where, columns))
        return found

    def nearest_rows(
        self, vector: Float32, limit: int, where: str | None, *others: Any
    ) -> list[Rows]:
        """Places (`_rowid`) and `_distance` of the items whose fused vectors are nearest; and what other requests find, at once.

        What is not in the index yet is compared here: LanceDB would read and compare again all that it found, too.
        """
        late, request = None, self.by_vector(vector, limit, where, ())
        if self._indexed_to and not where:
            late = self.computed("unindexed", self._unindexed, _more_unindexed)
        near, *found = self.find(request.fast_search() if late is not None else request, *others)
        if late is not None and len(late.row_ids):
            near = late.joined(near, np.asarray(vector, np.float32), limit)
        return [near, *found]

    def _unindexed(self) -> _Unindexed | None:
        """None where they are too many to compare all."""
        found, count = [], 0
        for batch in self.scan(["fused"], f"revision > {self._indexed_to}", row_ids=True):
            found.append(batch)
            count += len(batch)
            if count > MOST_FRESH:
                return None
        return _Unindexed.of(found, len(self.centres.images))

    def matching(self, text: str, limit: int) -> Rows:
        """Ids of the items that have any of the words, the best BM25 score first."""
        (found,) = self.find(self.by_words(text, limit, columns=("id",)))
        return found

    def find(self, *requests: Any) -> list[Rows]:
        """What some requests find (as of `by_vector` and `by_words`), carried out at once."""
        import asyncio

        from lancedb.background_loop import LOOP

        async def every() -> list[pa.Table]:
            return await asyncio.gather(*(request.to_arrow() for request in requests))

        with self._items.errors():
            return [Rows(table) for table in LOOP.run(every())]

    def taken(self, row_ids: Sequence[int], columns: Sequence[str]) -> Rows:
        """The items at some places of the table, in the order asked for."""
        if not row_ids:
            return self.rows([], columns)
        request = self._table._table.take_row_ids(list(row_ids)).select(list(columns))
        (found,) = self.find(request.with_row_id())
        place = {one: at for at, one in enumerate(found.row_ids)}
        return Rows(found.take([place[one] for one in row_ids]).table.select(list(columns)))

    def by_vector(
        self, vector: Float32, limit: int, where: str | None, columns: Sequence[str]
    ) -> Any:
        """A request for the items whose fused vectors are nearest, for `find`."""
        request = self._query().nearest_to(np.asarray(vector, np.float32)).column("fused")
        request = request.distance_type("dot").select([*columns, "_distance"])
        request = request.with_row_id().limit(limit)
        if self._probes and where:  # and more, where few of what they hold passes a filter
            request = request.minimum_nprobes(self._probes).maximum_nprobes(0)
        elif self._probes:
            # Without a most a search costs three times as much, even where none is needed.
            request = request.nprobes(SPARE * self._probes)
        return request.where(where) if where else request

    def by_words(
        self,
        text: str,
        limit: int,
        where: str | None = None,
        *,
        columns: Sequence[str],
        wrong_letters: int = 0,
    ) -> Any:
        """A request for the items that have any of the words, for `find`: best first, with BM25 scores in `_score`.

        Parameters
        ----------
        wrong_letters
            How many are forgiven, after a word's first.
        """
        from lancedb.query import MatchQuery

        query = MatchQuery(text, "words", fuzziness=wrong_letters, prefix_length=1)
        request = self._query().nearest_to_text(query).select([*columns, "_score"])
        request = request.with_row_id().limit(limit)
        return request.where(where) if where else request

    def _query(self) -> Any:
        # LanceDB's synchronous table asks for the schema three times in every search; the asynchronous one that it wraps does not.
        return self._table._table.query()

    def thumbnail(self, item_id: str) -> bytes | None:
        """The thumbnail of an item."""
        found: bytes | None = self.rows([item_id], ["thumbnail"]).values("thumbnail")[0]
        return found

    def computed(
        self,
        key: Any,
        make: Callable[[], T],
        update: Callable[[T, Snapshot], T] | None = None,
    ) -> T:
        """What was made under a key before, or is made now; safe for threads.

        Parameters
        ----------
        update
            Makes of it what the next snapshot of the same centres has under this key; None: computed again.
        """
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                if update is not None:
                    self._updates[key] = update
            found: T = self._kept[key]
            return found

    def _take_over(self, before: Snapshot) -> None:
        """Whatever the snapshot before has made and can be brought up to date."""
        with before._lock:
            kept = {key: (before._kept[key], update) for key, update in before._updates.items()}
        if not kept:
            return
        self.fresh = list(self.scan(FRESH, f"revision > {before.generation}", row_ids=True))
        self.moved = self._indexed_to != before._indexed_to
        fresh = sum(map(len, self.fresh))
        self.only_new = len(self) - fresh == len(before)
        self._before = before
        if fresh <= MOST_FRESH:
            for key, (value, update) in kept.items():
                self._kept[key], self._updates[key] = update(value, self), update
        self.fresh, self._before = [], None

    def lost(self, columns: Sequence[str]) -> list[pa.RecordBatch] | None:
        """Of items that were replaced or deleted since the snapshot before, what they were there, while what it has computed is
        brought up to date; None where they are too many, or that version of the table is gone.
        """
        before = self._before
        if self.only_new or before is None:
            return [] if self.only_new else None
        came = [one for batch in self.fresh for one in batch["id"].to_pylist()]
        try:
            gone = set(before.there(came))
            if len(before) - len(gone) + len(came) != len(self):  # others were deleted
                there = {one for batch in self.scan(["id"]) for one in batch["id"].to_pylist()}
                were = (one for batch in before.scan(["id"]) for one in batch["id"].to_pylist())
                gone.update(one for one in were if one not in there)
            if len(gone) > MOST_FRESH:
                return None
            return list(before.rows(sorted(gone), columns).table.to_batches())
        except SynestheteError:  # a version of an hour ago may be removed
            return None

    def _no_item(self, item_id: str) -> None:
        options = self.ids if len(self) <= 20_000 else []
        raise SynestheteError(f"no item {item_id!r}", hint=near(item_id, options))


def _more_unindexed(known: _Unindexed | None, snapshot: Snapshot) -> _Unindexed | None:
    """Those of the next snapshot."""
    if snapshot.moved or not snapshot.only_new or known is None:
        return snapshot._unindexed()
    found = known + _Unindexed.of(snapshot.fresh, known.vectors.shape[1])
    return found if len(found.row_ids) <= MOST_FRESH else None


def _refuse_other(centres: Centres, reference: Reference) -> None:
    """Raise where a table's centres are about those of another model's reference."""
    own, given = reference.image_vectors.mean(0), centres.ground_images
    if own.shape != given.shape or not np.allclose(own, given, atol=SAME_GROUND):
        raise SynestheteError(
            "the catalogue's table was written with another model than its reference",
            hint="restore both from one backup, or index the items into a new catalogue",
        )
