"""How well the catalogue finds, whether its reasons are true, how fast it is, and what it needs: one command.

    python benchmarks/catalog.py --part quality        recall and NDCG on a real shop, beside texts, pictures, chance
    python benchmarks/catalog.py --part faithfulness   named units taken away, beside random ones
    python benchmarks/catalog.py --part latency        the index at 10⁵ vectors beside numpy and faiss (--million: 10⁶)
    python benchmarks/catalog.py --part store          a whole search in a catalogue of 10⁵ items, and opening it
    python benchmarks/catalog.py --part indexing       items a second beside a bare loop, peak memory by number of items

The shop is GroceryStoreDataset (Klasson, Zhang, Kjellström, WACV 2019): 81 products as the catalogue, 296 phone photos of its
validation split as queries. The shipped model was trained on photos of its training split (by coarse class: same shops, same
cameras), but on none of these photos, and on none of the studio pictures and descriptions.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from synesthete.catalog import Catalog, Item
from synesthete.catalog.evaluating import bootstrap
from synesthete.catalog.ledger import Ledger
from synesthete.catalog.nearest import Nearest
from synesthete.catalog.queries import Asker
from synesthete.catalog.reasons import unit_shares
from synesthete.catalog.searching import best, search
from synesthete.catalog.segments import Batch
from synesthete.catalog.sources import read_items
from synesthete.models.interventions import Change
from synesthete.probes.decoding import decode

GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery-products"
UNITS, DRAWS, TOP = 10, 5, 3


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "quality": quality,
        "faithfulness": faithfulness,
        "latency": latency,
        "store": store,
        "indexing": indexing,
    }
    parser.add_argument("--part", choices=parts, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--grocery", type=Path, default=GROCERY)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--items", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak-of", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(json.dumps(peak_here(options)))
        return
    print(json.dumps({"part": options.part, **parts[options.part](options)}, indent=1))


def shop(options: argparse.Namespace, folder: str) -> Catalog:
    """The grocery products, indexed."""
    made = Catalog.create(Path(folder) / "shop.catalog", options.model)
    made.upsert(read_items(options.grocery / "products"))
    return made


def photos(options: argparse.Namespace) -> list[tuple[Path, str, str]]:
    """Query photos with the product's id and coarse class."""
    with (options.grocery / "classes.csv").open(encoding="utf-8") as file:
        names = {row["Class ID (int)"]: row for row in csv.DictReader(file)}
    folders = {p.name: p for p in (options.grocery / "products").glob("**/*") if p.is_dir()}
    found = []
    with (options.grocery / "queries.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = names[row["class_id"]]
            place = folders[name["Class Name (str)"]].relative_to(options.grocery / "products")
            path = options.grocery / row["path"]
            found.append((path, place.as_posix(), name["Coarse Class Name (str)"]))
    return found


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """Photos as queries, plain and with the centre of other customers' photos; suggestions and their abstention."""
    with tempfile.TemporaryDirectory() as folder:
        made = shop(options, folder)
        asked = photos(options)
        table = Path(folder) / "queries.csv"

        def evaluate(rows: list[tuple[Path, str, str]]) -> list[Any]:
            lines = []
            for place, (path, item, _) in enumerate(rows):
                (Path(folder) / f"{place}.webp").write_bytes(path.read_bytes())
                lines.append((f"{place}.webp", item))
            with table.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("picture", "relevant"), *lines])
            return made.evaluate(table)

        plain = evaluate(asked)
        coarse = category_recall(made, asked)
        # Each half is answered with the centre learnt from the other; which photo is in which half is drawn.
        half = np.random.default_rng(0).permutation(len(asked)) % 2
        adapted, adapted_coarse = [], []
        for one in (0, 1):
            made.adapt(asked[i][0] for i in np.flatnonzero(half != one))
            mine = [asked[i] for i in np.flatnonzero(half == one)]
            adapted.append(evaluate(mine))
            adapted_coarse += category_recall(made, mine)
        suggested = suggestions(made, [asked[i] for i in np.flatnonzero(half == 1)])
        count = [len(np.flatnonzero(half == one)) for one in (0, 1)]
        return {
            "model": options.model,
            "products": len(made),
            "photos": len(asked),
            "plain": [vars(one) for one in plain],
            "plain category@1": share(coarse),
            "with the centre of other photos, by half": [
                {a.method: {"n": n, "recall@10": a.recall, "ndcg@10": a.ndcg} for a in some}
                for n, some in zip(count, adapted, strict=True)
            ],
            "with the centre of other photos": {
                method: {
                    name: float(
                        np.average([getattr(some[at], name) for some in adapted], weights=count)
                    )
                    for name in ("recall", "ndcg", "mrr")
                }
                for at, method in enumerate(one.method for one in adapted[0])
            },
            "with the centre category@1": share(adapted_coarse),
            "suggest": suggested,
        }


