"""The two sanity tests of NeuronEval for every score that Synesthete prints: `python benchmarks/neuron_eval.py demo.atlas [--json]`.

Oikarinen et al. (ICML 2025, arXiv 2506.05774): a score of "this unit means that concept" must fall when half of the concept's labels are
dropped (missing), and when they are doubled with random ones (extra). Falls: by more than 0.1 % of the score's range, as in their code.

Experimental form: each unit of the atlas with its concept, in each modality with two or more of the concept's images on the scoring half, that is one
case; half of the labels (rounded down) are dropped, or as many random images of the modality get the label. Names: each named unit, labels
changed in all modalities. Theoretical form: units that are the label itself, at the five shares of positives of the paper
(0.499, 0.1, 0.01, 0.001, 0.0001), and at this probe set's own. Published: their table 2, AUC being their "inverse AUC" and average precision their
"inverse AUPRC" (activation predicts label); recall, F1, IoU and cosine are their definitions, with the top 0.5 % of images as active.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete._core.intervals import exact
from synesthete.analysis.design import Design, labelled_rows
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.naming.candidates import Images, test
from synesthete.analysis.naming.name import LEAST_THRESHOLD, naming_task
from synesthete.analysis.selectivity import concept_scores
from synesthete.analysis.significance import benjamini_hochberg, p_values
from synesthete.atlas import Atlas, open_atlas

EPSILON = 0.001  # of a score's range, as in the authors' code
SHARES = (0.499, 0.1, 0.01, 0.001, 0.0001)  # of positives, theoretical form, as in the paper
INPUTS = 100_000
ACTIVE = 0.005
TESTS = ("missing", "extra")
LOGS = ("-log p", "-log q")  # without bounds: their range is that of all values
RANGE = {"correlation": 2.0, "cosine": 2.0}
# Score -> (missing experimental, theoretical, extra experimental, theoretical), percent; table 2 of the paper.
PUBLISHED = {
    "AUC": (52.81, 60.00, 99.99, 100.00),
    "average precision": (99.15, 100.00, 95.58, 89.54),
    "correlation": (99.41, 100.00, 99.92, 100.00),
    "recall": (98.66, 100.00, 0.00, 0.00),
    "F1": (93.68, 100.00, 99.82, 100.00),
    "IoU": (93.62, 100.00, 99.81, 100.00),
    "cosine": (99.45, 100.00, 99.26, 100.00),
}


def perturbed(shown: Bool, kind: str, generator: np.random.Generator) -> Bool:
    """Labels `[images]` with half of them dropped, rounded down, or doubled by random images."""
    found = shown.copy()
    own = np.flatnonzero(shown)
    if kind == "missing":
        found[generator.choice(own, own.size // 2, replace=False)] = False
    else:
        others = np.flatnonzero(~shown)
        found[generator.choice(others, min(own.size, others.size), replace=False)] = True
    return found


def scores_of(
    activations: Floating, labels: list[Bool], artists: Int64 | None = None
) -> list[dict[str, Float64]]:
    """Every score `[units]` of the units' concept, for several labels `[images]` of it."""
    units = np.ones(activations.shape[1], np.int64)
    scored = concept_scores(activations, [(one.astype(np.int64), units) for one in labels], 2)
    values = np.asarray(activations, np.float64)
    active = _active(values)
    found = []
    length = np.sqrt((values**2).sum(axis=0))
    length = np.where(length > 0, length, np.nan)
    for one, label in zip(scored, labels, strict=True):
        p = p_values(one.wins, one.n_pos, one.n_neg)
        hits = (active & label[:, None]).sum(axis=0)
        on, positives = np.maximum(active.sum(axis=0), 1), int(label.sum())
        makers = positives if artists is None else np.unique(artists[label]).size
        found.append(
            {
                "AUC": one.auc,
                "-log p": -np.log10(np.maximum(p, 1e-300)),
                "average precision": one.ap,
                "lower end of AP": exact(one.ap, makers)[0],
                "correlation": one.correlation,
                "recall": hits / on,
                "F1": 2 * hits / (on + positives),
                "IoU": hits / (on + positives - hits),
                "cosine": label @ values / (length * np.sqrt(positives)),
            }
        )
    return found


