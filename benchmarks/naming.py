"""Naming: how often the name is right where the truth is known, and what it costs.

    python benchmarks/naming.py [ATLAS] [--full] [--scorer softwpmi ...]

Which words a name's images are, and what a name needs, were chosen with mini's figures in sight: validation, not a test.

Three truths: planted units; the outputs of a linear classifier trained on the probe concepts over half of the
atlas's image embeddings, named by the other half; and units that pass the test of multimodality, whose concept the other half of the artists confirms. On each,
ours and the four scorers of CLIP-Dissect choose among the same words, knowing the same: the labels of the images (to the
scorers, a labelling model that never errs), or only their likeness to the words (embeddings; of planted images
made up, of an atlas its model's, which is loaded for the words). Then time and peak memory against the plain formulation.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plain_dissect import PLAIN, needs

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.design import Design, tower_of
from synesthete.analysis.naming.candidates import Images, alike, labelled
from synesthete.analysis.naming.name import (
    PRECISION,
    NamingTask,
    control_threshold,
    text_embeddings,
)
from synesthete.analysis.naming.scorers import SCORERS
from synesthete.analysis.planted import plant, planted_design
from synesthete.analysis.provenance import control_activations
from synesthete.atlas import Atlas, open_atlas
from synesthete.probes.probe_set import text_rows

SIZES = {False: (200, 2_000, 10_000), True: (1_000, 20_000, 50_000)}
NAMEABLE = (
    "concept",
    "three ways",
    "two concepts",
    "images",
    "drawings and words",
    "symbols and words",
)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Units, and the set of right words of each; empty: no word is right."""

    title: str
    activations: np.ndarray
    right: list[set[int]]
    kinds: list[str] | None = None
    twin: np.ndarray | None = None


@dataclass(frozen=True)
class Known:
    """The images: labels, and embeddings `[images, dim]` beside those of the words `[words, dim]`."""

    design: Design
    images: np.ndarray
    words: np.ndarray

    def tasks(self) -> dict[str, tuple[NamingTask, np.ndarray, np.ndarray]]:
        """What is known → ours, and the embeddings that the scorers are given."""
        design, names = self.design, list(self.design.concepts)
        halves = [np.flatnonzero(design.split.scoring == half) for half in (False, True)]
        shown = [labelled(h, design.concept[h], design.modality[h], len(names)) for h in halves]
        seen = [
            alike(h, design.modality[h], self.images[h], self.words, concepts=len(names))
            for h in halves
        ]
        same = np.eye(len(names), dtype=np.float32)
        pair = (self.images[halves[0]], self.words)
        return {
            "labels": (_task(names, shown, None), same[design.concept], same),
            "likeness": (_task(names, seen, pair), self.images, self.words),
        }


def _task(words: list[str], halves: list[Images], embeddings: Any) -> NamingTask:
    return NamingTask(words=words, chosen_on=halves[0], tested_on=halves[1], embeddings=embeddings)


def rate(right: int, n: int) -> str:
    """A rate with its Wilson interval."""
    low, high = wilson_interval(right, n)
    return f"{right / n:6.1%} ({low:.1%}-{high:.1%})" if n else "–"


def judge(truth: Truth, known: Known) -> None:
    """Print one truth's tables."""
    has = np.array([bool(some) for some in truth.right])
    n, words = int(has.sum()), len(known.design.concepts)
    print(
        f"\n{truth.title}: {n} units with a true name, {int((~has).sum())} without; {words} words"
    )
    for source, (task, images, texts) in known.tasks().items():
        print(f"  {'by ' + source:<14} {'right of all':<24} {'right of named':<24} named of all")
        ours(truth, task, has)
        values = np.nan_to_num(truth.activations.astype(np.float32))
        for name, scorer in SCORERS.items():
            best = scorer(values, images, texts).argmax(axis=1)
            good = sum(int(b) in some for b, some in zip(best, truth.right, strict=True))
            print(f"  {name:<14} {rate(good, n):<24} {rate(good, n):<24} {n} of {n}")
    print(f"  {'random':<14} {1 / words:6.2%} expected")


