"""How well the catalogue finds, and whether its reasons are true (how fast it is: `catalog_speed.py`).

    python benchmarks/catalog.py --part quality        recall and NDCG on real groceries, beside texts, images, chance
    python benchmarks/catalog.py --part words          names, misspelt, in other words, Swedish, German, photos, photos with a word, beside baselines
    python benchmarks/catalog.py --part words --grid   the same, and the weights that were tried on the development split
    python benchmarks/catalog.py --part relevance      how often an unrelated word, and a misspelt one, reaches the cut
    python benchmarks/catalog.py --part faithfulness   named units taken away, beside random ones
    python benchmarks/catalog.py --part coverage       conformal sets over 100 splits of real records
    python benchmarks/catalog.py --part confidence     suggestions calibrated on half of the photos, stated and observed on the rest

The catalogue is GroceryStoreDataset (Klasson, Zhang, Kjellström, WACV 2019): 81 products as the catalogue, 296 phone photos of its
validation split as queries. The shipped model was trained on photos of its training split (by coarse class: same shops, same
cameras), but on none of these photos, and on none of the studio images and descriptions.

Queries in other words, in Swedish and in German are in `grocery_queries.csv` beside this file: one of each for every product, written by
hand for this benchmark, without looking at what any method found for them.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synesthete._core.intervals import wilson_interval
from synesthete.catalog import Catalog, Item
from synesthete.catalog.encode import unit_length
from synesthete.catalog.evaluate import categories_by_id
from synesthete.catalog.metrics import mean_of
from synesthete.catalog.query_encoder import Query, QueryEncoder
from synesthete.catalog.reference import COMMON, RARE
from synesthete.catalog.relevance import kind_of
from synesthete.catalog.search import DETAILS, best, unit_shares
from synesthete.catalog.sources import read_items
from synesthete.catalog.words import folded, forms, searched
from synesthete.models.interventions import Change
from synesthete.probes.decoding import decode

QUERIES = Path(__file__).with_name("grocery_queries.csv")
TEXTS = ("names", "misspelt names", "in other words", "Swedish", "German")
GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery-products"
UNITS, DRAWS, TOP = 10, 5, 3
RANK_CONSTANT = 60


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "quality": quality,
        "words": words,
        "relevance": relevance_of_words,
        "faithfulness": faithfulness,
        "coverage": coverage,
        "confidence": confidence,
    }
    parser.add_argument("--part", choices=parts, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--grocery", type=Path, default=GROCERY)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument(
        "--grid", action="store_true", help="of --part words: the weights that were tried"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps({"part": options.part, **parts[options.part](options)}, indent=1))


def groceries(options: argparse.Namespace, folder: str) -> Catalog:
    """The grocery products, indexed."""
    catalog = Catalog.create(Path(folder) / "groceries.catalog", options.model)
    catalog.upsert(read_items(options.grocery / "products"))
    return catalog


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
        catalog = groceries(options, folder)
        queries = photos(options)
        table = Path(folder) / "queries.csv"

        def evaluate(rows: list[tuple[Path, str, str]]) -> list[Any]:
            lines = []
            for place, (path, item, _) in enumerate(rows):
                (Path(folder) / f"{place}.webp").write_bytes(path.read_bytes())
                lines.append((f"{place}.webp", item))
            with table.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("image", "relevant"), *lines])
            return catalog.evaluate(table)

        plain = evaluate(queries)
        coarse = category_recall(catalog, queries)
        # Each half is answered with the centre learnt from the other; which photo is in which half is drawn.
        half = np.random.default_rng(0).permutation(len(queries)) % 2
        adapted, adapted_coarse = [], []
        for one in (0, 1):
            catalog.adapt(queries[i][0] for i in np.flatnonzero(half != one))
            mine = [queries[i] for i in np.flatnonzero(half == one)]
            adapted.append(evaluate(mine))
            adapted_coarse += category_recall(catalog, mine)
        suggested = suggestions(catalog, [queries[i] for i in np.flatnonzero(half == 1)])
        count = [len(np.flatnonzero(half == one)) for one in (0, 1)]
        return {
            "model": options.model,
            "products": len(catalog),
            "photos": len(queries),
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


def words(options: argparse.Namespace) -> dict[str, Any]:
    """What words and vectors find together, beside each alone and the baselines.

    Ids are numbers here: the data's own are folders, which hold the names that are asked for. The weights of words are chosen
    on the development split, half of the products, drawn by seed 0, with all five kinds of texts; figures are given for all
    products and for the test split, on which nothing was chosen.
    """
    import synesthete.catalog.search as searching

    with tempfile.TemporaryDirectory() as folder:
        given = [one for one in read_items(options.grocery / "products") if isinstance(one, Item)]
        number = {item.id: f"{place:03d}" for place, item in enumerate(given)}
        catalog = Catalog.create(Path(folder) / "groceries.catalog", options.model)
        catalog.upsert(replace(item, id=number[item.id]) for item in given)
        photographed = [(path, number[item], kind) for path, item, kind in photos(options)]
        folders = {item.rsplit("/")[-1]: place for item, place in number.items()}
        with (options.grocery / "classes.csv").open(encoding="utf-8") as file:
            names = [row["Class Name (str)"] for row in csv.DictReader(file)]
        named = [(name.replace("-", " "), folders[name]) for name in names]
        rng = np.random.default_rng(0)
        chosen = set(rng.permutation(sorted(number.values()))[: len(number) // 2].tolist())
        for place, (path, _, _) in enumerate(photographed):
            (Path(folder) / f"{place}.webp").write_bytes(path.read_bytes())
        shots = [(f"{place}.webp", item) for place, (_, item, _) in enumerate(photographed)]
        tables: dict[str, list[tuple[str, str, str]]] = {
            "names": [(name, "", item) for name, item in named],
            "misspelt names": [(misspelt(name, rng), "", item) for name, item in named],
            **written(folders),
            "photos": [("", shot, item) for shot, item in shots],
            "photos with the kind's word": [
                (kind.replace("-", " "), shot, item)
                for (shot, item), (_, _, kind) in zip(shots, photographed, strict=True)
            ],
        }
        table = Path(folder) / "queries.csv"

        def evaluate(rows: list[tuple[str, str, str]]) -> dict[str, Any]:
            with table.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("text", "image", "relevant"), *rows])
            found: dict[str, Any] = {"n": len(rows)}
            for one in catalog.evaluate(table, k=[1, 10]):
                low, high = one.recall_interval
                line = f"{one.recall:.3f} ({low:.3f}–{high:.3f})"
                found.setdefault(one.method, {})[f"recall@{one.k}"] = line
            return found

        def reciprocal(rows: list[tuple[str, str, str]]) -> str:
            """Recall at 1 of the ranks of vectors and BM25 fused (Cormack et al. 2009)."""
            evaluate(rows)
            every = Path(folder) / "found.csv"
            catalog.evaluate(table, k=[len(catalog)], per_query=every)
            scores: list[Counter[str]] = [Counter() for _ in rows]
            with every.open(newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    if line["method"] in ("vectors", "bm25"):
                        for rank, item in enumerate(line["found"].split(), start=1):
                            scores[int(line["query"].rpartition(" ")[2]) - 2][item] += 1 / (
                                RANK_CONSTANT + rank
                            )
            first = [
                max(one, key=one.__getitem__) == row[2]
                for one, row in zip(scores, rows, strict=True)
            ]
            found = mean_of(np.array(first, np.float64), seed=0)
            return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"

        def of_half(rows: list[tuple[str, str, str]], mine: bool) -> list[tuple[str, str, str]]:
            return [row for row in rows if (row[2] in chosen) == mine]

        grid = {}
        kept = searching.WORDS, searching.MISSPELT
        if options.grid:
            for weight, share in itertools.product((0.25, 0.5, 1.0, 1.5, 2.0, 3.0), (0.5, 0.8)):
                searching.WORDS, searching.MISSPELT = weight, share
                tried = {
                    name: evaluate(of_half(tables[name], True))["search"]["recall@1"]
                    for name in TEXTS
                }
                mean = np.mean([float(one.split()[0]) for one in tried.values()])
                grid[f"words {weight}, misspelt {share}"] = {**tried, "mean": round(mean, 4)}
            searching.WORDS, searching.MISSPELT = kept
            tried = {name: reciprocal(of_half(tables[name], True)) for name in TEXTS}
            mean = np.mean([float(one.split()[0]) for one in tried.values()])
            grid["ranks of vectors and BM25 fused"] = {**tried, "mean": round(mean, 4)}
        found = {name: evaluate(rows) for name, rows in tables.items()}
        found["photos"]["centred cosine"] = centred_cosine(catalog, photographed)
        return {
            "model": options.model,
            "products": len(catalog),
            "words, misspelt": kept,
            "development split": grid,
            "all": found,
            "test split": {name: evaluate(of_half(rows, False)) for name, rows in tables.items()},
        }


def written(items: dict[str, str]) -> dict[str, list[tuple[str, str, str]]]:
    """The hand-written queries of `grocery_queries.csv`, by kind, with the item of each class."""
    with QUERIES.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = {"in other words": "paraphrase", "Swedish": "swedish", "German": "german"}
    return {
        kind: [(row[column], "", items[row["class"]]) for row in rows]
        for kind, column in kinds.items()
    }


def relevance_of_words(options: argparse.Namespace) -> dict[str, Any]:
    """Share of words that reach the cut: common English ones that no item and no text of the null has; and items' own, misspelt."""
    from wordfreq import top_n_list

    def share(chosen: list[str]) -> dict[str, Any]:
        relevant = [catalog.search(one, limit=1, reasons=0)[0].relevant for one in chosen]
        low, high = wilson_interval(sum(relevant), len(relevant))
        return {
            "n": len(chosen),
            "relevant": f"{np.mean(relevant):.3f} ({low:.3f}–{high:.3f})",
        }

    with tempfile.TemporaryDirectory() as folder:
        catalog = groceries(options, folder)
        own = set(re.findall(r"[^\W\d_]+", folded(" ".join(map(searched, catalog.items())))))
        of_null = {word for text in catalog.reference.texts for word in text.split()}
        common = [one for one in top_n_list("en", RARE)[COMMON:] if len(one) > 3]
        plain = [one for one in common if one.isascii() and one.isalpha()]
        unrelated = [one for one in plain if one not in of_null and own.isdisjoint(forms(one))]
        rng = np.random.default_rng(0)
        items = sorted(one for one in own if len(one) > 5)
        chosen = rng.choice(items, min(200, len(items)), replace=False).tolist()
        return {
            "unrelated": share(rng.choice(unrelated, 600, replace=False).tolist()),
            "misspelt words of items": share([misspelt(one, rng) for one in chosen]),
        }


