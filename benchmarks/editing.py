"""Editing, measured: export parity per architecture, and a defence beside random units and a dense fine-tune.

    python benchmarks/editing.py parity                      every family, tiny and random
    python benchmarks/editing.py parity mini mini/random RN50/random ViT-B-32/random
    python benchmarks/editing.py defence mini --seed 1

`parity` exports edits of every kind of site that folds, loads the checkpoint with plain open_clip, and prints the largest difference of an
embedding's component from the live edited model, beside how far the edits move embeddings.

`defence` prints attack success and clean accuracy on the test split (other images, words and fonts) with Wilson intervals, and
their change from the unedited model on the same images with paired ones (Newcombe 1998), for the greedy defence, as many random
units (each of five draws), and the upper reference: the whole image tower fine-tuned with the fitting split's words (fine_tuning.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from synesthete.editing import Edit, Edits, export_edits, plan_edits
from synesthete.editing.defence import Typographic, find_defence, objectives
from synesthete.editing.fold import Unfoldable, fold
from synesthete.models import ImageTextModel, load_model
from synesthete.models.heads import Heads
from synesthete.probes import load_probes

sys.path.insert(0, str(Path(__file__).parents[1]))
ROW = "{:30} {:>7} {:>16} {:>7} {:>17}   {:>7} {:>16} {:>7} {:>17}"
HEAD = ("", "attack", "95 %", "change", "95 %", "clean", "95 %", "change", "95 %")


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
    defence.add_argument("--classes", type=int, default=100)
    defence.add_argument("--layer", action="append")
    defence.add_argument("--steps", type=int, default=80, help="of the fine-tune; 0 leaves it out")
    defence.add_argument("--rate", type=float, default=1e-4, help="highest of the fine-tune")
    defence.add_argument("--lessons", type=int, default=600, help="images for the fine-tune")
    defence.add_argument("--budget", type=float, default=0.01)
    defence.add_argument("--seed", type=int, default=0, help="of splits, words and random units")
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
    print(f"{'model':34} {'edits':>5} {'difference':>11} {'effect':>9}   n = {args.images} images")
    with tempfile.TemporaryDirectory() as folder:
        for name, model in _models(args.models, Path(folder)):
            edits = _foldable(model)
            result = export_edits(
                model, edits, Path(folder) / f"{len(list(Path(folder).iterdir()))}-out", images
            )
            print(
                f"{name:34} {len(edits):5} {result.difference:11.1e} {result.effect:9.1e}",
                flush=True,
            )


def _models(names: list[str], folder: Path) -> Iterator[tuple[str, ImageTextModel]]:
    for name in names:
        base, _, random = name.partition("/")
        if base == "mini" and random == "random":
            twin = load_model(base, device="cpu").random_twin()
            twin.name = base  # an export reads the architecture by this name
            yield name, twin
        else:
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
    """A unit of every site, with the first kind that folds there, the kinds taking turns."""
    chosen: list[Edit] = []
    for place, layer in enumerate(model.sites()):
        address = f"{layer.name}:{(7 * place) % layer.units}"
        site = model.site(layer.name)
        mean = (0.1,) * site.width if isinstance(site, Heads) else 0.1
        kinds = [
            Edit(address, "ablate"),
            Edit(address, "mean-ablate", mean),
            Edit(address, "scale", 1.5),
        ]
        kinds += [] if isinstance(site, Heads) else [Edit(address, "steer", 0.2)]
        for edit in kinds[place % len(kinds) :] + kinds[: place % len(kinds)]:
            try:
                fold(model, Edits((edit,), model.name, model.weights_sha256))
            except Unfoldable:
                continue
            chosen.append(edit)
            break
    return Edits(tuple(chosen), model.name, model.weights_sha256)


def run_defence(args: Any) -> None:
    """Held-out figures of all that was tried, in one table."""
    from fine_tuning import embed, fine_tune, lessons

    started = time.monotonic()
    model, probes = load_model(args.model, device="cpu"), load_probes("concepts", texts=False)
    near, middle, far = objectives(
        model, probes, limit=args.images, classes=args.classes, seed=args.seed
    )
    assert isinstance(far, Typographic)
    found = find_defence(
        model, near, far, validation=middle, layers=args.layer, most=args.units, budget=args.budget, seed=args.seed,
        progress=lambda done, total: print(f"\rgreedy {done}/{total}", end="", file=sys.stderr),
    )  # fmt: skip
    print("\r", end="", file=sys.stderr)
    plain = embed(model.network, far.pixels).numpy()

    def without(addresses: list[str]) -> Any:
        with model.edited(plan_edits(model, ablate=addresses)):
            return embed(model.network, far.pixels).numpy()

    size = len(found.edits)
    greedy, gradient, *random = (one.addresses for one in found.series if one.addresses)
    print(
        f"{model.name}, seed {args.seed}: {found.considered:,} units of {', '.join(found.layers)}\n"
        f"test split: n = {int(far.right.sum())} attacked images that count, {len(far.truth)} plain ones among "
        f"{len(far.classes)} classes; empty change: the unedited model"
    )
    print(ROW.format(*HEAD))
    _line("unedited", far, plain)
    _line(f"greedy, within budget: {size} units", far, plain, without(greedy[:size]))
    for draw, units in enumerate(random, 1):
        _line(f"{size} random units, draw {draw}", far, plain, without(units[:size]))
    _line(f"greedy, all {len(greedy)} units", far, plain, without(greedy))
    _line(f"gradient, {len(gradient)} units", far, plain, without(gradient))
    searched = time.monotonic() - started
    if args.steps:
        drawn, back = lessons(model, probes, args.lessons, args.classes, args.seed)
        tuned = fine_tune(model, drawn, back, steps=args.steps, rate=args.rate, seed=args.seed)
        _line("dense fine-tune", far, plain, tuned.embed(far.pixels))
        print(
            f"fine-tune: {tuned.parameters:,} numbers on {tuned.images} images, best after "
            f"{tuned.step} of {args.steps} steps"
        )
    total = time.monotonic() - started
    print(f"search {searched:.0f} s, all {total:.0f} s, {torch.get_num_threads()} threads")


def _line(title: str, far: Typographic, before: Any, after: Any = None) -> None:
    judged = far.evaluate(before if after is None else after)
    moved = None if after is None else far.change(before, after)
    cells = []
    for rate, change in zip(
        (judged.harm, judged.kept), (moved.harm, moved.kept) if moved else (None, None), strict=True
    ):
        cells += [f"{rate.value:.1%}", f"{rate.low:.1%} to {rate.high:.1%}"]
        cells += (
            [f"{change.value:+.1%}", f"{change.low:+.1%} to {change.high:+.1%}"] if change else ["", ""]
        )  # fmt: skip
    print(ROW.format(title, *cells), flush=True)


if __name__ == "__main__":
    main()