def category_recall(made: Catalog, asked: list[tuple[Path, str, str]]) -> list[bool]:
    """Whether the first item is of the photo's own kind."""
    snapshot = made.snapshot()
    asker = Asker(snapshot, lambda: made.model)
    kinds = snapshot.column("category").to_pylist()
    right = []
    for path, item, _ in asked:
        rows, _ = best(snapshot, asker.query(None, path).vector, 1)
        right.append(kinds[int(rows[0])] == kinds[snapshot.row(item)])
    return right


def suggestions(made: Catalog, asked: list[tuple[Path, str, str]]) -> dict[str, Any]:
    """How often the first category is right, by how confident the answer was."""
    kinds = {item.id: item.category for item in made.items()}
    confidence, right = [], []
    for path, item, _ in asked:
        found = made.suggest(path, threshold=0.0)
        confidence.append(found.confidence)
        right.append(bool(found.categories) and found.categories[0].value == kinds[item])
    values, hits = np.array(confidence), np.array(right)
    thirds = np.quantile(values, [1 / 3, 2 / 3])
    group = np.searchsorted(thirds, values)
    return {
        "n": len(asked),
        "all": share(hits.tolist()),
        "least confident third": share(hits[group == 0].tolist()),
        "most confident third": share(hits[group == 2].tolist()),
        "answered at 0.6": float((values >= 0.6).mean()),
        "right when answered": share(hits[values >= 0.6].tolist()),
    }


def faithfulness(options: argparse.Namespace) -> dict[str, Any]:
    """Switch the named units off in the model, and look at the item's score and rank; the same with random units.

    Queries: the names of the coarse classes; items: the first three of each. Random units are drawn among all, and
    among those that answer to the picture above their mean (a harder control).
    """
    from scipy.stats import spearmanr

    with tempfile.TemporaryDirectory() as folder:
        made = shop(options, folder)
        snapshot, model = made.snapshot(), made.model
        asker = Asker(snapshot, lambda: model)
        vectors, layer = made.vectors(), snapshot.layer
        rng = np.random.default_rng(0)
        drops: dict[str, list[float]] = {"named": [], "random": [], "random active": []}
        ranks: dict[str, list[float]] = {"named": [], "random": [], "random active": []}
        told, real = [], []
        for name in sorted({kind for _, _, kind in photos(options)}):
            query = asker.text(name.replace("-", " ").lower())
            for row in best(snapshot, query, TOP)[0].tolist():
                (item,) = snapshot.items([row])
                pixels = model.preprocess(decode(Path(item.pictures[0]).read_bytes()))[None]
                text = snapshot.gather("texts", np.array([row]))
                shares = unit_shares(snapshot, query, [row])[0]
                answers = (
                    snapshot.gather("units", np.array([row]))[0] - snapshot.reference.unit_mean
                )
                active = np.flatnonzero(answers > 0)
                named = np.argsort(-np.where(answers > 0, shares, 0))[:UNITS]
                scores = vectors @ query

                def without(units: Any) -> tuple[float, float]:
                    change = Change(layer, tuple(int(u) for u in units), scale=0.0)
                    with model.changed([change] if len(units) else []):
                        raw = model.encode_images(pixels)  # noqa: B023
                    score = float(snapshot.space.fuse(raw, text)[0] @ query)  # noqa: B023
                    others = np.delete(scores, row)  # noqa: B023
                    return score, float((others > score).sum())

                whole, rank = without([])
                sets = [("named", named)]
                sets += [
                    ("random", rng.choice(len(shares), UNITS, replace=False)) for _ in range(DRAWS)
                ]
                sets += [
                    ("random active", rng.choice(active, UNITS, replace=False))
                    for _ in range(DRAWS)
                ]
                lost: dict[str, list[tuple[float, float]]] = {}
                for label, units in sets:
                    score, place = without(units)
                    lost.setdefault(label, []).append((whole - score, place - rank))
                    told.append(float(shares[units].sum()))
                    real.append(whole - score)
                for label, pairs in lost.items():
                    drops[label].append(float(np.mean([drop for drop, _ in pairs])))
                    ranks[label].append(float(np.mean([places for _, places in pairs])))
        arrays = {label: np.array(values) for label, values in drops.items()}
        placed = {label: np.array(values) for label, values in ranks.items()}
        return {
            "model": options.model,
            "pairs": len(arrays["named"]),
            "units taken away": UNITS,
            "draws": DRAWS,
            "score lost": {k: [float(v.mean()), *bootstrap(v)] for k, v in arrays.items()},
            "places lost": {k: [float(v.mean()), *bootstrap(v)] for k, v in placed.items()},
            "named minus random": [
                float((arrays["named"] - arrays["random"]).mean()),
                *bootstrap(arrays["named"] - arrays["random"]),
            ],
            "named minus random active": [
                float((arrays["named"] - arrays["random active"]).mean()),
                *bootstrap(arrays["named"] - arrays["random active"]),
            ],
            "named loses more than random active": share(
                (arrays["named"] > arrays["random active"]).tolist()
            ),
            "rank correlation of what was told and what was lost": float(spearmanr(told, real)[0]),
        }