def misspelt(name: str, rng: np.random.Generator) -> str:
    """A name with one letter of its longest word changed, left out or put in, after its first."""
    parts = name.split()
    at = max(range(len(parts)), key=lambda place: len(parts[place]))
    word, letter = parts[at], chr(97 + int(rng.integers(26)))
    place, kind = int(rng.integers(1, len(word))), int(rng.integers(3))
    rest = word[place:] if kind == 0 else word[place + 1 :]
    parts[at] = word[:place] + ("" if kind == 2 else letter) + rest
    return " ".join(parts)


def centred_cosine(catalog: Catalog, queries: list[tuple[Path, str, str]]) -> dict[str, str]:
    """Three lines: photos about their own mean, items' images about theirs."""
    snapshot = catalog.snapshot()
    encoder = QueryEncoder(snapshot, lambda: catalog.model)
    encoder.prepare([], [path for path, _, _ in queries])
    raw = np.stack([encoder.raw_image(path) for path, _, _ in queries])
    rows = snapshot.rows(snapshot.ids, ("images",))
    images = rows.array("images")
    scores = unit_length(raw - raw.mean(0)) @ unit_length(images - images.mean(0)).T
    order = np.argsort(-scores, axis=1, kind="stable")
    places = [
        [rows.ids[at] for at in some].index(item)
        for some, (_, item, _) in zip(order, queries, strict=True)
    ]
    found = {}
    for k in (1, 10):
        one = mean_of([float(place < k) for place in places])
        found[f"recall@{k}"] = f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})"
    return found


