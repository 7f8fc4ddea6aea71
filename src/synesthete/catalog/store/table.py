"""The table of a catalogue's items in LanceDB: one row an item, with its fields, vectors, units and searched words.

Writers take turns, so no item is ever in the table twice; readers open a version and wait for nobody.
A new set of centres makes a new table beside the old one, and the location says which of them is the catalogue.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Float32
from synesthete._core.text import storable
from synesthete.atlas.files import DraftInUse
from synesthete.catalog.encode import Batch, Space
from synesthete.catalog.schema import Item, Quarantined, image_name
from synesthete.catalog.store.centres import KEY, Centres, array_of, centres_of
from synesthete.catalog.store.location import ITEMS, Building, Folder, Location
from synesthete.catalog.words import facet, searched
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from lancedb.table import Table

QUARANTINE = "quarantine"
VECTOR_INDEX_ABOVE = 10_000  # items; below, all of them are compared
RECALL, RECALL_QUERIES, RECALL_AT = 0.98, 100, 10
PROBES, INDEXED_TO = b"probes", b"indexed_to"  # in the metadata of the field with the vectors
KEPT_SECONDS = 3600  # how long a reader may go on with what it opened
SMALL, STALE, FRAGMENTS = 10_000, 50, 64
CHUNK, LONGEST_REASON = 4096, 300
# Passes over what others write while centres are made, and how much of it may be left when they wait.
PASSES, FEW = 8, 256
ARRAYS = ("images", "texts", "units")
INDEXED = ("words", "id", "facets")


def schema_of(dim: int, units: int, centres: Centres) -> pa.Schema:
    """The columns of the items' table."""
    text, vector = pa.large_string(), pa.list_(pa.float16(), dim)
    attribute = pa.struct([("name", text), ("values", pa.list_(text))])
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            ("title", text),
            ("description", text),
            ("category", text),
            ("reviews", pa.list_(text)),
            ("price", pa.float64()),
            ("attributes", pa.list_(attribute)),
            ("images_from", pa.list_(text)),
            ("words", text),  # what full text is searched in
            ("facets", pa.list_(pa.string())),  # what filters compare with
            ("digest", pa.string()),
            ("revision", pa.int64()),  # the table's version that the item came with
            ("images", vector),
            ("texts", vector),
            ("units", pa.list_(pa.float16(), units)),
            ("fused", vector),
            ("thumbnail", pa.large_binary()),
        ],
        metadata={KEY: centres.to_text()},
    )


def item_of(row: Mapping[str, Any]) -> Item:
    """A row as the item that was given."""
    return Item(
        row["id"],
        title=row["title"],
        description=row["description"],
        category=row["category"],
        reviews=tuple(row["reviews"]),
        price=row["price"],
        attributes={one["name"]: tuple(one["values"]) for one in row["attributes"]},
        images=tuple(Path(name) for name in row["images_from"]),
    )


ITEM_COLUMNS = (
    "id", "title", "description", "category", "reviews", "price", "attributes", "images_from",
)  # fmt: skip


def probes_of(schema: pa.Schema) -> int:
    """How many lists of the vector index a search looks into, so that it finds what it should; 0 without an index."""
    return _number(schema, PROBES)


def indexed_to(schema: pa.Schema) -> int:
    """Up to which revision the vector index has all items, and since when no row moved; 0 where that is not known."""
    return _number(schema, INDEXED_TO)


def _number(schema: pa.Schema, name: bytes) -> int:
    text = (schema.field("fused").metadata or {}).get(name, b"0")
    if not text.isdigit():
        raise SynestheteError(f"the catalogue's table is damaged: it has no valid {name.decode()}")
    return int(text)