def latency(options: argparse.Namespace) -> dict[str, Any]:
    """One query at a time; truth is the exhaustive search in single precision."""
    import faiss

    faiss.omp_set_num_threads(options.threads)
    count = 1_000_000 if options.million else options.vectors
    dim, queries = 192, 200
    vectors = clustered(count + queries, dim)
    asked, vectors = vectors[:queries], vectors[queries:]
    truth = np.concatenate(
        [
            np.argsort(-(asked[i : i + 10] @ vectors.T), axis=1)[:, :10]
            for i in range(0, queries, 10)
        ]
    )
    started = time.perf_counter()
    exact = Nearest(
        dim, (vectors[i : i + 65536] for i in range(0, count, 65536)), count, ivf_above=count
    )
    built = time.perf_counter() - started
    found: dict[str, Any] = {
        "vectors": count,
        "dim": dim,
        "queries": queries,
        "threads": options.threads,
    }
    flat = faiss.IndexFlatIP(dim)
    flat.add(vectors)

    def plain(query: Any) -> Any:
        scores = vectors @ query[0]
        top = np.argpartition(-scores, 10)[:10]
        return top[np.argsort(-scores[top])]

    rivals = {
        "synesthete, exhaustive": (lambda q: exact.search(q, 10)[1][0], built),
        "numpy, single precision": (plain, 0.0),
        "faiss IndexFlatIP": (lambda q: flat.search(q, 10)[1][0], 0.0),
    }
    if options.million:
        started = time.perf_counter()
        inverted = Nearest(
            dim,
            (vectors[i : i + 65536] for i in range(0, count, 65536)),
            count,
            ivf_above=count - 1,
        )
        took = time.perf_counter() - started
        rivals["synesthete, inverted file"] = (lambda q: inverted.search(q, 10)[1][0], took)
        found["recall that the inverted file tells of itself"] = inverted.recall
    for name, (ask, seconds) in rivals.items():
        ask(asked[:1])
        times, hits = [], 0
        for place in range(queries):
            started = time.perf_counter()
            rows = ask(asked[place : place + 1])
            times.append(time.perf_counter() - started)
            hits += len(set(np.asarray(rows).tolist()) & set(truth[place].tolist()))
        p50, p95 = np.quantile(times, [0.5, 0.95]) * 1000
        found[name] = {
            "p50 ms": p50,
            "p95 ms": p95,
            "recall@10": hits / queries / 10,
            "built in s": seconds,
        }
    found["peak memory MB"] = peak()
    return found


