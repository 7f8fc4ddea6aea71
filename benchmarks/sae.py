"""Sparse dictionaries of mini's last block beside its neurons and random directions: `python benchmarks/sae.py --work DIR`.

Trains a TopK dictionary of `visual.layer4.1` with as many latents as each of `--latents` on the built-in images of `--concepts` concepts,
drawn by `--seed` (0: of all), measures it on the tenth of the images that it was not trained on, records neurons and latents with
their controls, and analyses them alike. Printed for each layer: explained variance, units that are not zero at a place (L0) and dead
share on held-out images, of neurons, latents and as many random directions; live units; selective and multimodal units with the range
over random splits of the artists, and the same counts of random directions (same k), of the randomly initialised network and of shuffled
labels. After a kill the same command with the same `--work` goes on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import synesthete as syn
from synesthete.analysis.dictionary_training import every_tenth
from synesthete.analysis.layer_dictionary import train_dictionary

LAYER = "visual.layer4.1"


def main() -> None:
    """Parse the arguments, train, record, analyse, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--kind", default="topk")
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--concepts", type=int, default=100, help="so many concepts; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keep atlas and dictionaries there")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(chosen, chosen.work or Path(temporary))


def run(chosen: argparse.Namespace, work: Path) -> None:
    """The whole comparison, in a folder where it can be resumed."""
    model, probes = syn.load_model("mini"), syn.load_probes("concepts", texts=False)
    if chosen.concepts:
        names = sorted(probes.concepts)
        drawn = np.random.default_rng(chosen.seed).choice(
            len(names), chosen.concepts, replace=False
        )
        probes = probes.select(concepts=[names[one] for one in drawn])
    work.mkdir(parents=True, exist_ok=True)
    base = syn.record(model, probes, [LAYER], work / "neurons.atlas", twins=())
    layers, facts = [LAYER], {}
    for latents in chosen.latents:
        out = work / f"{chosen.kind}{latents}.sae"
        facts[f"{LAYER}@{out.stem}"] = train_dictionary(
            base,
            LAYER,
            out,
            latents=latents,
            kind=chosen.kind,
            k=chosen.k,
            epochs=chosen.epochs,
            seed=chosen.seed,
            probes=probes,
        )
        layers.append(f"{LAYER}@{out}")
    path = syn.record(model, probes, layers, work / "latents.atlas", twins=["random_twin"])
    syn.analyze(path, seed=chosen.seed)
    report(syn.open_atlas(path), neurons(model, probes), facts)
    print(f"\n{model.weights_sha256[:12]} (weights), {time.process_time():.0f} s of a processor")


def neurons(model: Any, probes: Any) -> dict[str, Any]:
    """Of the layer's own units on the images that no dictionary was trained on, what is known of a dictionary."""
    held = np.flatnonzero(every_tenth(len(probes)))
    active, places, used = 0, 0, np.zeros(model.layer(LAYER).units, bool)
    for index in held:
        values = model.positions(model.preprocess(probes.image(int(index)))[None], LAYER).numpy()
        active, places = active + np.count_nonzero(values), places + len(values)
        used |= (values != 0).any(axis=0)
    return {"images": len(held), "l0": active / places, "dead_share": 1 - used.mean()}


def report(atlas: Any, own: dict[str, Any], facts: dict[str, dict[str, Any]]) -> None:
    """Print both tables."""
    analysis = atlas.manifest["analysis"]
    print(f"{analysis['images']} images, {analysis['concepts_eligible']} concepts tested\n")
    row("units", "steps", "held-out images", "explained variance", "L0", "dead")
    row(*["---"] * 6)
    # The neurons are the layer itself.
    row(LAYER, "–", own["images"], "1", f"{own['l0']:.1f}", f"{own['dead_share']:.3f}")
    for layer, one in facts.items():
        for name, key in (("trained", "held_out"), ("random", "held_out_random_dictionary")):
            held = one[key]
            row(
                f"{layer}, {name}",
                one["steps"] if name == "trained" else "–",
                held["images"],
                f"{held['explained_variance']:.3f}",
                f"{held['l0']:.1f}",
                f"{held['dead_share']:.3f}",
            )
    kinds = ("", "_random_dictionary", "_random_twin", "_rotation", "_shuffled")
    print()
    row("layer", "live units", "verdict", "model", "over splits", "random directions", "random twin", "mixtures", "shuffled")  # fmt: skip
    row(*["---"] * 9)
    for layer in atlas.layers:
        found = analysis["layers"][layer]
        for verdict in ("selective", "multimodal"):
            counts = [found.get(f"{verdict}{kind}") for kind in kinds]
            model, *controls = ("–" if one is None else one for one in counts)
            stability = found.get("stability") or {}
            runs = (stability.get("splits") or {}).get(verdict)
            spread = f"{min(runs)}–{max(runs)}" if runs else "–"
            row(layer, found["live_units"], verdict, model, spread, *controls)


def row(*cells: object) -> None:
    """Print a line of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