def quoted(values: Iterable[str]) -> str:
    """Texts as a list in SQL."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


class ItemTable:
    """The items of a catalogue; one object may be used by several threads.

    Parameters
    ----------
    location
        Where its tables are; a path is that of a catalogue's folder.
    """

    def __init__(self, location: Location | Path) -> None:
        self._location = Folder(location) if isinstance(location, Path) else location
        self._opened: tuple[str, Table] | None = None
        self._database: Any = None

    @classmethod
    def create(cls, location: Location | Path, dim: int, units: int, centres: Centres) -> ItemTable:
        """An empty table; what a killed creation left is replaced."""
        created = cls(location)
        with created.errors():
            created._location.refuse_taken()
            created._new(f"{ITEMS}1", schema_of(dim, units, centres))
            fields = [("id", pa.string()), ("what", pa.string()), ("reason", pa.string())]
            created._lance().create_table(QUARANTINE, schema=pa.schema(fields), mode="overwrite")
            created._location.start(f"{ITEMS}1")
        return created

    def close(self) -> None:
        """Let go of the table."""
        self._opened = self._database = None

    def version(self) -> tuple[str, int]:
        """The table's name, and a number that grows with every change of it."""
        with self.errors():
            table = self._table()
            return table.name, int(table.version)

    def pinned(self) -> Table:
        """The table as it is now, whatever is written afterwards."""
        with self.errors():
            name, version = self.version()
            table: Table = self._lance().open_table(name)
            table.checkout(version)
            return table

    def count(self) -> int:
        """How many items there are."""
        with self.errors():
            return int(self._table().count_rows())

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """Id to digest, of those that are there."""
        found: dict[str, str] = {}
        with self.errors():
            for start in range(0, len(ids), 500):
                where = f"id IN ({quoted(ids[start : start + 500])})"
                rows = self._table().search().where(where).select(["id", "digest"]).limit(500)
                found.update((row["id"], row["digest"]) for row in rows.to_arrow().to_pylist())
        return found

    def listed(self) -> pa.Table:
        """Id and digest of all items, in no order."""
        with self.errors():
            return self.pinned().search().select(["id", "digest"]).to_arrow()

    def rows(self, ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Columns of some items as they are now, in no order; those that are not there are left out."""
        where = f"id IN ({quoted(ids)})"
        with self.errors():
            found = self._table().search().where(where).select(list(columns)).limit(len(ids))
            rows: list[dict[str, Any]] = found.to_arrow().to_pylist()
        return rows

    def quarantine(self) -> list[Quarantined]:
        """What could not be used, by id."""
        with self.errors():
            rows = self._lance().open_table(QUARANTINE).to_arrow().to_pylist()
            return sorted((Quarantined(**row) for row in rows), key=lambda q: (q.id, q.what))

    def commit(self, batch: Batch, quarantined: Iterable[Quarantined] = ()) -> None:
        """Make a batch's items the present state of their ids: all of them or, after a kill, none."""
        with self._writing():
            self._note([item.id for item in batch.items], quarantined)
            if batch.items:
                table = self._table()
                (
                    table.merge_insert("id")
                    .when_matched_update_all()
                    .when_not_matched_insert_all()
                    .execute(_rows(batch, table.schema, table.version + 1))
                )

    def note(self, quarantined: Sequence[Quarantined]) -> None:
        """Keep what could not be used, with the reasons."""
        if quarantined:
            with self._writing():
                self._note((), quarantined)

    def delete(self, ids: Sequence[str]) -> int:
        """Take items out; returns how many there were."""
        with self._writing():
            there = list(self.digests(ids))
            for start in range(0, len(there), 500):
                self._table().delete(f"id IN ({quoted(there[start : start + 500])})")
            self._note(ids, ())
        return len(there)

    def tidy(self) -> None:
        """Compact, bring the indexes up to date, renew centres that no longer fit, and remove what killed writers left."""
        # Where another process builds, it does so for this one, too: so each looks once more when it has.
        with self.errors(), contextlib.suppress(DraftInUse):
            for _ in range(PASSES):
                if not self._outgrown():
                    break
                with self._location.building() as building:
                    if self._outgrown():
                        self._recenter(building)
        with self._writing():
            self._index()
            aside = self._lance().open_table(QUARANTINE)
            if aside.stats()["fragment_stats"]["num_fragments"] > FRAGMENTS:
                aside.optimize(cleanup_older_than=timedelta(seconds=KEPT_SECONDS))
            self._location.sweep(KEPT_SECONDS)

    def recenter(self) -> int:
        """New centres, of the items as they are, and every fused vector again; returns the centres' version.

        Raises
        ------
        DraftInUse
            Another process does it.
        """
        with self.errors(), self._location.building() as building:
            return self._recenter(building)

    def _outgrown(self) -> bool:
        return Centres.of(self._table().schema).outgrown(self.count())

    def _recenter(self, building: Building) -> int:
        """Build a table with new centres and its indexes, bring over what others write meanwhile, and switch at once."""
        old = self.pinned()
        before = Centres.of(old.schema)
        centres = centres_of(old.search().select(list(ARRAYS)).to_batches(CHUNK), before)
        name = f"{ITEMS}{int(old.name.removeprefix(ITEMS)) + 1}"
        schema = old.schema.with_metadata({KEY: centres.to_text()})
        new = self._new(name, schema, building.database)
        self._fill(new, (_fused(batch, centres.space) for batch in _every(old)))
        version, passes = int(old.version), 0
        changed = FEW + 1
        while changed > FEW and passes < PASSES:
            version, changed = self._catch_up(new, version, centres.space)
            passes += 1
        self._index(new)
        with building.turn():
            self._catch_up(new, version, centres.space)
            building.finish(name)
            self._location.switch(name)
            self._location.sweep(KEPT_SECONDS)
        return centres.version

    def _catch_up(self, new: Table, since: int, space: Space) -> tuple[int, int]:
        """Make of another table what the one in use is now.

        Parameters
        ----------
        since
            The version of the table in use that the other one is made of.

        Returns
        -------
        the version that it is made of now, and how many items changed.
        """
        old = self.pinned()
        changed = old.count_rows(f"revision > {since}")
        if changed:
            rows = old.search().where(f"revision > {since}").to_batches(CHUNK)
            revision = int(new.version) + 1
            fused = (_fused(batch, space, revision) for batch in rows)
            reader = pa.RecordBatchReader.from_batches(new.schema.remove_metadata(), fused)
            merge = new.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(reader)
        gone: list[str] = []
        if new.count_rows() != old.count_rows():
            ids = [table.search().select(["id"]).to_arrow() for table in (new, old)]
            gone = ids[0].join(ids[1], "id", join_type="left anti")["id"].to_pylist()
            for start in range(0, len(gone), 500):
                new.delete(f"id IN ({quoted(gone[start : start + 500])})")
        return int(old.version), changed + len(gone)

    def copy_to(self, location: Location) -> None:
        """All items as they are now, with their centres, and the quarantine; what a killed copy left there is replaced.

        Raises
        ------
        SynestheteError
            Another catalogue's items are there.
        """
        old, copied, name = self.pinned(), ItemTable(location), f"{ITEMS}1"
        with self.errors():
            aside = self._lance().open_table(QUARANTINE).to_arrow()
        with copied.errors():
            location.refuse_taken()
            copied._fill(copied._new(name, old.schema), map(_restarted, _every(old)))
            copied._lance().create_table(QUARANTINE, aside, mode="overwrite")
            location.start(name)  # last of all: until then nobody takes it for a catalogue
        copied.close()

    def _fill(self, new: Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Rows and indexes of a new table, in one commit."""
        new.add(pa.RecordBatchReader.from_batches(new.schema, batches))
        self._index(new)

    def _new(self, name: str, schema: pa.Schema, database: Any = None) -> Table:
        lance = self._lance() if database is None else database
        from lancedb.index import FTS, BTree, LabelList

        at = schema.get_field_index("fused")
        schema = schema.set(at, schema.field(at).remove_metadata())  # of another table's index
        table: Table = lance.create_table(name, schema=schema, mode="overwrite")
        if not schema.field("id").metadata:  # a copied schema has it
            table.set_unenforced_primary_key("id")
        words = FTS(base_tokenizer="icu/split", stem=False, remove_stop_words=False)
        for column, config in zip(INDEXED, (words, BTree(), LabelList()), strict=True):
            table.create_index(column, config=config)
        return table

    def _index(self, table: Table | None = None) -> None:
        """Compact and index what is new, where there is enough of it; the lock is held."""
        from lancedb.index import BTree, IvfFlat

        table = table or self._table()
        rows, stats = len(table), table.index_stats("words_idx")
        new = stats.num_unindexed_rows if stats else 0
        pieces = table.stats()["fragment_stats"]["num_fragments"]
        if pieces > FRAGMENTS or (new and (rows <= SMALL or new * STALE > rows)):
            if indexed_to(table.schema):
                _mark(table, {INDEXED_TO: 0})  # first of all: rows move, and this may be killed
            table.optimize(
                cleanup_older_than=timedelta(seconds=KEPT_SECONDS), delete_unverified=True
            )
        if rows > VECTOR_INDEX_ABOVE and table.index_stats("revision_idx") is None:
            table.create_index("revision", config=BTree())  # by which a search finds what is new
        # Here, since smaller and earlier tables do without.
        if rows > VECTOR_INDEX_ABOVE and table.index_stats("price_idx") is None:
            table.create_index("price", config=BTree())
        if rows > VECTOR_INDEX_ABOVE and table.index_stats("fused_idx") is None:
            lists = int(rows**0.5)
            lists_of = IvfFlat(distance_type="dot", num_partitions=lists, sample_rate=64)
            table.create_index("fused", config=lists_of)
            probes, recall = _measured(table)
            _mark(table, {PROBES: probes, b"recall": recall})
        if not indexed_to(table.schema):
            vectors = table.index_stats("fused_idx")
            if vectors is not None and not vectors.num_unindexed_rows:
                _mark(table, {INDEXED_TO: table.version})

    def missing_indexes(self) -> list[str]:
        """Columns whose index is not there, though searches use it."""
        with self.errors():
            there = {column for index in self._table().list_indices() for column in index.columns}
        return [column for column in INDEXED if column not in there]

    def _note(self, ids: Sequence[str], quarantined: Iterable[Quarantined]) -> None:
        """Forget what was said of items that come or go, and keep the latest of what is said now."""
        # Names of files and what libraries say of them may hold anything.
        new = {(storable(one.id), storable(one.what)): storable(one.reason) for one in quarantined}
        table = self._lance().open_table(QUARANTINE)
        if len(table):
            gone = [f"id = {quoted([one])}" for one in ids]
            gone += [f"(id = {quoted([one])} AND what = {quoted([what])})" for one, what in new]
            for start in range(0, len(gone), 100):
                table.delete(" OR ".join(gone[start : start + 100]))
        if new:
            rows = [Quarantined(*key, reason) for key, reason in new.items()]
            table.add([asdict(row) for row in rows])

    def retire(self) -> None:
        """Let nobody write these items any more; the lock is held."""
        with self.errors():
            self._location.retire()

    def retired(self) -> bool:
        """Whether that was done."""
        with self.errors():
            return self._location.retired()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """While it holds, other writers wait."""
        return self._writing()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self.errors(), self._location.writing():
            yield

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Say in one line what LanceDB and Arrow raise inside."""
        try:
            yield
        except (pa.ArrowException, RuntimeError, ValueError, OSError) as error:
            reason = str(error).split(", /")[0].splitlines()[0][:LONGEST_REASON]
            raise SynestheteError(
                f"{self._location}: {reason}", hint=self._location.hint
            ) from error

    def _table(self) -> Table:
        """The table in use, as it is now."""
        name = self._location.current()
        opened = self._opened
        if opened is None or opened[0] != name:
            self._location.check(name)
            self._opened = opened = (name, self._lance().open_table(name))
        return opened[1]

    def _lance(self) -> Any:
        if self._database is None:
            self._database = self._location.connect()
        return self._database


def _mark(table: Table, facts: Mapping[bytes, float]) -> None:
    """Write numbers into the metadata of the field with the vectors."""
    texts = {name.decode(): str(number) for name, number in facts.items()}
    table.update_field_metadata({"path": "fused", "metadata": texts})


def _rows(batch: Batch, schema: pa.Schema, revision: int) -> pa.Table:
    """A batch as rows of the table."""
    space = Centres.of(schema).space
    fused = space.fuse(batch.images.astype(np.float32), batch.texts.astype(np.float32))
    columns: dict[str, Any] = {
        "digest": batch.digests,
        "revision": [revision] * len(batch.items),
        "thumbnail": batch.thumbnails,
        "images": _vectors(batch.images),
        "texts": _vectors(batch.texts),
        "units": _vectors(batch.units),
        "fused": _vectors(fused.astype(np.float16)),
        "words": [searched(item) for item in batch.items],
        "facets": [
            [facet("category", item.category)] * bool(item.category)
            + [facet(key, v) for key, values in item.attributes.items() for v in values]
            for item in batch.items
        ],
        "attributes": [
            [{"name": key, "values": list(values)} for key, values in item.attributes.items()]
            for item in batch.items
        ],
        "reviews": [list(item.reviews) for item in batch.items],
        "images_from": [[image_name(image) for image in item.images] for item in batch.items],
    }
    for name in ("id", "title", "description", "category", "price"):
        columns[name] = [getattr(item, name) for item in batch.items]
    arrays = [
        column
        if isinstance(column := columns[field.name], pa.Array)
        else pa.array(column, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema.remove_metadata())


def _vectors(values: Any) -> pa.Array:
    """Rows of half precision; what an item lacks is zeros."""
    flat = np.nan_to_num(np.asarray(values, np.float16)).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])


def _every(table: Table) -> Iterable[pa.RecordBatch]:
    """All rows, piece by piece."""
    found: Iterable[pa.RecordBatch] = table.search().to_batches(CHUNK)
    return found


def _restarted(batch: pa.RecordBatch, revision: int = 0) -> pa.RecordBatch:
    """The rows for a table whose versions begin again."""
    at = batch.schema.get_field_index("revision")
    revisions = pa.array(np.full(len(batch), revision, np.int64))
    return batch.set_column(at, batch.schema.field(at), revisions)


def _fused(batch: pa.RecordBatch, space: Space, revision: int = 0) -> pa.RecordBatch:
    """The rows with their fused vectors in another space, for a table whose versions begin again."""
    fused = space.fuse(array_of(batch, "images"), array_of(batch, "texts")).astype(np.float16)
    batch = _restarted(batch, revision)
    at = batch.schema.get_field_index("fused")
    return batch.set_column(at, batch.schema.field(at), _vectors(fused))


def _measured(table: Table) -> tuple[int, float]:
    """The fewest lists that find 98 % of the true nearest ten of a hundred of the table's own vectors, and what they find."""
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(table), RECALL_QUERIES, replace=False)).tolist()
    queries = array_of(table.take_offsets(chosen).select(["fused"]).to_arrow(), "fused")

    def nearest(query: Float32, probes: int) -> set[str]:
        request = table.search(query, vector_column_name="fused").distance_type("dot")
        request = request.nprobes(probes) if probes else request.bypass_vector_index()
        found = request.select(["id", "_distance"]).limit(RECALL_AT).to_arrow()
        return set(found["id"].to_pylist())

    truth = [nearest(query, 0) for query in queries]
    probes, recall = 4, 0.0
    while recall < RECALL and probes < 4096:
        probes *= 2
        hits = [
            len(nearest(query, probes) & right) for query, right in zip(queries, truth, strict=True)
        ]
        recall = sum(hits) / (RECALL_AT * RECALL_QUERIES)
    logging.getLogger(__name__).info("the vector index finds %.3f with %d lists", recall, probes)
    return probes, recall
