"""Naming: how often the name is right where the truth is known, and what it costs.

    python benchmarks/naming.py [ATLAS] [--full]

Three truths: planted units; the outputs of a linear classifier trained on the probe concepts over the atlas's image
embeddings; and units that pass the test of multimodality, whose concept the other half of the artists confirms. Ours against
the four scorers of CLIP-Dissect, on the same words. With an atlas its model is loaded (for the words' embeddings).
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from pathlib import Path

import numpy as np

from synesthete.analysis import wilson_interval
from synesthete.analysis.design import Design
from synesthete.analysis.naming.driver import Ground, text_embeddings
from synesthete.analysis.naming.scorers import SCORERS, soft_wpmi, top_images
from synesthete.analysis.naming.sets import labelled
from synesthete.analysis.planted import plant, planted_design
from synesthete.atlas import Atlas, open_atlas

SIZES = {False: (200, 2_000, 10_000), True: (1_000, 20_000, 50_000)}
THRESHOLD = 0.75


def ground(design: Design, words: list[str]) -> Ground:
    """The two halves of labelled images."""
    halves = [np.flatnonzero(design.halves.scoring == half) for half in (False, True)]
    made = [
        labelled(rows, design.concept[rows], design.modality[rows], len(words)) for rows in halves
    ]
    return Ground(words, made[0], made[1], None)


def told(right: int, n: int) -> str:
    """A rate with its interval."""
    low, high = wilson_interval(right, n)
    return f"{right / max(n, 1):6.1%} ({low:.1%}-{high:.1%})"


def judge(
    title: str,
    activations: np.ndarray,
    truth: list[set[int]],
    design: Design,
    images: np.ndarray,
    words: np.ndarray,
) -> None:
    """Print one truth's rows. `truth` is the set of right words of each unit; empty: none is right."""
    has = np.array([bool(some) for some in truth])
    units, n = np.flatnonzero(has), int(has.sum())
    print(f"\n{title}: {n} units with a true name, {int((~has).sum())} without, {len(words)} words")
    found, tested = ground(design, list(design.concepts)).named(activations)
    held = tested.held(THRESHOLD)
    first = held.argmax(axis=1)
    named = held.any(axis=1)
    chosen = np.take_along_axis(found.word, first[:, None], axis=1)[:, 0]
    right = np.array([named[u] and chosen[u] in truth[u] for u in range(len(truth))])
    print(f"  {'method':<14} {'right of all':<24} {'right of named':<24} named")
    kept = int((named & has).sum())
    print(
        f"  {'ours':<14} {told(int(right.sum()), n):<24} {told(int(right.sum()), kept):<24} {kept}"
    )
    wrong = int((named & ~has).sum())
    if (~has).any():
        print(
            f"  {'':<14} units without a true name that got one: {told(wrong, int((~has).sum()))}"
        )
    auc = np.take_along_axis(tested.auc, first[:, None], axis=1)[:, 0]
    medians = [np.nanmedian(auc[mask]) if mask.any() else np.nan for mask in (named, ~named)]
    print(f"  {'':<14} held-out AUC, median: named {medians[0]:.3f}, unknown {medians[1]:.3f}")
    values = np.nan_to_num(activations.astype(np.float32))
    for name, scorer in SCORERS.items():
        best = scorer(values[:, units], images, words).argmax(axis=1)
        good = sum(int(b) in truth[u] for b, u in zip(best, units, strict=True))
        print(f"  {name:<14} {told(good, n):<24} {told(good, n):<24} {n}")
    print(f"  {'random':<14} {1 / len(words):6.2%}")


def embeddings(design: Design, dim: int = 192, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images near their concept's word, nearer to their modality, and noisy: `[images, dim]`, `[words, dim]`."""
    rng = np.random.default_rng(seed)
    words, styles = (rng.normal(size=(n, dim)) for n in (len(design.concepts), 4))
    images = (
        words[design.concept]
        + styles[design.modality]
        + 1.5 * rng.normal(size=(len(design.concept), dim))
    )
    rows = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (images, words)]
    return rows[0].astype(np.float32), rows[1].astype(np.float32)


