"""How well a text finds the neuron of its concept: one command.

    python benchmarks/meaning.py demo.atlas

Queries are the probe set's texts of every concept that a multimodal neuron of the image layer has: names, synonyms, translations,
descriptions (which do not name the concept). A query is answered when such a neuron is the first, or among the first ten, of all units of the
layer. Beside the search by meaning: either half of its score alone, a search by name (the heading is in the text or the text in the heading), the same
queries permuted, and chance. Intervals are Wilson's, over queries.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from synesthete._core.intervals import wilson_interval
from synesthete.atlas import open_atlas
from synesthete.report.columns import read_columns
from synesthete.report.meaning import layer_scores, read_query
from synesthete.report.source import source_of

KINDS, FIRST, MOST = ("name", "synonym", "translation", "description"), 10, 400


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    atlas = open_atlas(options.atlas)
    source, layer = source_of(atlas), atlas.layers[0]
    columns = read_columns(atlas, layer)
    owners: dict[str, set[int]] = {}
    for unit in np.flatnonzero(columns.multimodal).tolist():
        owners.setdefault(columns.concept[unit], set()).add(unit)
    table = atlas.probes.to_pylist()
    result = {}
    for kind in KINDS:
        rows = [row for row in table if row["modality"] == kind and row["concept"] in owners]
        picked = np.random.default_rng(0).permutation(len(rows))[:MOST]
        queries = [(rows[i]["text"], rows[i]["concept"]) for i in picked.tolist()]
        if queries:
            result[kind] = measure(source, layer, queries, owners)
    print(json.dumps(result, indent=1) if options.json else shown(result))


def measure(
    source: Any, layer: str, queries: list[tuple[str, str]], owners: dict[str, set[int]]
) -> dict[str, Any]:
    """Ranks of the nearest neuron of the right concept, by each way."""
    columns = source.opened.columns(layer)
    ways: dict[str, list[int]] = {
        key: [] for key in ("meaning", "images", "name", "search by name", "permuted", "chance")
    }
    other = np.random.default_rng(1).permutation(len(queries))
    for place, (text, concept) in enumerate(queries):
        score, images, name, _ = layer_scores(source, layer, *read_query(source, text))
        scores = {
            "meaning": score,
            "images": images,
            "name": name,
            "search by name": named(columns.heading, text),
            "chance": np.random.default_rng(place).random(columns.units),
        }
        wrong = owners[queries[other[place]][1]]
        for key, values in scores.items():
            # Units that tie come in an order drawn at random.
            shuffle = np.random.default_rng(place).permutation(columns.units)
            order = shuffle[np.argsort(-values[shuffle], kind="stable")]
            ways[key].append(rank(order, owners[concept]))
            if key == "meaning":
                ways["permuted"].append(rank(order, wrong))
    return {
        "queries": len(queries),
        "concepts": len({concept for _, concept in queries}),
        **{key: summary(np.array(ranks)) for key, ranks in ways.items()},
    }


def named(heading: Any, text: str) -> Any:
    """1 for units whose heading is the text, contains it or is contained in it, else 0."""
    plain = text.casefold()
    texts = [
        bool(one) and (one.casefold() in plain or plain in one.casefold()) for one in heading.texts
    ]
    return np.array(texts, float)[heading.codes]


def rank(order: Any, wanted: set[int]) -> int:
    """Of the first unit that is wanted; 0 is best."""
    return int(np.flatnonzero(np.isin(order, list(wanted)))[0])


def summary(ranks: Any) -> dict[str, Any]:
    """Shares of queries answered first and among the first ten, with intervals."""
    first, ten = int((ranks < 1).sum()), int((ranks < FIRST).sum())
    return {
        "first": first / len(ranks),
        "first_interval": wilson_interval(first, len(ranks)),
        "ten": ten / len(ranks),
        "ten_interval": wilson_interval(ten, len(ranks)),
    }


def shown(result: dict[str, Any]) -> str:
    """As text."""
    lines = []
    for kind, row in result.items():
        lines.append(f"{kind}: {row['queries']} queries of {row['concepts']} concepts")
        for key in list(row)[2:]:
            one = row[key]
            low, high = one["ten_interval"]
            lines.append(
                f"  {key:15} first {one['first']:6.1%}   among ten {one['ten']:6.1%} ({low:.1%} to {high:.1%})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