def category_recall(catalog: Catalog, queries: list[tuple[Path, str, str]]) -> list[bool]:
    """Whether the first item is of the photo's own kind."""
    snapshot = catalog.snapshot()
    encoder = QueryEncoder(snapshot, lambda: catalog.model)
    kinds = categories_by_id(snapshot)
    right = []
    for path, item, _ in queries:
        (first,) = best(snapshot, encoder.query(None, path), 1).rows.ids
        right.append(kinds[first] == kinds[item])
    return right


def suggestions(catalog: Catalog, queries: list[tuple[Path, str, str]]) -> dict[str, Any]:
    """How often the first category is right, by how confident the answer was."""
    kinds = {item.id: item.category for item in catalog.items()}
    confidence, right = [], []
    for path, item, _ in queries:
        found = catalog.suggest(path, threshold=0.0)
        confidence.append(found.confidence)
        right.append(bool(found.categories) and found.categories[0].value == kinds[item])
    values, hits = np.array(confidence), np.array(right)
    thirds = np.quantile(values, [1 / 3, 2 / 3])
    group = np.searchsorted(thirds, values)
    return {
        "n": len(queries),
        "all": share(hits.tolist()),
        "least confident third": share(hits[group == 0].tolist()),
        "most confident third": share(hits[group == 2].tolist()),
        "answered at 0.6": float((values >= 0.6).mean()),
        "right when answered": share(hits[values >= 0.6].tolist()),
    }


