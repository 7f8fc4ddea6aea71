"""Editing, measured: export parity per architecture, and a defence beside random units and a dense fine-tune.

    python benchmarks/editing.py parity                      every family, tiny and random
    python benchmarks/editing.py parity RN50/random ViT-B-32/random mini
    python benchmarks/editing.py defence mini --units 12 --steps 60

`parity` exports edits of every kind of site that folds, loads the checkpoint with plain open_clip, and prints the largest difference of an
embedding's component from the live edited model, beside how far the edits move embeddings.

`defence` prints attack success and clean accuracy on the held-out split (other pictures, words and fonts) for the unedited model, the
greedy defence, as many random units, and the upper reference: the whole image tower fine-tuned on the search split's
attacked and plain pictures. After Dyslexify (arXiv 2508.20570), which ablates heads without training.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from synesthete.editing import Edit, Edits, export_edits
from synesthete.editing.defence import Judged, find_defence, objectives
from synesthete.editing.fold import Unfoldable, fold
from synesthete.models import ImageTextModel, load_model
from synesthete.models.heads import Heads
from synesthete.probes import load_probes

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    parity = parts.add_parser("parity")
    parity.add_argument("models", nargs="*")
    parity.add_argument("--images", type=int, default=16)
    parity.set_defaults(run=run_parity)
    defence = parts.add_parser("defence")
    defence.add_argument("model")
    defence.add_argument("--units", type=int, default=12)
    defence.add_argument("--images", type=int, default=200)
    defence.add_argument("--layer", action="append")
    defence.add_argument("--steps", type=int, default=60, help="of the fine-tune; 0 leaves it out")
    defence.add_argument("--rate", type=float, default=1e-4, help="learning rate of the fine-tune")
    defence.add_argument("--budget", type=float, default=0.01)
    defence.set_defaults(run=run_defence)
    args = parser.parse_args()
    args.run(args)


def run_parity(args: Any) -> None:
    """One line per architecture."""
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 255, (96, 128, 3), np.uint8)).resize((320, 240))
        for _ in range(args.images)
    ]
    print(
        f"{'model':34} {'edits':>5} {'difference':>11} {'effect':>9}   n = {args.images} pictures"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, model in _models(args.models, Path(folder)):
            edits = _foldable(model)
            made = export_edits(
                model, edits, Path(folder) / f"{len(list(Path(folder).iterdir()))}-out", images
            )
            print(
                f"{name:34} {len(edits):5} {made.difference:11.1e} {made.effect:9.1e}", flush=True
            )


def _models(names: list[str], folder: Path) -> Iterator[tuple[str, ImageTextModel]]:
    for name in names:
        yield name, load_model(name, device="cpu")
    if not names:
        from tests.editing.families import TOWERS, write_model

        for family in TOWERS:
            if family != "convnext":
                yield (
                    f"{family} (tiny, random)",
                    load_model(write_model(folder / family, family), device="cpu"),
                )


def _foldable(model: ImageTextModel) -> Edits:
    """A unit of every site, with the first deed that folds there, the deeds taking turns."""
    chosen: list[Edit] = []
    for place, layer in enumerate(model.sites()):
        address = f"{layer.name}:{(7 * place) % layer.units}"
        site = model.site(layer.name)
        mean = (0.1,) * site.width if isinstance(site, Heads) else 0.1
        deeds = [
            Edit(address, "ablate"),
            Edit(address, "mean-ablate", mean),
            Edit(address, "scale", 1.5),
        ]
        deeds += [] if isinstance(site, Heads) else [Edit(address, "steer", 0.2)]
        for edit in deeds[place % len(deeds) :] + deeds[: place % len(deeds)]:
            try:
                fold(model, Edits((edit,), model.name, model.weights_sha256))
            except Unfoldable:
                continue
            chosen.append(edit)
            break
    return Edits(tuple(chosen), model.name, model.weights_sha256)


def run_defence(args: Any) -> None:
    """Held-out figures."""
    started = time.monotonic()
    model, probes = load_model(args.model, device="cpu"), load_probes("concepts")
    near, far = objectives(model, probes, limit=args.images)
    found = find_defence(
        model, near, far, layers=args.layer, most=args.units, budget=args.budget,
        progress=lambda done, total: print(f"\rgreedy {done}/{total}", end="", file=sys.stderr),
    )  # fmt: skip
    print("\r", end="", file=sys.stderr)
    print(f"{model.name}: {found.considered:,} units of {', '.join(found.layers)}; held-out split")
    _line("unedited", found.before)
    _line(f"greedy, {len(found.edits)} units within the budget", found.after)
    harm, kept = found.random_after
    print(f"{'as many random units, mean of 5':40} {harm:7.1%} {'':17} {kept:7.1%}")
    for series in found.series[:2]:
        last = series.points[-1]
        _line(f"{series.name}, {last.units} units", Judged(last.harm, last.kept))
    if args.steps:
        _line(
            f"dense fine-tune, {args.steps} steps",
            _fine_tuned(model, near, far, args.steps, args.rate),
        )
    print(f"{time.monotonic() - started:.0f} s")


def _line(told: str, one: Judged) -> None:
    cells = [f"{m.value:7.1%} ({m.low:.1%} to {m.high:.1%}, n {m.n})" for m in (one.harm, one.kept)]
    print(f"{told:40} {cells[0]:32} {cells[1]}", flush=True)


def _fine_tuned(model: ImageTextModel, near: Any, far: Any, steps: int, rate: float) -> Judged:
    """The whole image tower, trained on the search split to name attacked and plain pictures by what they show."""
    network: Any = copy.deepcopy(model.network).eval()
    tower = network.visual.requires_grad_(True)
    optimiser = torch.optim.AdamW(tower.parameters(), lr=rate, weight_decay=0.01)
    texts = torch.from_numpy(near.classes)
    truth = torch.from_numpy(np.concatenate([near.truth, near.truth[near.of]]))
    rng = np.random.default_rng(0)
    for step in range(steps):
        rows = torch.from_numpy(rng.choice(len(near.pixels), 48, replace=False))
        found = network.encode_image(near.pixels[rows], normalize=True)
        loss = torch.nn.functional.cross_entropy(near.scale * found @ texts.T, truth[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(f"\rfine-tune {step + 1}/{steps} loss {float(loss):.3f}", end="", file=sys.stderr)
    print("\r", end="", file=sys.stderr)
    with torch.inference_mode():
        parts = [
            network.encode_image(far.pixels[i : i + 64], normalize=True).numpy()
            for i in range(0, len(far.pixels), 64)
        ]
    return far.judge(np.concatenate(parts))  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
