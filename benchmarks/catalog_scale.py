"""A catalogue of many items beside bare LanceDB, and SQLite's FTS5 with numpy, on the same rows: times, memory and disk.

    python benchmarks/catalog_speed.py --part scale --items 100000

The items are built-in images with their concept as title, embedded by the model; each is taken many times, with noise on its vectors
and a brand in its title. What embedding costs is measured apart (`--part indexing`).
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from synesthete.catalog import Catalog, Item
from synesthete.catalog.encode import Batch, encode, load
from synesthete.catalog.query_encoder import QueryEncoder
from synesthete.catalog.store.centres import array_of
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.store.table import ItemTable
from synesthete.probes import load_probes

REAL = 512  # images that are embedded
NOISE = 0.3  # length of what is added to a vector, beside its own
SHOWN = ["id", "title", "category", "price"]
BRANDS, QUERIES, CHANGES, INGESTED = 4900, 100, 10, 4096


def main() -> None:
    """Measure one engine and print as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--items", type=int, nargs=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(ENGINES[options.engine](options)))


def scale(options: argparse.Namespace) -> dict[str, Any]:
    """A catalogue of many items, and SQLite's FTS5 with numpy and bare LanceDB on the same rows; every engine in a process of its own.

    Times are of the processor, of all threads, unless they say `s`: other work may share the machine.
    """
    found: dict[str, Any] = {"items": options.items[0], "threads": options.threads}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for engine in ENGINES:
            command = [sys.executable, __file__, "--engine", engine]
            command += ["--folder", str(folder), "--items", str(options.items[0])]
            command += ["--model", options.model, "--threads", str(options.threads)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[engine] = json.loads(done.stdout.splitlines()[-1])
            print(engine, json.dumps(found[engine]), file=sys.stderr)
    requests = found["catalog"]["ms"]["search"]["p50"]
    bare = found["catalog"]["ms"]["text encoded"]["p50"] + found["lancedb"]["ms"]["hybrid"]["p50"]
    found["search / (text encoded + bare LanceDB, hybrid), p50"] = round(requests / bare, 2)
    return found


@dataclass
class Meter:
    """What an engine was measured at."""

    found: dict[str, Any] = field(default_factory=lambda: {"s": {}, "ms": {}})

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """Seconds of the clock."""
        started = time.perf_counter()
        value = work()
        self.found["s"][name] = round(time.perf_counter() - started, 2)
        return value

    def each(self, name: str, work: Callable[[Any], Any], over: Sequence[Any]) -> list[Any]:
        """Milliseconds of the processor for each of many."""
        return self.in_turn({name: work}, over)[name]

    def in_turn(
        self, works: Mapping[str, Callable[[Any], Any]], over: Sequence[Any]
    ) -> dict[str, list[Any]]:
        """The same of several, one after the other for each of many."""
        times: dict[str, list[float]] = {name: [] for name in works}
        values: dict[str, list[Any]] = {name: [] for name in works}
        for one in over:
            for name, work in works.items():
                started = time.process_time()
                values[name].append(work(one))
                times[name].append(1000 * (time.process_time() - started))
        for name, some in times.items():
            p50, p95 = np.quantile(some, [0.5, 0.95])
            self.found["ms"][name] = {"n": len(some), "p50": round(p50, 1), "p95": round(p95, 1)}
        return values

    def changes(self, upsert: Callable[[int], Any], find: Callable[[int], Any]) -> None:
        """One more row, and the search after it, again and again."""
        self.in_turn({"upsert": upsert, "search after it": find}, range(CHANGES))

    def recall(self, name: str, found: list[set[str]], truth: list[set[str]]) -> None:
        """The share of the true nearest that was found."""
        shares = [len(one & right) / len(right) for one, right in zip(found, truth, strict=True)]
        self.found[name] = round(float(np.mean(shares)), 4)


def in_catalog(options: argparse.Namespace) -> dict[str, Any]:
    """Build the catalogue where it is not there yet, and ask it."""
    meter, path = Meter(), options.folder / "big.catalog"
    if path.exists():
        result = Catalog.open(path)
    else:
        result = Catalog.create(path, options.model)
        before = peak()
        real = real_batch(result)
        table, took, count = ItemTable(path), 0.0, options.items[0]
        for start in range(0, count, INGESTED):
            batch = perturbed(real, start, min(INGESTED, count - start))
            started = time.perf_counter()
            table.commit(batch)
            took += time.perf_counter() - started
        meter.found["items a second, vectors given"] = round(count / took)
        meter.once("compaction, centres, indexes", table.tidy)
        table.close()
        meter.found["peak memory MB"] = peak()
        meter.found["of that before the first item"] = before
    texts = queries(result.reference.concepts)
    meter.found["disk MB"] = on_disk(path) >> 20
    meter.each("text encoded", lambda text: result.model.encode_texts([text]), texts)
    snapshot = result.snapshot()
    encoder = QueryEncoder(snapshot, lambda: result.model)
    wanted = [encoder.query(text, None) for text in texts]
    meter.once("first search", lambda: result.search(texts[0]))
    meter.each("search", lambda text: result.search(text), texts)
    meter.each("without reasons", lambda text: result.search(text, reasons=0), texts)
    meter.each("filtered", lambda text: result.search(text, where=["price<5"]), texts)
    near = meter.each("vectors", lambda one: snapshot.nearest(one.vector, 10), wanted)
    truth = [all_compared(snapshot, one.vector) for one in wanted]
    meter.recall("recall@10 of the index", [set(rows.ids) for rows in near], truth)
    meter.found["probes"] = snapshot._probes
    items = [Item(f"new {n}", title=f"{text} again") for n, text in enumerate(texts[:CHANGES])]
    meter.changes(
        lambda number: result.upsert([items[number]]), lambda number: result.search(texts[number])
    )
    meter.found["peak memory MB, with searches"] = peak()
    return meter.found


def in_lancedb(options: argparse.Namespace) -> dict[str, Any]:
    """The same rows in bare LanceDB, with the same kinds of indexes."""
    import lancedb
    from lancedb.index import FTS, BTree, IvfFlat

    meter, before = Meter(), peak()
    catalog = Catalog.open(options.folder / "big.catalog")
    rows, wanted = rows_and_queries(catalog)
    probes = catalog.snapshot()._probes
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        database = lancedb.connect(folder)
        table = meter.once("ingest", lambda: database.create_table("items", rows))
        words = FTS(base_tokenizer="icu/split", stem=False, remove_stop_words=False)
        meter.once("words indexed", lambda: table.create_index("words", config=words))
        meter.once("ids indexed", lambda: table.create_index("id", config=BTree()))

        def by(text: str | None, vector: Any, *, flat: bool = False, where: str = "") -> Any:
            if text is None or vector is None:
                request = table.search(vector if text is None else text, **_kind(text))
            else:
                request = table.search(query_type="hybrid", vector_column_name="fused")
                request = request.vector(vector).text(text)
            if vector is not None:
                request = request.distance_type("dot")
                request = request.bypass_vector_index() if flat else request.nprobes(probes or 20)
            request = request.where(where, prefilter=True) if where else request
            return request.select(SHOWN).limit(10).to_arrow()

        truth = meter.each("vectors, flat", lambda one: by(None, one[1], flat=True), wanted)
        if probes:
            lists = IvfFlat(distance_type="dot", num_partitions=int(len(rows) ** 0.5))
            meter.once("vectors indexed", lambda: table.create_index("fused", config=lists))
            found = meter.each("vectors", lambda one: by(None, one[1]), wanted)
            meter.recall(
                "recall@10 of the index", [_ids(t) for t in found], [_ids(t) for t in truth]
            )
        meter.each("words", lambda one: by(one[0], None), wanted)
        meter.each("hybrid", lambda one: by(*one), wanted)
        meter.each("filtered", lambda one: by(*one, where="price < 5"), wanted)
        meter.found["disk MB"] = on_disk(Path(folder)) >> 20

        def upsert(number: int) -> None:
            one = rows.slice(number, 1).set_column(
                0, rows.schema.field("id"), pa.array([f"newer {number}"])
            )
            merge = table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(one)

        meter.changes(upsert, lambda number: by(*wanted[number]))
    meter.found["peak memory MB"], meter.found["of that before"] = peak(), before
    return meter.found


def in_sqlite(options: argparse.Namespace) -> dict[str, Any]:
    """The same rows in SQLite's FTS5, and a numpy matrix of their vectors in memory."""
    meter, before = Meter(), peak()
    catalog = Catalog.open(options.folder / "big.catalog")
    rows, wanted = rows_and_queries(catalog)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        database = sqlite3.connect(Path(folder) / "items.sqlite")
        database.execute("CREATE TABLE items (at INTEGER PRIMARY KEY, id TEXT UNIQUE, price REAL)")
        database.execute("CREATE INDEX prices ON items (price)")
        database.execute("CREATE VIRTUAL TABLE words USING fts5 (body)")
        lists = [rows[name].to_pylist() for name in ("id", "price", "words")]

        def ingest() -> Any:
            some = zip(range(len(rows)), *lists[:2], strict=True)
            database.executemany("INSERT INTO items VALUES (?, ?, ?)", some)
            pairs = zip(range(len(rows)), lists[2], strict=True)
            database.executemany("INSERT INTO words (rowid, body) VALUES (?, ?)", pairs)
            database.commit()
            return np.concatenate([array_of(b, "fused") for b in rows.to_batches()])

        matrix = meter.once("ingest", ingest)
        room = np.concatenate([matrix, np.zeros((CHANGES, matrix.shape[1]), np.float32)])
        filled = len(matrix)

        def by_vector(vector: Any, among: Any = None, limit: int = 10) -> list[int]:
            scores = room[:filled] @ vector if among is None else room[among] @ vector
            best = np.argpartition(-scores, limit)[:limit]
            best = best[np.argsort(-scores[best])]
            return (best if among is None else among[best]).tolist()

        def by_words(text: str, where: str = "WHERE", limit: int = 10) -> list[int]:
            match = " OR ".join(f'"{word}"' for word in text.split())
            sql = (
                f"SELECT words.rowid FROM words {where} words MATCH ? ORDER BY bm25(words) LIMIT ?"
            )
            return [at for (at,) in database.execute(sql, (match, limit))]

        def both(one: tuple[str, Any], *, cheap: bool = False) -> list[int]:
            among, where = None, "WHERE"
            if cheap:
                sql = "SELECT at FROM items WHERE price < 5"
                among = np.array([at for (at,) in database.execute(sql)])
                where = "JOIN items ON items.at = words.rowid WHERE items.price < 5 AND"
            ranks: dict[int, float] = {}
            for some in (by_vector(one[1], among), by_words(one[0], where)):
                for rank, at in enumerate(some):
                    ranks[at] = ranks.get(at, 0) + 1 / (60 + rank)
            return sorted(ranks, key=lambda at: -ranks[at])[:10]

        meter.each("vectors, flat", lambda one: by_vector(one[1]), wanted)
        meter.each("words", lambda one: by_words(one[0]), wanted)
        meter.each("hybrid", both, wanted)
        meter.each("filtered", lambda one: both(one, cheap=True), wanted)

        def upsert(number: int) -> None:
            nonlocal filled
            database.execute("INSERT INTO items VALUES (?, ?, 1)", (filled, f"newer {number}"))
            database.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (filled, "new"))
            database.commit()
            room[filled] = room[number]
            filled += 1

        meter.changes(upsert, lambda number: both(wanted[number]))
        database.close()
        meter.found["disk MB"] = (on_disk(Path(folder)) + matrix.nbytes) >> 20
    meter.found["peak memory MB"], meter.found["of that before"] = peak(), before
    return meter.found