def on_planted(units: int) -> None:
    """Truth 1: units whose concept was planted, at two levels of noise."""
    for noise in (0.15, 0.3):
        design = planted_design(200)
        planted = plant(design, units, noise=noise)
        kinds = ("concept", "three ways", "two concepts", "pictures")
        truth = [
            {int(c), int(s)} - {-1} if kind in kinds else set()
            for kind, c, s in zip(planted.kind, planted.concept, planted.second, strict=True)
        ]
        silent = np.isin(planted.kind, ("noise", "constant", "dead"))
        kept = np.array([bool(some) for some in truth]) | silent
        judge(
            f"planted, d' {1 / noise:.1f}",
            planted.activations[:, kept],
            [truth[u] for u in np.flatnonzero(kept)],
            design,
            *embeddings(design),
        )


def on_atlas(atlas: Atlas) -> None:
    """Truths 2 and 3: outputs of a linear classifier, and units that pass the test of multimodality."""
    from sklearn.linear_model import RidgeClassifier

    table = atlas.probes
    status = np.array(table["status"].to_pylist())
    rows = np.flatnonzero(status == "ok")
    labels = [[table[k].to_pylist()[i] for i in rows] for k in ("concept", "modality", "artist")]
    design = Design.of(*labels)
    images = np.asarray(atlas.embeddings()[rows], np.float32)
    words = text_embeddings(atlas, list(design.concepts))
    half = ~design.halves.scoring
    classifier = RidgeClassifier(alpha=1.0).fit(images[half], design.concept[half])
    outputs = images @ classifier.coef_.T + classifier.intercept_
    truth = [{int(code)} for code in classifier.classes_]
    judge("classifier units", outputs.astype(np.float32), truth, design, images, words)
    layer = atlas.layers[0]
    neurons = atlas.neurons(layer, multimodal=True)
    if neurons:
        number = {name: i for i, name in enumerate(design.concepts)}
        matrix = np.asarray(atlas.activations(layer)[rows][:, [n.unit for n in neurons]])
        judge(
            f"multimodal units of {layer}",
            matrix,
            [{number[n.concept]} for n in neurons],
            design,
            images,
            words,
        )


def plain_soft_wpmi(activations: np.ndarray, images: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The plain formulation: all likenesses and probabilities at once, a gather per unit."""
    likeness = 10 * images @ words.T
    likely = np.exp(likeness - likeness.max(1, keepdims=True))
    likely /= likely.sum(1, keepdims=True)
    rows = top_images(activations, 100)
    share = (0.998 - np.arange(100) / 100 * 0.028)[:, None].astype(np.float32)
    given = np.stack([np.log(1 + share * (likely[mine] - 1) + 1e-7).sum(0) for mine in rows])
    highest = given.max(0)
    return given - (highest + np.log(np.exp(given - highest).mean(0)))


def cost(*, full: bool) -> None:
    """Time and memory of softWPMI in chunks and in its plain formulation, in one run."""
    units, words, images = SIZES[full]
    rng = np.random.default_rng(0)
    shown, texts = (rng.normal(size=(n, 192)).astype(np.float32) for n in (images, words))
    for part in (shown, texts):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    activations = rng.normal(size=(images, units)).astype(np.float32)
    print(f"\nsoftwpmi, {units:,} units x {words:,} words x {images:,} images")
    results = []
    for name, method in (("ours, in chunks", soft_wpmi), ("plain", plain_soft_wpmi)):
        tracemalloc.start()
        method(activations, shown, texts)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        started = time.perf_counter()
        results.append(method(activations, shown, texts))
        seconds = time.perf_counter() - started
        print(f"  {name:<16} {seconds:7.1f} s, {peak / 1e6:8,.0f} MB beside the inputs")
    print(f"  largest difference {np.abs(results[0] - results[1]).max():.2g}")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", nargs="?", type=Path)
    parser.add_argument("--full", action="store_true", help="the cost at full size (minutes)")
    parser.add_argument("--units", type=int, default=400, help="planted units")
    arguments = parser.parse_args()
    on_planted(arguments.units)
    if arguments.atlas:
        on_atlas(open_atlas(arguments.atlas))
    cost(full=arguments.full)


if __name__ == "__main__":
    main()