def ours(truth: Truth, task: NamingTask, has: np.ndarray) -> None:
    """Print our row, the same without the test, what became of units without a true name, and AUC of named and unknown units."""
    found, tested = task.named(truth.activations)
    control = task.shuffled(truth.activations, 0) if truth.twin is None else truth.twin
    at, _ = control_threshold(None, task.named(control)[1], PRECISION)
    held = tested.held(at, PRECISION)
    first, named = held.argmax(axis=1)[:, None], held.any(axis=1)
    chosen = np.take_along_axis(found.word, first, axis=1)[:, 0]
    right = np.array([n and w in s for n, w, s in zip(named, chosen, truth.right, strict=True)])
    n, kept = int(has.sum()), int((named & has).sum())
    good = int(right.sum())
    print(f"  {'ours':<14} {rate(good, n):<24} {rate(good, kept):<24} {kept} of {n}")
    good = sum(int(w) in some for w, some in zip(found.word[:, 0], truth.right, strict=True))
    print(f"  {'  untested':<14} {rate(good, n):<24} {rate(good, n):<24} {n} of {n}")
    auc = np.take_along_axis(tested.auc, first, axis=1)[:, 0]
    medians = [
        f"{np.nanmedian(auc[mask]):.3f}" if np.isfinite(auc[mask]).any() else "–"
        for mask in (named, ~named)
    ]
    print(
        f"  {'':<14} AUC needed {at:.3f}; held out, median: named {medians[0]}, unknown {medians[1]}"
    )
    if (~has).any():
        wrong = int((named & ~has).sum())
        print(f"  {'':<14} of units without a true name got one: {rate(wrong, int((~has).sum()))}")
    for kind in dict.fromkeys(truth.kinds or []):
        mine = np.array([k == kind for k in truth.kinds or []])
        rates = [(mine & part).sum() / mine.sum() for part in (right, named & ~right, ~named)]
        print(f"  {'':<14} {kind:<20} n {mine.sum():<4} right, wrong, unknown: ", end="")
        print(*(f"{share:6.1%}" for share in rates))


def embeddings(design: Design, dim: int = 192, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images near their concept's word, nearer to their modality, and noisy: `[images, dim]`, `[words, dim]`."""
    rng = np.random.default_rng(seed)
    words, styles = (rng.normal(size=(n, dim)) for n in (len(design.concepts), 4))
    noise = 1.5 * rng.normal(size=(len(design.concept), dim))
    images = words[design.concept] + styles[design.modality] + noise
    rows = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (images, words)]
    return rows[0].astype(np.float32), rows[1].astype(np.float32)


def planted_truth(units: int, noise: float) -> tuple[Truth, Known]:
    """Truth 1: units whose concept was planted."""
    design = planted_design(200)
    planted = plant(design, units, noise=noise)
    silent = np.isin(planted.kind, ("noise", "constant", "dead"))
    kept = np.flatnonzero(np.isin(planted.kind, NAMEABLE) | silent)
    right = [
        set() if silent[u] else {int(planted.concept[u]), int(planted.second[u])} - {-1}
        for u in kept
    ]
    kinds = [str(planted.kind[u]) for u in kept]
    title = f"planted, d' {1 / noise:.1f}"
    truth = Truth(title=title, activations=planted.activations[:, kept], right=right, kinds=kinds)
    return truth, Known(design, *embeddings(design))