def faithfulness(options: argparse.Namespace) -> dict[str, Any]:
    """Switch the named units off in the model, and look at the item's score and rank; the same with random units.

    Queries: the names of the coarse classes; items: the first three of each. Random units are drawn among all, and
    among those that answer to the image above their mean (a harder control).
    """
    from scipy.stats import spearmanr

    with tempfile.TemporaryDirectory() as folder:
        catalog = groceries(options, folder)
        snapshot, model = catalog.snapshot(), catalog.model
        encoder = QueryEncoder(snapshot, lambda: model)
        vectors, layer = catalog.vectors(), snapshot.layer
        rng = np.random.default_rng(0)
        drops: dict[str, list[float]] = {"named": [], "random": [], "random active": []}
        ranks: dict[str, list[float]] = {"named": [], "random": [], "random active": []}
        stated, real = [], []
        for name in sorted({kind for _, _, kind in photos(options)}):
            query = encoder.text(name.replace("-", " ").lower())
            for key in best(snapshot, Query(query, kind_of([name], 0)), TOP).rows.ids:
                (item,) = snapshot.items([key])
                row = snapshot.ids.index(key)
                pixels = model.preprocess(decode(Path(item.images[0]).read_bytes()))[None]
                details = snapshot.rows([key], DETAILS)
                text = details.array("texts")
                shares = unit_shares(snapshot, query, details)[0]
                answers = details.array("units")[0] - snapshot.reference.unit_mean
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
                    stated.append(float(shares[units].sum()))
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
            "score lost": {k: interval(v) for k, v in arrays.items()},
            "places lost": {k: interval(v) for k, v in placed.items()},
            "named minus random": interval(arrays["named"] - arrays["random"]),
            "named minus random active": interval(arrays["named"] - arrays["random active"]),
            "named loses more than random active": share(
                (arrays["named"] > arrays["random active"]).tolist()
            ),
            "rank correlation of attributed and lost score": float(spearmanr(stated, real)[0]),
        }


def coverage(options: argparse.Namespace) -> dict[str, Any]:
    """Groceries classified by section (fruit, vegetables, packages): 100 random splits, sets at 90 %.

    The records are the photos alone, and the photos with the product's title; half fit, a quarter calibrates, a quarter
    measures. Control: the most frequent section, and the same probe with shuffled labels.
    """
    from synesthete.catalog.classify.records import embed, fuse, make_record
    from synesthete.catalog.classify.train import fit_linear_probe
    from synesthete.models import load_model

    model = load_model(options.model)
    queries = photos(options)
    titles = {
        item.id: item.title
        for item in read_items(options.grocery / "products")
        if isinstance(item, Item)
    }
    labels = np.array([item.split("/")[0] for _, item, _ in queries])
    records = [make_record(path.read_bytes(), titles[item]) for path, item, _ in queries]
    seen = embed(model, records)
    found: dict[str, Any] = {
        "model": options.model,
        "records": len(queries),
        "splits": options.splits,
    }
    found["sections"] = dict(
        zip(*(one.tolist() for one in np.unique(labels, return_counts=True)), strict=True)
    )
    for name, texts in (("photo", np.zeros_like(seen.texts)), ("photo and title", seen.texts)):
        x = fuse(seen.images, texts)
        runs = [
            fit_linear_probe(x, labels, coverage=0.9, risk=0.1, seed=seed)
            for seed in range(options.splits)
        ]
        measured = [one.measured for one in runs]
        decided = [one for one in measured if one.risk.n]
        found[name] = {
            "coverage, promised 0.9": interval([one.coverage.value for one in measured]),
            "labels in a set": interval([one.set_size.value for one in measured]),
            "accuracy": interval([one.accuracy.value for one in measured]),
            "most frequent section": float(np.mean([one.majority for one in measured])),
            "shuffled labels": interval([one.controls["shuffled labels"].value for one in runs]),
            "calibration error": interval([one.calibration_error for one in measured]),
            "before calibration": interval([one.raw_calibration_error for one in measured]),
            "decided": interval([one.decided.value for one in measured]),
            "splits in which the risk was surely above the accepted 0.1": share(
                [one.risk.low > 0.1 for one in decided]
            ),
        }
    return found