def _active(values: Float64) -> Bool:
    """Binary units as they are; of others the images of the top 0.5 %, with all equals of the last."""
    if np.isin(values, (0, 1)).all():
        return values > 0
    place = max(1, int(np.ceil(ACTIVE * len(values))))
    return np.asarray(values >= -np.partition(-values, place - 1, axis=0)[place - 1])


def falls(before: Float64, after: Float64, name: str, spread: float) -> Float64:
    """1 where a score fell, 0 where it did not, NaN where either is undefined."""
    change = (after - before) / (spread if name in LOGS else RANGE.get(name, 1.0))
    return np.where(np.isnan(change), np.nan, change < -EPSILON)


def theoretical(samples: int, generator: np.random.Generator, share: float) -> dict[str, Any]:
    """Share of samples in which a unit that is the label falls; labels are dropped or added each with its probability, as in the authors' code."""
    positives = max(2, round(share * INPUTS))
    ideal = np.zeros(INPUTS, bool)
    ideal[:positives] = True
    found: dict[str, Any] = {}
    for kind in TESTS:
        labels = [ideal]
        for _ in range(samples):
            coin = generator.random(INPUTS)
            added = coin < positives / (INPUTS - positives)
            labels.append(ideal & (coin < 0.5) if kind == "missing" else ideal | added)
        labels = [one for one in labels if one.any()]
        first, *others = scores_of(ideal[:, None].astype(np.float32), labels)
        for name in first:
            values = np.array([one[name][0] for one in others])
            spread = float(np.ptp([first[name][0], *values])) or 1.0
            found.setdefault(name, {})[kind] = float(
                np.nanmean(falls(first[name], values, name, spread))
            )
    return found


def experimental(
    activations: Floating,
    design: Design,
    concept: Int64,
    samples: int,
    generator: np.random.Generator,
) -> dict[str, dict[str, Any]]:
    """Share of cases (unit, modality) in which each score falls, with how many there are; the mean over samples."""
    first: dict[str, list[Float64]] = {}
    after: dict[tuple[str, str], list[Float64]] = {}
    for m in range(len(design.modalities)):
        rows = design.images(m, scoring=True)
        values, codes, artists = activations[rows], design.concept[rows], design.artist[rows]
        for code in np.unique(concept[concept >= 0]):
            shown = codes == code
            if shown.sum() < 2:
                continue
            changed = {k: [perturbed(shown, k, generator) for _ in range(samples)] for k in TESTS}
            labels = [shown, *changed["missing"], *changed["extra"]]
            scored = scores_of(values[:, concept == code], labels, artists)
            for name in scored[0]:
                first.setdefault(name, []).append(scored[0][name])
                for place, kind in enumerate(TESTS):
                    part = scored[1 + place * samples : 1 + (place + 1) * samples]
                    after.setdefault((name, kind), []).append(np.stack([s[name] for s in part]))
    before = {name: np.concatenate(parts) for name, parts in first.items()}
    then = {key: np.concatenate(parts, axis=1) for key, parts in after.items()}
    # q is over all cases of a table together.
    before["-log q"] = -np.log10(benjamini_hochberg(10.0 ** -before["-log p"]))
    for kind in TESTS:
        p = 10.0 ** -then["-log p", kind]
        then["-log q", kind] = np.stack([-np.log10(benjamini_hochberg(one)) for one in p])
    found: dict[str, dict[str, Any]] = {}
    for name, values in before.items():
        spread = float(np.nanmax(values) - np.nanmin(values)) or 1.0
        found[name] = {"n": int(values.size)} | {
            kind: float(np.nanmean(falls(values, then[name, kind], name, spread))) for kind in TESTS
        }
    return found


