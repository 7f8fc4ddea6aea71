"""Feature visualization: speed and reach beside Lucent, share of units that are excited, what facets do, memory.

    pip install --no-deps --target /tmp/peer torch-lucent==0.1.8 kornia==0.4.1 future decorator
    python benchmarks/visualization.py ATLAS [--peer /tmp/peer] [--units 16] [--steps 96] [--part speed share facets]

`speed`: the same units of the same model, pictures of the same size, the same number of steps, one process and one thread each,
one after the other. Lucent as it comes (its parameterisation, its transforms, Adam 0.05), given the model's own normalisation and
picture size. Seconds are the process's own CPU seconds, so that other work on the machine does not count; walls are printed too. `share`:
live units drawn evenly, how many of their pictures surpass the 99.9th percentile of the atlas's images, with Wilson's interval.
`facets`: how many faceted pictures are taken for their facet by the probe that steered them, and by one that did not (at the embedding, fitted on
the atlas's images), beside the same for plain pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from synesthete.analysis import wilson_interval
from synesthete.atlas import Atlas, open_atlas


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("atlas", type=Path, nargs="?", default=Path("demo.atlas"))
    parser.add_argument("--peer", type=Path, help="folder that Lucent was installed into")
    parser.add_argument("--units", type=int, default=16)
    parser.add_argument("--peer-units", type=int, default=4)
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--facet-units", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs="+", default=["speed", "share", "facets"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        sys.stdout.write(json.dumps(work(given)))
        return
    for part in given.part:
        {"speed": speed, "share": share, "facets": facets}[part](given)


def drawn(atlas: Atlas, count: int, seed: int) -> list[str]:
    """Addresses of live units of the first layer."""
    layer = atlas.layers[0]
    live = np.flatnonzero(atlas.statistics(layer).std > 0)
    chosen = np.random.default_rng(seed).choice(live, min(count, len(live)), replace=False)
    return [f"{layer}:{unit}" for unit in chosen]


def started(given: argparse.Namespace, worker: str, units: int) -> dict[str, Any]:
    """Run one worker in a process of its own, on one thread."""
    command = [sys.executable, __file__, str(given.atlas), "--worker", worker, "--units", str(units),
               "--steps", str(given.steps), "--seed", str(given.seed)]  # fmt: skip
    command += ["--peer", str(given.peer)] if given.peer else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def speed(given: argparse.Namespace) -> None:
    """Ours and Lucent, units per minute of CPU time."""
    print(f"one thread each, {given.steps} steps at most, pictures of the model's own size")
    rows = {"ours, all steps": started(given, "fixed", given.units)}
    rows["ours, as it comes"] = started(given, "ours", given.units)
    if given.peer:
        rows["Lucent, all steps"] = started(given, "peer", given.peer_units)
    print(f"{'':<20} {'units':>5} {'units/CPU min':>13} {'units/wall min':>14} {'beyond 99.9 %':>24} {'peak MB':>8}")  # fmt: skip
    for name, row in rows.items():
        told = rate(row["beyond"], row["units"])
        cpu, wall = (60 * row["units"] / row[key] for key in ("cpu", "wall"))
        print(
            f"{name:<20} {row['units']:>5} {cpu:>13.1f} {wall:>14.1f} {told:>24} {row['peak']:>8.0f}"
        )
    if given.peer:
        slow = rows["Lucent, all steps"]
        for name in ("ours, all steps", "ours, as it comes"):
            row = rows[name]
            print(
                f"{name}: {(row['units'] / row['cpu']) / (slow['units'] / slow['cpu']):.1f} times Lucent"
            )


def rate(right: int, n: int) -> str:
    """A rate with its Wilson interval."""
    low, high = wilson_interval(right, n)
    return f"{right}/{n} ({low:.0%}-{high:.0%})"


def work(given: argparse.Namespace) -> dict[str, Any]:
    """In the worker: make pictures, time them alone, and show them to the unmodified model."""
    if given.worker == "peer":
        sys.path.insert(0, str(given.peer))
    import torch
    from PIL import Image

    from synesthete.analysis.own_model import own_model
    from synesthete.visualization.features.making import unpacked, webp
    from synesthete.visualization.features.targets import unit_target

    torch.set_num_threads(1)
    atlas = open_atlas(given.atlas)
    targets = [unit_target(atlas, address) for address in drawn(atlas, given.units, given.seed)]
    model = own_model(atlas)
    make = by_peer if given.worker == "peer" else by_us
    cpu, wall, pictures = make(given, atlas, model, targets)
    pixels = torch.stack(
        [model.preprocess(unpacked(webp(np.asarray(Image.fromarray(p)), 90))) for p in pictures]
    )
    layer = targets[0].layer
    reached = model.read(pixels, [layer], atlas.manifest["reduction"]).activations[layer]
    beyond = [t.real.excites(float(reached[i, t.unit]), "most") for i, t in enumerate(targets)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"units": len(targets), "cpu": cpu, "wall": wall, "beyond": sum(beyond), "peak": peak}


def by_us(given: argparse.Namespace, atlas: Atlas, model: Any, targets: list[Any]) -> Any:
    """Ours, one batch after another; `fixed` makes all steps."""
    from synesthete.models.gradients import GradientTower
    from synesthete.visualization.features.facets import load_natural
    from synesthete.visualization.features.optimise import Order, Where, make_pictures
    from synesthete.visualization.features.settings import Settings

    natural = load_natural(atlas, model.preprocessing.image_size)
    settings = Settings(steps=given.steps, seed=given.seed)
    if given.worker == "fixed":
        settings = replace(settings, settled=0.0)
    tower = GradientTower(model)
    layer = targets[0].layer
    where = Where(f"{layer}:pre" if f"{layer}:pre" in tower.taps else layer, "max")
    orders = [Order(t.name, (t.direction / t.real.std).astype(np.float32)) for t in targets]
    clock, cpu = time.perf_counter(), time.process_time()
    made = sorted(make_pictures(tower, natural, where, orders, settings), key=lambda m: m.order)
    return time.process_time() - cpu, time.perf_counter() - clock, [m.picture for m in made]


def by_peer(given: argparse.Namespace, atlas: Atlas, model: Any, targets: list[Any]) -> Any:
    """Lucent's own loop, a unit at a time."""
    from lucent.optvis import param, render, transform
    from torchvision.transforms import Normalize

    side = model.preprocessing.image_size
    normalise = Normalize(model.preprocessing.mean, model.preprocessing.std)
    steps = [*transform.standard_transforms, normalise]
    pictures = []
    clock, cpu = time.perf_counter(), time.process_time()
    for target in targets:
        name = target.layer.removeprefix("visual.").replace(".", "_")
        (image,) = render.render_vis(
            model.network.visual, f"{name}:{target.unit}", lambda: param.image(side), transforms=steps,
            thresholds=(given.steps,), preprocess=False, fixed_image_size=side, show_image=False, progress=False,
        )  # fmt: skip
        pictures.append((image[0] * 255).round().clip(0, 255).astype(np.uint8))
    return time.process_time() - cpu, time.perf_counter() - clock, pictures


