"""The verdicts beside their controls, over thresholds and over other splits of the artists.

    python benchmarks/controls.py demo.atlas

prints how many units pass AUC and q, and average precision from 0 to 0.5, for the model and every control of the atlas; how many of each are
distinct findings, pass with image statistics regressed out, and among words of equal length; with the halves exchanged; and for random splits of the artists, with how many units keep their concept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa

from synesthete.analysis.controls import (
    CURVE,
    VERDICTS,
    measured,
    participation_ratio,
    rotated,
)
from synesthete.analysis.design import Design, labelled_rows, shuffled
from synesthete.analysis.image_statistics import image_statistics
from synesthete.analysis.multimodality import DEFAULT, Scores, score_units
from synesthete.analysis.provenance import twin_activations
from synesthete.atlas import open_atlas


def curve(scores: Scores, design: Design) -> str:
    """Units at each threshold."""
    return " | ".join(f"{int(scores.at(ap, design.required).sum()):,}" for ap in CURVE)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--layer")
    parser.add_argument("--seeds", type=int, default=3, help="rotations of each kind (3)")
    parser.add_argument("--splits", type=int, default=10, help="random splits of the artists (10)")
    options = parser.parse_args()
    atlas = open_atlas(options.atlas)
    layer = options.layer or atlas.layers[0]
    rows = labelled_rows(atlas)
    probes = atlas.probes.take(pa.array(rows))
    design = Design.of(*(probes[key].to_pylist() for key in ("concept", "modality", "artist")))
    activations = np.asarray(atlas.activations(layer)[rows])

    print(f"{atlas.path.name}, {layer}: {activations.shape[1]:,} units, {len(rows):,} images\n")
    print(
        f"| AUC >= 0.9, q <= 0.01 and average precision >= | {' | '.join(map(str, CURVE))} | participation ratio |"
    )
    print(f"| --- |{' ---: |' * (len(CURVE) + 1)}")
    (model,) = score_units(activations, design)
    print(f"| the model | {curve(model, design)} | {participation_ratio(activations):.1f} |")
    twins = {name: np.asarray(one[rows]) for name, one in twin_activations(atlas, layer).items()}
    networks = {"the model": activations, **twins}
    found = {name: score_units(values, design)[0] for name, values in networks.items()}
    for name in twins:
        print(f"| {name} | {curve(found[name], design)} | {participation_ratio(twins[name]):.1f} |")
    for seed in range(options.seeds):
        for standardised in (True, False):
            values = rotated(activations, seed=seed, standardised=standardised)
            kind = "standardised" if standardised else "centred"
            print(
                f"| rotation {seed}, {kind} | {curve(score_units(values, design)[0], design)} | {participation_ratio(values):.1f} |"
            )
    for seed in range(options.seeds):
        (found,) = score_units(activations, design, labelings=[shuffled(design, seed)])
        print(f"| shuffled labels {seed} | {curve(found, design)} | |")

    print(
        "\n| selective, multimodal, concept cells | all | distinct | image statistics regressed out | of those before too, for the same concept: selective, multimodal "
        "| among words of equal length: selective, multimodal |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    statistics = image_statistics(atlas, rows)
    for name, values in networks.items():
        one = measured(values, design, DEFAULT, scores=found[name], statistics=statistics)
        without = ", ".join(str(one[f"{verdict}_without_statistics"]) for verdict in VERDICTS)
        print(
            f"| {name} | {', '.join(str(one[verdict]) for verdict in VERDICTS)} | {one['distinct_selective']}, {one['distinct']} "
            f"| {without} | {one['selective_kept_without_statistics']}, {one['multimodal_kept_without_statistics']} | {one['selective_equal_length']}, {one['multimodal_equal_length']} |"
        )

    print(
        "\n| split | multimodal | concept cells | multimodal in both, of those the same concept |"
    )
    print("| --- | ---: | ---: | ---: |")
    generator = np.random.default_rng(0)
    others = {"halves exchanged": ~design.split.scoring}
    for number in range(options.splits):
        sides = generator.random(design.artist.max() + 1) < 0.5
        others[f"random {number}"] = sides[design.artist]
    counts = []
    for name, scoring in others.items():
        other = design.scored_on(scoring)
        (found,) = score_units(activations, other)
        both = model.multimodal & found.multimodal
        same = both & (model.concept == found.concept)
        counts.append(int(found.multimodal.sum()))
        print(
            f"| {name} | {counts[-1]} | {int(found.concept_cell.sum())} | {int(both.sum())}, {int(same.sum())} |"
        )
    low, high = np.quantile(counts[1:], (0.025, 0.975)) if len(counts) > 2 else (np.nan, np.nan)
    print(
        f"\nmultimodal over {len(counts) - 1} random splits: {np.mean(counts[1:]):.0f} ({low:.0f} to {high:.0f}), printed: {int(model.multimodal.sum())}"
    )


if __name__ == "__main__":
    main()