def atlas_truths(atlas: Atlas) -> Iterator[tuple[Truth, Known]]:
    """Truths 2 and 3: outputs of a linear classifier, and units that pass the test of multimodality."""
    from sklearn.linear_model import RidgeClassifier

    table = atlas.probes

    def known_of(rows: np.ndarray) -> Known:
        labels = (
            [table[k].to_pylist()[i] for i in rows] for k in ("concept", "modality", "artist")
        )
        design = Design.of(*labels)
        embedded = np.asarray(atlas.embeddings()[rows], np.float32)
        return Known(design, embedded, text_embeddings(atlas, list(design.concepts)))

    usable = np.array(table["status"].to_pylist()) == "ok"
    is_text = text_rows(table)
    rows = np.flatnonzero(usable & ~is_text)
    learnt = (
        np.random.default_rng(0).random(len(rows)) < 0.5
    )  # the others name and test its outputs
    known, others = known_of(rows[learnt]), known_of(rows[~learnt])
    classifier = RidgeClassifier(alpha=1.0).fit(known.images, known.design.concept)
    outputs = others.images @ classifier.coef_.T + classifier.intercept_
    code = {name: i for i, name in enumerate(others.design.concepts)}
    classes = [known.design.concepts[i] for i in classifier.classes_]
    shown = [i for i, name in enumerate(classes) if name in code]
    yield (
        Truth(
            title="classifier units",
            activations=outputs[:, shown].astype(np.float32),
            right=[{code[classes[i]]} for i in shown],
        ),
        others,
    )
    for layer in atlas.layers:
        tower = tower_of(atlas, layer)
        read = usable if tower == "joint" else usable & (is_text == (tower == "text"))
        rows = np.flatnonzero(read)
        known = known_of(rows)
        number = {name: i for i, name in enumerate(known.design.concepts)}
        chosen = {
            "selective": [n for n in atlas.neurons(layer) if n.verdict not in ("none", "untested")],
            "multimodal": atlas.neurons(layer, multimodal=True),
        }
        for kind, neurons in chosen.items():
            if not neurons:
                continue
            matrix = np.asarray(atlas.activations(layer)[rows][:, [n.unit for n in neurons]])
            control = control_activations(atlas, layer)
            control = None if control is None else np.asarray(control[rows])
            right = [{number[n.concept]} for n in neurons]
            title = f"{kind} units of {layer}"
            yield Truth(title=title, activations=matrix, right=right, twin=control), known


def measured(call: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str]:
    """What it gives, and its seconds and peak of memory beside the inputs."""
    tracemalloc.start()
    started = time.perf_counter()
    out = call()
    seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return out, f"{seconds:8.1f} s {peak / 1e6:8,.0f} MB"


def cost(scorers: list[str], *, full: bool) -> None:
    """Time and memory of each scorer in chunks and in its plain formulation, and of all naming, in one run."""
    units, words, images = SIZES[full]
    rng = np.random.default_rng(0)
    shown, texts = (rng.normal(size=(n, 192)).astype(np.float32) for n in (images, words))
    for part in (shown, texts):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    activations = rng.normal(size=(images, units)).astype(np.float16)
    print(f"\n{units:,} units x {words:,} words x {images:,} images, beside the inputs")
    print(f"  {'':<14} {'in chunks':<22} plain")
    enough = needs(images, words) < 0.7 * free_memory()
    for name in scorers:
        mine, cost_of_mine = measured(lambda name=name: SCORERS[name](activations, shown, texts))
        theirs, cost_of_plain, same = (
            None,
            f"not run: needs {needs(images, words) / 1e9:.0f} GB",
            "",
        )
        if enough:
            theirs, cost_of_plain = measured(lambda n=name: PLAIN[n](activations, shown, texts))
            same = f"same best word: {(mine.argmax(1) == theirs.argmax(1)).mean():.1%}"
        print(f"  {name:<14} {cost_of_mine:<22} {cost_of_plain}  {same}", flush=True)

    def named() -> np.ndarray:
        half, modality = rng.random(images) < 0.5, rng.integers(0, 4, images)
        rows = [np.flatnonzero(half == side) for side in (False, True)]
        sets = [alike(r, modality[r], shown[r], texts, concepts=700) for r in rows]
        pair = (shown[rows[0]], texts)
        return _task([str(i) for i in range(words)], sets, pair).named(activations)[0].word

    print(f"  {'ours, tested':<14} {measured(named)[1]}")


def free_memory() -> float:
    """Bytes of memory that may be taken; without Linux's word for it, any."""
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.exists() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    return float(free[0]) if free else float("inf")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", nargs="?", type=Path)
    parser.add_argument("--full", action="store_true", help="the cost at full size (half an hour)")
    parser.add_argument("--units", type=int, default=400, help="planted units; 0 for none")
    parser.add_argument("--scorer", action="append", choices=SCORERS, help="cost of these only")
    arguments = parser.parse_args()
    for noise in (0.15, 0.3) if arguments.units else ():
        judge(*planted_truth(arguments.units, noise))
    for truth, known in atlas_truths(open_atlas(arguments.atlas)) if arguments.atlas else ():
        judge(truth, known)
    cost(arguments.scorer or list(SCORERS), full=arguments.full)


if __name__ == "__main__":
    main()