ENGINES = {"catalog": in_catalog, "lancedb": in_lancedb, "sqlite": in_sqlite}


def rows_and_queries(catalog: Catalog) -> tuple[pa.Table, list[tuple[str, Any]]]:
    """The catalogue's rows, and queries with their vectors: what the other engines are given."""
    snapshot = catalog.snapshot()
    rows = pa.Table.from_batches(snapshot.scan([*SHOWN, "words", "fused"]))
    encoder = QueryEncoder(snapshot, lambda: catalog.model)
    texts = queries(catalog.reference.concepts)
    return rows, [(text, encoder.query(text, None).vector) for text in texts]


def _kind(text: str | None) -> dict[str, str]:
    return {"vector_column_name": "fused"} if text is None else {"query_type": "fts"}


def _ids(table: pa.Table) -> set[str]:
    return set(table["id"].to_pylist())


def all_compared(snapshot: Snapshot, vector: Any) -> set[str]:
    """Ids of the ten nearest, all compared."""
    request = snapshot._table.search(vector, vector_column_name="fused").distance_type("dot")
    return _ids(request.bypass_vector_index().select(["id", "_distance"]).limit(10).to_arrow())


def real_batch(result: Catalog) -> Batch:
    """`REAL` of the built-in images, evenly, as items with their concept as title, embedded by the catalogue's model."""
    probes = load_probes("concepts", texts=False)
    labels = probes.labels.select(["concept", "family"]).to_pylist()
    items = []
    for row in np.linspace(0, len(labels) - 1, REAL).astype(int).tolist():
        stream = io.BytesIO()
        probes.image(row).save(stream, "PNG")
        label = labels[row]
        items.append(
            load(
                Item(
                    str(row),
                    title=label["concept"],
                    category=label["family"],
                    images=(stream.getvalue(),),
                )
            )
        )
    described = result.manifest["model"]
    batch, _ = encode(result.model, described["layer"], described["units"], items)
    return batch


