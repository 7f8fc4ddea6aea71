"""How few units does a class need? Concepts as sums of k units, used as a zero-shot classifier.

    python benchmarks/decomposition.py demo.atlas

Each concept's text becomes a sparse sum of the first layer's units, fitted on the images of one half of the artists
(`decompose`'s fit). The sums then name the images of the other half, among all concepts, as the texts' embeddings do. Beside it
stand the full embedding, the same sums of the random random twin's units, and chance. After Goh et al. (2021), who explain
ImageNet classes by sums of three units.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.decomposition.fitted import TEMPLATES, TWIN, Units, halves_of, within
from synesthete.analysis.own_model import own_model
from synesthete.atlas import open_atlas
from synesthete.recording.zero_shot import class_embeddings

SIZES = (1, 3, 10, 30)


def main() -> None:
    """Print top-1 and top-5 for every number of units."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas")
    parser.add_argument("--layer")
    args = parser.parse_args()
    atlas = open_atlas(args.atlas)
    layer = args.layer or atlas.layers[0]
    halves = halves_of(atlas)
    names = atlas.concepts
    concepts = np.array(atlas.probes["concept"].to_pylist())[halves.rows]
    truth = np.array([names.index(c) for c in concepts])
    texts = class_embeddings(own_model(atlas), names, list(TEMPLATES))
    embeddings = np.asarray(atlas.embeddings()[halves.rows], np.float64)
    targets = within(embeddings @ texts.T, halves)
    layers = {"units": np.asarray(atlas.activations(layer)[halves.rows], np.float32)}
    if TWIN in atlas.manifest["controls"]:
        layers["random twin's units"] = np.asarray(
            atlas.control_activations(TWIN, layer)[halves.rows], np.float32
        )
    fit, judge = ~halves.judge, halves.judge
    report("embedding", (embeddings @ texts.T)[judge], truth[judge])
    for title, raw in layers.items():
        values = within(np.nan_to_num(raw), halves)
        units_to_fit = Units(values[fit])
        for size in SIZES:
            scores, r2 = np.zeros((judge.sum(), len(names))), []
            for place in range(len(names)):
                weights, units = units_to_fit.fit(targets[fit, place], size)
                scores[:, place] = values[judge][:, units] @ weights
                left = targets[judge, place] - scores[:, place]
                r2.append(1 - left.var() / targets[judge, place].var())
                print(f"\r{title}, {size} units: {place + 1}/{len(names)}", end="", file=sys.stderr)
            print("\r", end="", file=sys.stderr)
            report(
                f"{title}, sums of {size}", scores, truth[judge], f"median R² {np.median(r2):.2f}"
            )
    print(f"chance: top-1 {1 / len(names):.2%}, top-5 {5 / len(names):.2%}")


def report(title: str, scores: np.ndarray, truth: np.ndarray, more: str = "") -> None:
    """Print top-1 and top-5 with Wilson intervals, n images."""
    place = (scores > scores[np.arange(len(truth)), truth][:, None]).sum(1)
    parts = []
    for k in (1, 5):
        right = int((place < k).sum())
        low, high = wilson_interval(right, len(truth))
        parts.append(f"top-{k} {right / len(truth):.1%} ({low:.1%} to {high:.1%})")
    print(f"{title}: n {len(truth)}, {', '.join(parts)} {more}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
