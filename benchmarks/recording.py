"""How fast `record` is against the bare forward, its own loader and a stock loop, and how its memory grows: one command.

    python benchmarks/recording.py --model mini --probes concepts --images 1024

Speed, in one process and in turns, so that a machine that grows slower slows all of it; the best of the rounds counts:

- stock: open_clip's network in float32 as it is loaded, its own transform in two workers of a DataLoader;
- bare: a loop of `encode_images` over tensors that are there already, in float32 and in the precision that is recorded;
- loader: decode, preprocess and forward, with the recording's own loader and nothing else;
- record: a whole recording, statistics, exemplars, thumbnails and files included, without and with a random twin.

Processor time (of workers, too) tells the work apart from what else the machine does. Memory: one fresh process per number of
images, peak resident size.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from synesthete.models import ImageTextModel, load_model
from synesthete.probes import ProbeSet, load_probes
from synesthete.recording import record
from synesthete.recording.feed import feed, micro_batches
from synesthete.recording.plan import MICRO_BATCH
from synesthete.recording.precision import CHOICES, Forward, choose


def main() -> None:
    """Measure and print, as text or JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(json.dumps(peak_here(options)))
        return
    result = speed(options) | {"peak_memory_mb": memory(options)}
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--probes", default="concepts")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=CHOICES, default="auto")
    parser.add_argument("--twin", action="store_true", help="record with a random twin, too")
    parser.add_argument("--memory", type=int, nargs="*", default=[], metavar="IMAGES")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak-of", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def some(options: argparse.Namespace, images: int) -> ProbeSet:
    """Images from all over the probe set, as many as there are up to `images`, in runs of 64: neighbours may share a file."""
    probes = load_probes(options.probes, texts=False)
    runs = max(1, min(images, len(probes)) // 64)
    starts = [run * len(probes) // runs for run in range(runs)]
    rows = [row for start in starts for row in range(start, min(start + 64, len(probes)))]
    return probes.select(indices=rows[:images])


Clock = tuple[float, float]


def timed(work: Callable[[], Any]) -> Clock:
    """Seconds on the wall and seconds of processor time, of processes that ended meanwhile, too."""
    wall, processor = time.perf_counter(), processor_time()
    work()
    return time.perf_counter() - wall, processor_time() - processor


def processor_time() -> float:
    """Seconds of processor time of this process and those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Images(Dataset[torch.Tensor]):
    """A probe set with open_clip's own transform."""

    def __init__(self, model: ImageTextModel, probes: ProbeSet) -> None:
        self.transform, self.probes = model.preprocess, probes

    def __len__(self) -> int:
        return len(self.probes)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.probes.image(index))


class Ways:
    """What is compared, over the same images."""

    def __init__(self, model: ImageTextModel, probes: ProbeSet, forward: Forward) -> None:
        self.model, self.probes, self.forward = model, probes, forward
        self.lower = model.at_precision(forward.precision)
        # As open_clip loads it: channels do not lie together.
        self.plain = copy.deepcopy(model.network).to(memory_format=torch.contiguous_format)
        images = [model.preprocess(probes.image(index)) for index in range(len(probes))]
        self.pixels = torch.stack(images)

    def stock(self) -> None:
        """open_clip as its readme has it."""
        loader = DataLoader(Images(self.model, self.probes), MICRO_BATCH, num_workers=2)
        with torch.no_grad():
            for batch in loader:
                found = self.plain.encode_image(batch)
                found /= found.norm(dim=-1, keepdim=True)

    def bare_fp32(self) -> None:
        """Tensors to embeddings."""
        encoded(self.model, self.pixels, MICRO_BATCH)

    def bare(self) -> None:
        """The same in the precision and the batches of the recording."""
        encoded(self.lower, self.pixels, self.forward.micro_batch)

    def loader(self) -> None:
        """Decode, preprocess, forward."""
        size = self.forward.micro_batch
        batches = micro_batches(range(len(self.probes)), size)
        for batch in feed(self.model, self.probes, batches, size=size, thumbnails=False):
            self.lower.encode_images(batch.pixels)

    def record(self) -> None:
        """A whole recording."""
        recorded(self.model, self.probes, self.forward, twins=())

    def record_with_twin(self) -> None:
        """With a second model, as a control."""
        recorded(self.model, self.probes, self.forward, twins=("random_twin",))


def encoded(model: ImageTextModel, pixels: torch.Tensor, size: int) -> np.ndarray:
    """Embeddings, so many images at once."""
    return np.concatenate([model.encode_images(batch) for batch in torch.split(pixels, size)])


def recorded(
    model: ImageTextModel, probes: ProbeSet, forward: Forward, *, twins: tuple[str, ...]
) -> None:
    """Record into a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x.atlas"
        record(model, probes, None, out, twins=twins, precision=forward.precision)


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Images per second of each way, and the ratios."""
    model, probes = load_model(options.model), some(options, options.images)
    # Hashes of weights and images are computed once per object, not once per recording.
    _ = model.weights_sha256, probes.fingerprint
    if options.precision == "auto":
        every = load_probes(options.probes, texts=False)
        forward = choose(model, every, model.default_layers, "max")
    else:
        forward = Forward(precision=options.precision, speeds={}, reason="as requested")
    ways = Ways(model, probes, forward)
    names = ["stock", "bare_fp32", "bare", "loader", "record"]
    names += ["record_with_twin"] * options.twin
    few = ways.pixels[:64]
    cosines = encoded(model, few, MICRO_BATCH) * encoded(ways.lower, few, forward.micro_batch)
    clocks: dict[str, list[Clock]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            clocks[name].append(timed(getattr(ways, name)))
    wall = {name: min(clock[0] for clock in found) for name, found in clocks.items()}
    processor = {name: min(clock[1] for clock in found) for name, found in clocks.items()}
    return {
        "model": options.model,
        "images": len(probes),
        "rounds": options.rounds,
        "threads": options.threads,
        "forward": str(forward),
        "cosine": float(cosines.sum(axis=1).min()),
        "images_per_second": {name: len(probes) / seconds for name, seconds in wall.items()},
        "processor_ms_per_image": {
            name: 1000 * seconds / len(probes) for name, seconds in processor.items()
        },
        "record_over": {name: wall[name] / wall["record"] for name in names[:4]},
        "record_over_by_processor_time": {
            name: processor[name] / processor["record"] for name in names[:4]
        },
        "by_round": {
            name: [
                one[1] / record[1]
                for one, record in zip(clocks[name], clocks["record"], strict=True)
            ]
            for name in names[:4]
        },
    }


def memory(options: argparse.Namespace) -> dict[str, float]:
    """Peak resident megabytes of a fresh process for each number of images."""
    found = {}
    for images in options.memory:
        command = [sys.executable, __file__, "--peak-of", str(images), "--threads"]
        command += [str(options.threads), "--model", options.model, "--probes", options.probes]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(ran.stdout.splitlines()[-1])
        found[str(result["images"])] = result["peak_memory_mb"]
    return found


def peak_here(options: argparse.Namespace) -> dict[str, Any]:
    """Peak resident megabytes of this process after recording."""
    model, probes = load_model(options.model), some(options, options.peak_of)
    recorded(
        model,
        probes,
        Forward(speeds={}, reason="for memory"),
        twins=("random_twin",),
    )
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"images": len(probes), "peak_memory_mb": kilobytes / 1024}


def show(result: dict[str, Any]) -> None:
    """Print for people."""
    print(f"{result['model']}, {result['images']} images, {result['threads']} threads")
    print(f"{result['forward']}; cosine here {result['cosine']:.5f}")
    print(f"  {'':<18}images/s  ms of processor   record over it   by processor time")
    for name, rate in result["images_per_second"].items():
        line = f"  {name:<18}{rate:8.1f}{result['processor_ms_per_image'][name]:17.1f}"
        if name in result["record_over"]:
            line += f"{result['record_over'][name]:17.2f}"
            line += f"{result['record_over_by_processor_time'][name]:20.2f}"
        print(line)
    for images, megabytes in result["peak_memory_mb"].items():
        print(f"  peak memory, {int(images):6,} images   {megabytes:8.0f} MB")


if __name__ == "__main__":
    main()