def perturbed(real: Batch, start: int, count: int) -> Batch:
    """So many items from a number on: each a real one with noise of three tenths of its vectors' length, and a brand."""
    rng = np.random.default_rng(start)
    chosen = rng.integers(0, len(real.items), count)

    def near(values: Any) -> Any:
        found = values[chosen].astype(np.float32)
        noise = rng.standard_normal(found.shape, np.float32) / np.float32(found.shape[1] ** 0.5)
        found = found + NOISE * noise * np.linalg.norm(found, axis=1, keepdims=True)
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return (found / np.where(length > 0, length, 1)).astype(np.float16)

    brands = rng.integers(0, BRANDS, count).tolist()
    items = [
        Item(
            f"item-{start + at:08d}",
            title=f"{brand_of(brand)} {real.items[row].title}",
            description=f"Number {start + at} of {brand_of(brand)}.",
            category=real.items[row].category,
            price=float((start + at) % 50),
            attributes={"brand": (brand_of(brand),)},
        )
        for at, (row, brand) in enumerate(zip(chosen.tolist(), brands, strict=True))
    ]
    nothing: list[bytes | None] = [None] * count
    return Batch(
        items=items,
        digests=["0"] * count,
        images=near(real.images),
        texts=near(real.texts),
        units=real.units[chosen],
        thumbnails=nothing,
    )


def brand_of(number: int) -> str:
    """A word that is in no language, the same for the same number."""
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    first, second = divmod(number, len(syllables))
    return "x" + syllables[first % len(syllables)] + syllables[second] + "q"


def queries(concepts: Sequence[str]) -> list[str]:
    """`QUERIES` different texts, a concept with a brand each."""
    rng = np.random.default_rng(1)
    return [
        f"{brand_of(int(rng.integers(0, BRANDS)))} {concepts[int(at)]}"
        for at in np.linspace(0, len(concepts) - 1, QUERIES)
    ]


def on_disk(path: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def peak() -> int:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
