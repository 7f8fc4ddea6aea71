"""How fast the catalogue is and what it needs: whole searches, searches after a change, growth, indexing.

    python benchmarks/catalog_speed.py --part scale --items 100000   searches and changes, beside bare LanceDB and SQLite
    python benchmarks/catalog_speed.py --part growth     bytes on disk by number of items, and when every item is replaced
    python benchmarks/catalog_speed.py --part indexing   items a second beside a bare loop, peak memory by number of items
    python benchmarks/catalog_speed.py --part events     rates and an experiment of a week of 10⁶ events, beside reading them

No number here depends on what a model has learnt.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import catalog_scale
import numpy as np
import torch

from synesthete.catalog import Catalog, Item
from synesthete.catalog.encode import Batch
from synesthete.catalog.events import EventLog
from synesthete.catalog.metrics import assign, compare, summarize
from synesthete.catalog.store.table import ItemTable
from synesthete.probes import load_probes
from synesthete.probes.decoding import decode
from synesthete.probes.probe_set import ProbeSet

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.oracles import visitors as oracle


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "scale": catalog_scale.scale,
        "growth": growth,
        "indexing": indexing,
        "events": events,
    }
    parser.add_argument("--part", choices=parts, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--items", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--events-url", help="a PostgreSQL database; without it SQLite in a file")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak-of", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where the catalogue is built, and stays")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(json.dumps(peak_here(options)))
        return
    print(json.dumps({"part": options.part, **parts[options.part](options)}, indent=1))


def growth(options: argparse.Namespace) -> dict[str, Any]:
    """Bytes on disk, vectors given, items without thumbnails; then every item replaced, in the batches that `upsert` makes."""
    found: dict[str, Any] = {"batch": 256}
    for count in (options.vectors // 10, options.vectors):
        with tempfile.TemporaryDirectory() as folder:
            result = Catalog.create(Path(folder) / "big.catalog", options.model)
            started = time.perf_counter()
            fill(result, count, 256)
            took = time.perf_counter() - started
            once = catalog_scale.on_disk(result.path)
            started = time.perf_counter()
            fill(result, count, 256, seed=1)
            again = time.perf_counter() - started
            twice = catalog_scale.on_disk(result.path)
            found[f"{count} items"] = {
                "bytes an item": round(once / count),
                "of that vectors and units": 2
                * (2 * result.model.embedding_dim + result.manifest["model"]["units"]),
                "written in s": round(took, 1),
                "all replaced in s": round(again, 1),
                "bytes an item, all replaced": round(twice / count),
            }
    found["peak memory MB"] = catalog_scale.peak()
    return found


def fill(result: Catalog, count: int, size: int, seed: int = 0) -> None:
    """Synthetic items with clustered vectors, committed and merged as `upsert` does it, without a model."""
    dim, units = result.model.embedding_dim, result.manifest["model"]["units"]
    table = ItemTable(result.path)
    rng = np.random.default_rng(seed)
    for start in range(0, count, size):
        some = min(size, count - start)
        vectors = clustered(2 * some, dim, start + seed).astype(np.float16)
        items = [
            Item(f"item {start + i:08d}", title=f"thing {i % 977}", price=float(i % 50))
            for i in range(some)
        ]
        answers = rng.random((some, units), np.float32).astype(np.float16)
        nothing: list[bytes | None] = [None] * some
        table.commit(
            Batch(
                items=items,
                digests=[f"{seed}"] * some,
                images=vectors[:some],
                texts=vectors[some:],
                units=answers,
                thumbnails=nothing,
            )
        )
    table.tidy()
    table.close()


def indexing(options: argparse.Namespace) -> dict[str, Any]:
    """Items a second beside a bare loop over the same images, and peak memory in fresh processes."""
    found: dict[str, Any] = {"threads": options.threads}
    for count in options.items:
        command = [sys.executable, __file__, "--part", "indexing", "--peak-of", str(count)]
        command += ["--model", options.model, "--threads", str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"{count} items"] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_here(options: argparse.Namespace) -> dict[str, Any]:
    """Index so many of the built-in images, with their concept and caption."""
    probes = load_probes("concepts", texts=False)
    with tempfile.TemporaryDirectory() as folder:
        result = Catalog.create(Path(folder) / "new.catalog", options.model)
        base = catalog_scale.peak()
        started, processor = time.perf_counter(), time.process_time()
        written = result.upsert(real(probes, options.peak_of))
        took, spent = time.perf_counter() - started, time.process_time() - processor
        assert written.added == options.peak_of
        top = catalog_scale.peak()
        some = [decode(bytes(item.images[0])) for item in real(probes, 256)]  # type: ignore[arg-type]
        started, processor = time.perf_counter(), time.process_time()
        for start in range(0, 256, 32):
            result.model.encode_images(
                torch.stack([result.model.preprocess(p) for p in some[start : start + 32]])
            )
        bare, bare_spent = time.perf_counter() - started, time.process_time() - processor
        return {
            "items per second": options.peak_of / took,
            "processor ms an item": 1000 * spent / options.peak_of,
            "bare encode_images, images per second": 256 / bare,
            "bare encode_images, processor ms an image": 1000 * bare_spent / 256,
            "peak memory MB": top,
            "of that before indexing": base,
        }


def events(options: argparse.Namespace) -> dict[str, Any]:
    """A week of a shop's visitors, all in one experiment: rates and the experiment by SQL, and as they were before, by reading it.

    With a PostgreSQL database, its processor time is not in these numbers; the clock's is.
    """
    with tempfile.TemporaryDirectory() as folder:
        now = datetime(2026, 5, 8, tzinfo=UTC)
        log = EventLog(folder, now=lambda: now, url=options.events_url)
        found: dict[str, Any] = {"events": options.events}
        rows = visits(options.events, now - timedelta(days=7))

        def timed(name: str, work: Callable[[], Any]) -> Any:
            clock, processor = time.perf_counter(), time.process_time()
            value = work()
            spent = time.process_time() - processor
            found[name] = {
                "processor ms": round(1000 * spent, 1),
                "clock ms": round(1000 * (time.perf_counter() - clock), 1),
            }
            return value

        def add_all() -> None:
            while some := list(islice(rows, 5000)):
                log.take(some, history=True)

        timed("all added, 5,000 at once", add_all)
        found["bytes an event"] = round(catalog_scale.on_disk(Path(folder)) / options.events)
        one = {"key": "one more", "kind": "impression", "item": "i1", "subject": "v1", "list": "l"}
        timed("one more added", lambda: log.take([one]))
        again = EventLog(folder, now=lambda: now, url=options.events_url)
        summary = timed("rates", lambda: summarize(again))
        compared = timed("experiment", lambda: compare(again, "home"))
        timed("experiment, value", lambda: compare(again, "home", "value", cap=100.0))
        timed("number of events of each kind", again.counts)
        found["impressions"], found["visitors"] = summary.total.impressions, summary.total.visitors
        found["visitors of A and B"] = [compared.lift.a.n, compared.lift.b.n]
        before = timed("rates, read one by one", lambda: oracle.summarize(again.read()))
        assert before.total.click == summary.total.click
        mine = lambda: again.read(experiment="home")  # noqa: E731
        before = timed("experiment, read one by one", lambda: oracle.compare(mine(), "home"))
        assert before.lift == compared.lift
        timed("a visitor forgotten", lambda: again.forget("v1"))
        found["peak memory MB"] = catalog_scale.peak()
        return found


def visits(count: int, start: datetime) -> Iterator[dict[str, Any]]:
    """Events of visitors who look at lists of 20 items, in the order of their times."""
    rng = np.random.default_rng(0)
    lists = count // 21
    seconds = np.sort(rng.uniform(0, 7 * 86_400 - 3600, lists))
    who = rng.zipf(1.6, lists * 2) % (lists // 3)
    answers = {"click": 0.045, "add": 0.011, "conversion": 0.004, "dismissal": 0.005}
    number_of = 0
    for number, second in enumerate(seconds):
        at = start + timedelta(seconds=float(second))
        subject = f"v{rng.integers(lists // 2) if number % 3 else who[number]}"
        common = {"subject": subject, "list": f"l{number}", "experiment": "home"}
        common["variant"] = assign(subject, "home")
        for position, item in enumerate(rng.integers(0, 2000, 20), start=1):
            number_of += 1
            place = {**common, "item": f"i{item}", "position": position, "at": at.isoformat()}
            yield {**place, "key": f"e{number_of}", "kind": "impression"}
            for kind, chance in answers.items():
                if rng.random() < chance:
                    number_of += 1
                    later = (at + timedelta(seconds=float(rng.exponential(300)))).isoformat()
                    value = round(float(rng.lognormal(3, 1)), 2) if kind == "conversion" else 0.0
                    yield {
                        **place,
                        "key": f"e{number_of}",
                        "kind": kind,
                        "at": later,
                        "value": value,
                    }


def real(probes: ProbeSet, count: int) -> Iterator[Item]:
    """As many of the built-in images, evenly, each an item with its concept as title and its caption as description."""
    if count > len(probes):
        raise SystemExit(f"there are {len(probes):,} built-in images, not {count:,}")
    labels = probes.labels.select(["concept", "caption"]).to_pylist()
    for row in np.linspace(0, len(probes) - 1, count).astype(int).tolist():
        stream = io.BytesIO()
        probes.image(row).convert("RGB").save(stream, "JPEG")
        title, caption = labels[row]["concept"], labels[row]["caption"]
        yield Item(
            f"{row:07d}", title=title, description=caption or "", images=(stream.getvalue(),)
        )


def clustered(count: int, dim: int, seed: int = 0) -> Any:
    """Unit vectors around 1,000 centres, as a shop's kinds of products."""
    centres = np.random.default_rng(12345).normal(size=(1000, dim)).astype(np.float32)
    rng = np.random.default_rng(seed)
    result = centres[rng.integers(0, 1000, count)]
    result = result + np.float32(0.7) * rng.standard_normal((count, dim), np.float32)
    return np.asarray(result / np.linalg.norm(result, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()