def names(
    atlas: Atlas, layer: str, samples: int, generator: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """The same of the confidence of names and its lower end, and how many names still hold."""
    task = naming_task(atlas, "concepts")
    noted = (atlas.manifest.get("names") or {}).get("layers", {}).get(layer, {})
    threshold = float(noted.get("threshold", LEAST_THRESHOLD))
    matrix = atlas.activations(layer)
    candidates, tested = task.named(matrix)
    held = tested.held(threshold)
    scoring = np.asarray(matrix[task.tested_on.rows])
    out: dict[str, dict[str, Any]] = {
        name: {"n": int(held.sum())} for name in ("confidence of names", "its lower end")
    }
    for kind in TESTS:
        shares: dict[str, list[float]] = {"auc": [], "low": [], "held": []}
        for _ in range(samples):
            changed = replace(task.tested_on, sets=_changed(task.tested_on, kind, generator))
            again = test(scoring, changed, candidates)
            for key in ("auc", "low"):
                fallen = falls(getattr(tested, key)[held], getattr(again, key)[held], key, 1.0)
                shares[key].append(float(np.nanmean(fallen)))
            shares["held"].append(float(again.held(threshold)[held].mean()))
        out["confidence of names"][kind] = float(np.mean(shares["auc"]))
        out["confidence of names"][f"held_{kind}"] = float(np.mean(shares["held"]))
        out["its lower end"][kind] = float(np.mean(shares["low"]))
    return out


def _changed(images: Images, kind: str, generator: np.random.Generator) -> sparse.csr_array:
    """Labels `[words, images]`, changed for each word within each modality; a word keeps one label where it has only one."""
    dense = np.asarray(images.sets.todense(), bool)
    for here, _ in images.by_modality():
        for word in np.flatnonzero(dense[:, here].any(axis=1)):
            dense[word, here] = perturbed(dense[word, here], kind, generator)
    return sparse.csr_array(dense.astype(np.float64))


def measure(atlas: Atlas, layer: str, *, samples: int, seed: int) -> dict[str, Any]:
    """Everything, as the JSON has it: score → form → test → share that falls."""
    generator = np.random.default_rng(seed)
    rows = labelled_rows(atlas)
    probes = atlas.probes.take(pa.array(rows))
    design = Design.of(*(probes[key].to_pylist() for key in ("concept", "modality", "artist")))
    activations = np.asarray(atlas.activations(layer)[rows])
    (scores,) = score_units(activations, design)
    called = np.where(scores.multimodal, scores.concept, -1)
    own = float(np.nanmean(scores.n[scores.n > 0] / _images(scores.n, design)))
    ideal = {share: theoretical(samples, generator, share) for share in SHARES}
    here = theoretical(samples, generator, own)
    found: dict[str, Any] = {
        "layer": layer,
        "samples": samples,
        "share_of_positives": own,
        "all": experimental(activations, design, scores.concept, samples, generator)
        | names(atlas, layer, samples, generator),
        "multimodal": experimental(activations, design, called, samples, generator),
        "theoretical": {
            name: {kind: float(np.mean([ideal[s][name][kind] for s in SHARES])) for kind in TESTS}
            for name in here
        },
        "theoretical_here": here,
        "published": PUBLISHED,
    }
    return found


def _images(n: Int64, design: Design) -> Int64:
    """Images of the scoring half in the modality of each tested cell."""
    size = np.array([design.images(m, scoring=True).size for m in range(len(design.modalities))])
    return np.broadcast_to(size, n.shape)[n > 0]


def _percent(found: Mapping[str, Any] | None, kind: str) -> str:
    return "–" if not found or kind not in found else f"{100 * found[kind]:.1f}"


def page(found: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    own = f"{found['share_of_positives']:.4f}"
    lines = [
        f"Share of cases in which a score falls, %; {found['samples']} samples. E: experimental, of all units' concepts (of the multimodal units alone); "
        f"T: theoretical, mean over five shares of positives (at this probe set's own, {own}); P: published, experimental and theoretical.",
        "",
        "| score | n | missing: E | T | P | extra: E | T | P |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in found["all"].items():
        cells = [name, f"{one['n']:,}"]
        for place, kind in enumerate(TESTS):
            theory, here = (found[key].get(name) for key in ("theoretical", "theoretical_here"))
            paper = found["published"].get(name)
            cells += [
                f"{_percent(one, kind)} ({_percent(found['multimodal'].get(name), kind)})",
                f"{_percent(theory, kind)} ({_percent(here, kind)})",
                "–" if paper is None else f"{paper[2 * place]:.1f}, {paper[2 * place + 1]:.1f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    held = found["all"]["confidence of names"]
    lines += [
        "",
        f"Names that still hold: {100 * held['held_missing']:.1f} % with half of the labels missing, {100 * held['held_extra']:.1f} % with as many added "
        f"(n {held['n']:,}). Multimodal units: n {found['multimodal']['AUC']['n']:,} cases.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--layer")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    atlas = open_atlas(options.atlas)
    found = measure(
        atlas, options.layer or atlas.layers[0], samples=options.samples, seed=options.seed
    )
    print(json.dumps(found, indent=1) if options.json else page(found))


if __name__ == "__main__":
    main()