def confidence(options: argparse.Namespace) -> dict[str, Any]:
    """Calibrate suggestions on one half of the photos, and ask with the other half; and the other way round.

    Control: the bare strength, and the share of right answers stated for every photo alike.
    """
    from synesthete.catalog.classify.evaluate import calibration_error, calibration_interval

    def error(values: Any) -> list[float]:
        return [calibration_error(values, hits, 5), *calibration_interval(values, hits, 5)]

    with tempfile.TemporaryDirectory() as folder:
        catalog = groceries(options, folder)
        queries = photos(options)
        kinds = {item.id: item.category for item in catalog.items()}
        half = np.random.default_rng(0).permutation(len(queries)) % 2
        stated, strength, right, flat = [], [], [], []
        for one in (0, 1):
            catalog.adapt(queries[i][0] for i in np.flatnonzero(half != one))
            table = Path(folder) / f"{one}.csv"
            with table.open("w", newline="", encoding="utf-8") as file:
                rows = [queries[i] for i in np.flatnonzero(half != one)]
                for place, (path, _, _) in enumerate(rows):
                    (Path(folder) / f"{one}-{place}.webp").write_bytes(path.read_bytes())
                csv.writer(file).writerows(
                    [
                        ("image", "relevant"),
                        *((f"{one}-{at}.webp", item) for at, (_, item, _) in enumerate(rows)),
                    ]
                )
            base = catalog.calibrate(table).right
            for i in np.flatnonzero(half == one):
                path, item, _ = queries[i]
                found = catalog.suggest(path, threshold=0.0)
                stated.append(found.confidence)
                strength.append(found.strength)
                right.append(bool(found.categories) and found.categories[0].value == kinds[item])
                flat.append(base)
        own = catalog.calibrate()
        hits = np.array(right)
        thirds = np.array_split(np.argsort(stated, kind="stable"), 3)
        return {
            "model": options.model,
            "n": len(hits),
            "right": share(right),
            "calibration error": error(np.array(stated)),
            "of the bare strength": error(np.array(strength)),
            "of the share of right answers for all": error(np.array(flat)),
            "squared error": interval((np.array(stated) - hits) ** 2),
            "squared error of the share of right answers for all": interval(
                (np.array(flat) - hits) ** 2
            ),
            "squared error of the strength": interval((np.array(strength) - hits) ** 2),
            "stated and observed, by thirds": [
                {"stated": float(np.array(stated)[part].mean()), **share(hits[part].tolist())}
                for part in thirds
            ],
            "by the catalogue's own items": {
                "n": own.n,
                "right": own.right,
                "error": own.error,
                "interval": own.error_interval,
                "order": own.order,
            },
        }


def interval(values: Any) -> list[float]:
    """A mean with its 95 % bootstrap interval."""
    one = mean_of(values)
    return [one.value, one.low, one.high]


def share(values: list[bool]) -> dict[str, Any]:
    """A share with its Wilson 95 % interval."""
    if not values:
        return {"n": 0}
    return {
        "n": len(values),
        "share": sum(values) / len(values),
        "interval": list(wilson_interval(sum(values), len(values))),
    }


if __name__ == "__main__":
    main()