def store(options: argparse.Namespace) -> dict[str, Any]:
    """A catalogue of synthetic items: writing them, opening it, and whole searches with relevance and reasons."""
    with tempfile.TemporaryDirectory() as folder:
        made = Catalog.create(Path(folder) / "big.catalog", options.model)
        dim, units = made.model.embedding_dim, made.manifest["model"]["units"]
        ledger, size = Ledger(made.path), 4096
        rng = np.random.default_rng(0)
        started = time.perf_counter()
        for start in range(0, options.vectors, size):
            some = min(size, options.vectors - start)
            vectors = clustered(2 * some, dim, start).astype(np.float16)
            ledger.commit(
                Batch(
                    [
                        Item(f"item {start + i:08d}", title=f"thing {i % 977}", price=float(i % 50))
                        for i in range(some)
                    ],
                    ["x"] * some,
                    vectors[:some],
                    vectors[some:],
                    rng.random((some, units), np.float32).astype(np.float16),
                    [None] * some,
                )
            )
        ledger.tidy()
        written = time.perf_counter() - started
        started = time.perf_counter()
        snapshot = made.snapshot()
        asker = Asker(snapshot, lambda: made.model)
        query = asker.query("apple", None)
        search(snapshot, query)
        first = time.perf_counter() - started
        found = {
            "items": options.vectors,
            "written in s, vectors given": written,
            "first search, index built and null measured, s": first,
        }
        names = made.reference.concepts[:100]
        for label, settings in (
            ("whole search", {}),
            ("without reasons", {"reasons": 0}),
            ("price<5", {"where": ["price<5"]}),
        ):
            times = []
            for name in names:
                one = asker.query(name, None)
                started = time.perf_counter()
                search(snapshot, one, **settings)
                times.append(time.perf_counter() - started)
            p50, p95 = np.quantile(times, [0.5, 0.95]) * 1000
            found[label] = {"p50 ms": p50, "p95 ms": p95}
        started = time.perf_counter()
        made.upsert([Item("one more", title="one more thing")])
        search(made.snapshot(), asker.query("apple", None))
        found["one upsert and the search after it, s"] = time.perf_counter() - started
        found["peak memory MB"] = peak()
        return found


def indexing(options: argparse.Namespace) -> dict[str, Any]:
    """Items a second beside a bare loop over the same pictures, and peak memory in fresh processes."""
    found: dict[str, Any] = {"threads": options.threads}
    for count in options.items:
        command = [sys.executable, __file__, "--part", "indexing", "--peak-of", str(count)]
        command += ["--model", options.model, "--threads", str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"{count} items"] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_here(options: argparse.Namespace) -> dict[str, Any]:
    """Index so many items with a picture, a title and a description each."""
    with tempfile.TemporaryDirectory() as folder:
        made = Catalog.create(Path(folder) / "new.catalog", options.model)
        base = peak()
        started = time.perf_counter()
        made.upsert(drawn(options.peak_of))
        took = time.perf_counter() - started
        top = peak()
        some = [decode(bytes(item.pictures[0])) for item in drawn(256)]  # type: ignore[arg-type]
        started = time.perf_counter()
        for start in range(0, 256, 32):
            made.model.encode_images(
                torch.stack([made.model.preprocess(p) for p in some[start : start + 32]])
            )
        bare = 256 / (time.perf_counter() - started)
        return {
            "items per second": options.peak_of / took,
            "bare encode_images, pictures per second": bare,
            "peak memory MB": top,
            "of that before indexing": base,
        }


def drawn(count: int) -> Any:
    """Items with pictures of seeded noise, 256 pixels square."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).resize((256, 256)).save(stream, "JPEG")
        yield Item(
            f"{number:07d}",
            title=f"thing {number}",
            description=f"A thing with the number {number}. It is made of noise.",
            pictures=(stream.getvalue(),),
        )


def clustered(count: int, dim: int, seed: int = 0) -> Any:
    """Unit vectors around 1,000 centres, as a shop's kinds of products."""
    centres = np.random.default_rng(12345).normal(size=(1000, dim)).astype(np.float32)
    rng = np.random.default_rng(seed)
    made = centres[rng.integers(0, 1000, count)]
    made = made + np.float32(0.7) * rng.standard_normal((count, dim), np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def share(values: list[bool]) -> dict[str, Any]:
    """A share with its Wilson 95 % interval."""
    from scipy.stats import binomtest

    if not values:
        return {"n": 0}
    interval = binomtest(sum(values), len(values)).proportion_ci(method="wilson")
    return {
        "n": len(values),
        "share": sum(values) / len(values),
        "interval": [interval.low, interval.high],
    }


def peak() -> int:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