def share(given: argparse.Namespace) -> None:
    """How many live units are excited by the picture that users get."""
    from synesthete.visualization.features import Settings, visualize

    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(given.atlas, Path(folder) / "own.atlas"))
        atlas = open_atlas(path)
        addresses = drawn(atlas, given.units, given.seed)
        cpu = time.process_time()
        found = visualize(atlas, addresses, facets="none", settings=Settings(steps=given.steps))
        seconds = time.process_time() - cpu
    good = sum(one.excites for one in found.pictures)
    percentiles = np.array([one.percentile for one in found.pictures])
    print(
        f"beyond the 99.9th percentile of real images: {rate(good, len(percentiles))} of live units drawn evenly"
    )
    print(f"  median percentile {np.median(percentiles):.2f}, lowest {percentiles.min():.2f}; "
          f"{seconds / len(percentiles):.2f} CPU s a unit with second attempts")  # fmt: skip


def facets(given: argparse.Namespace) -> None:
    """How many pictures are taken for their facet."""
    import torch

    from synesthete.analysis.own_model import own_model
    from synesthete.visualization.features import Settings, visualize
    from synesthete.visualization.features.facet_rules import RULES
    from synesthete.visualization.features.facets import pooled
    from synesthete.visualization.features.making import unpacked
    from synesthete.visualization.features.probing import fit_probes

    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(given.atlas, Path(folder) / "own.atlas"))
        atlas = open_atlas(path)
        addresses = drawn(atlas, given.facet_units, given.seed)
        found = visualize(atlas, addresses, facets="all", settings=Settings(steps=given.steps))
        model = own_model(atlas)
        pixels = torch.stack(
            [model.preprocess(unpacked(atlas.visualization(p))) for p in found.pictures]
        )
    used = next(iter(found.facets.values()))
    maps = np.concatenate([pooled(model, some, used.layer) for some in pixels.split(32)])
    embedded = model.encode_images(pixels)[:, :, None, None]
    rows = np.flatnonzero(np.array(atlas.probes["status"].to_pylist()) == "ok")
    some = np.random.default_rng(0).choice(rows, min(4000, len(rows)), replace=False)
    member = np.stack([RULES[name].rows(atlas.probes)[some] for name in used.probes])
    judges = fit_probes(np.asarray(atlas.embeddings()[some], np.float32)[:, :, None, None], member)
    plain = np.array([p.facet == "plain" for p in found.pictures])
    print(
        f"facets at {used.layer}, {len(addresses)} units; taken for the facet, of pictures made for it | of plain pictures"
    )
    print(
        f"{'facet':<8} {'probe':>6} {'its own probe':>30} {'judge':>6} {'a judge at the embedding':>30} strengths"
    )
    for name, judge in zip(used.probes, judges, strict=True):
        mine = np.array([p.facet == name for p in found.pictures])
        told = []
        for says in (used.probes[name].says(maps) > 0, judge.says(embedded) > 0):
            told.append(
                f"{rate(int(says[mine].sum()), int(mine.sum()))} | {says[plain].mean():.0%}"
            )
        strengths = sorted({p.strength for p in found.pictures if p.facet == name})
        print(
            f"{name:<8} {used.probes[name].accuracy:>6.2f} {told[0]:>30} {judge.accuracy:>6.2f} {told[1]:>30} {strengths}"
        )
    good = sum(p.excites for p in found.pictures if p.facet != "plain")
    print(f"faceted pictures beyond the 99.9th percentile: {rate(good, int((~plain).sum()))}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
