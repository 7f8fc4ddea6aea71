"""Precision and recall where features are correlated, hierarchical and superposed: `python benchmarks/planted_features.py [--json]`.

Planted units in a layer with the settings of SynthSAEBench-16k (arXiv 2602.14687; `synesthete.analysis.planted.World`). Precision counts a
called unit as right when it is planted to answer to one concept in three modalities, the word among them, and was given that concept; units of a branch
of 4 or of 16 concepts are wrong whatever they are given. `optimum` knows everything but the kind, what the other features add included, and is cut
at precision 0.95.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from planted import MERITS

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.multimodality import Merit, score_units
from synesthete.analysis.planted import (
    FAMILIES,
    Superposed,
    World,
    best_cut,
    optimum,
    planted_design,
    superpose,
)

CHOICE_NOISE = (0.05, 0.2)
NOISE = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def share(hits: int, n: int) -> str:
    """A proportion with its Wilson 95 % interval."""
    low, high = wilson_interval(hits, n)
    return f"{hits / max(n, 1):.3f} ({low:.3f}–{high:.3f})"


def measure(concepts: int, units: int, repeats: int, world: World) -> dict[str, Any]:
    """Counts by noise level, and what the worlds were like."""
    design = planted_design(concepts)
    layers = [superpose(design, units, world=world, seed=seed) for seed in range(repeats)]
    apart = np.concatenate([layer.interference.std(axis=0) for layer in layers])
    found: dict[str, Any] = {
        "images": int(design.concept.size),
        "concepts": concepts,
        "units": units * repeats,
        "active": float(np.mean([layer.active for layer in layers])),
        "overlap": float(np.mean([layer.overlap for layer in layers])),
        "interference": float(np.median(apart)),
        "noise": {},
    }
    counted = ("n", "called", "right", "concept", "optimum", "cells", "cells_right")
    for noise in NOISE:
        total: dict[str, int] = dict.fromkeys(counted, 0)
        families = {name: [0, 0] for name in FAMILIES}
        for seed, layer in enumerate(layers):
            planted = layer.at(noise, seed=seed)
            (scores,) = score_units(planted.activations, design)
            truth = planted.multimodal
            own = (scores.concept == planted.concept) | (scores.concept == planted.second)
            best = best_cut(optimum(planted, design), truth)
            total["n"] += int(truth.sum())
            total["called"] += int(scores.multimodal.sum())
            total["right"] += int((scores.multimodal & truth & own).sum())
            total["concept"] += int((truth & own).sum())
            total["optimum"] += int((best & truth).sum())
            total["cells"] += int(scores.concept_cell.sum())
            total["cells_right"] += int((scores.concept_cell & truth & own).sum())
            for name, both in families.items():
                some = planted.kind == name
                both[0] += int((scores.multimodal & some).sum())
                both[1] += int(some.sum())
        found["noise"][noise] = total | families
    found["merits"] = {
        noise: {name: _by_merit(layers, noise, merit) for name, merit in MERITS.items()}
        for noise in CHOICE_NOISE
    }
    return found


def _by_merit(layers: Sequence[Superposed], noise: float, merit: Merit) -> list[float]:
    """Share of units whose concept is right, and recall, when another statistic of the selection half selects it."""
    right, recalled = [], []
    for seed, layer in enumerate(layers):
        planted = layer.at(noise, seed=seed)
        (scores,) = score_units(planted.activations, layer.design, merit=merit)
        own = (scores.concept == planted.concept) | (scores.concept == planted.second)
        right.append(own[planted.multimodal])
        recalled.append((own & scores.multimodal)[planted.multimodal])
    return [float(np.concatenate(some).mean()) for some in (right, recalled)]


def page(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        f"{found['images']:,} images, {found['concepts']} concepts, {found['units']:,} units; {found['active']:.1f} features fire on an image, mean largest "
        f"cosine of two directions {found['overlap']:.2f}; what the others add to a unit has the standard deviation {found['interference']:.2f} (median).",
        "",
        f"| noise | n | precision | precision without branches | recall | concept right | {' | '.join(FAMILIES)} | concept cells: precision, recall | optimum |",
        f"| --- | {' | '.join(['---'] * (7 + len(FAMILIES)))} |",
    ]
    for noise, row in found["noise"].items():
        wrong = sum(row[name][0] for name in FAMILIES)
        branches = " | ".join(f"{row[name][0]} of {row[name][1]}" for name in FAMILIES)
        lines.append(
            f"| {noise:.2f} | {row['n']} | {share(row['right'], row['called'])} | {share(row['right'], row['called'] - wrong)} "
            f"| {share(row['right'], row['n'])} | {row['concept'] / row['n']:.3f} | {branches} "
            f"| {row['cells_right'] / max(row['cells'], 1):.3f}, {row['cells_right'] / row['n']:.3f} | {row['optimum'] / row['n']:.3f} |"
        )
    lines += [
        "",
        "Concept right (recall) by the statistic that selects it:",
        "",
        f"| noise | {' | '.join(MERITS)} |",
        f"| --- | {' | '.join(['---'] * len(MERITS))} |",
    ]
    for noise, by in found["merits"].items():
        cells = (f"{right:.3f} ({recall:.3f})" for right, recall in by.values())
        lines.append(f"| {noise:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--concepts", type=int, default=500)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--dimensions", type=int, default=World.dimensions, help="fewer overlap more"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    world = World(dimensions=options.dimensions)
    found = measure(options.concepts, options.units, options.repeats, world)
    print(json.dumps(found, indent=1) if options.json else page(found))


if __name__ == "__main__":
    main()
