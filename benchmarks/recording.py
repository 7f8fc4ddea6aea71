"""How fast `record` is against a bare `encode_image` loop, and how its memory grows: one command.

    python benchmarks/recording.py --model mini --probes concepts --images 1024

Speed: the same process preprocesses the images, runs a bare loop of `encode_images` over them, then
records them, reading, decoding, statistics, thumbnails and files included. The runs take turns, so that
a machine that grows slower slows them all; the best of the rounds counts. Processor time is given too,
because it tells the work apart from what else the machine does. Memory: one fresh process per number of
images, peak resident size.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from synesthete.models import ImageTextModel, load_model
from synesthete.probes import ProbeSet, load_probes
from synesthete.recording import record
from synesthete.recording.plan import MICRO_BATCH


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
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[256, 1024, 4096], metavar="IMAGES"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak-of", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def some(options: argparse.Namespace, images: int) -> ProbeSet:
    """Images from all over the probe set, as many as there are up to `images`."""
    probes = load_probes(options.probes, texts=False)
    wanted = min(images, len(probes))
    return probes.select(indices=[index * len(probes) // wanted for index in range(wanted)])


Clock = tuple[float, float]


def timed(work: Callable[[], Any]) -> Clock:
    """Seconds on the wall and seconds of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def bare(model: ImageTextModel, pixels: list[torch.Tensor]) -> Clock:
    """Time of a loop that only encodes."""

    def loop() -> None:
        for batch in pixels:
            model.encode_images(batch)

    return timed(loop)


def recorded(model: ImageTextModel, probes: ProbeSet, *, twins: tuple[str, ...]) -> Clock:
    """Time of recording into a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x.atlas"
        return timed(lambda: record(model, probes, None, out, twins=twins))


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Images per second of each way, and their ratio."""
    model, probes = load_model(options.model), some(options, options.images)
    images = [model.preprocess(probes.image(index)) for index in range(len(probes))]
    starts = range(0, len(images), MICRO_BATCH)
    pixels = [torch.stack(images[start : start + MICRO_BATCH]) for start in starts]
    # Hashes of weights and images are computed once per object, not once per recording.
    _ = model.weights_sha256, probes.fingerprint
    bare(model, pixels[:2])
    rounds = [
        (
            bare(model, pixels),
            recorded(model, probes, twins=()),
            recorded(model, probes, twins=("random_twin",)),
        )
        for _ in range(options.rounds)
    ]
    ways = list(zip(*rounds, strict=True))
    loop, alone, with_twin = (len(probes) / min(wall for wall, _ in way) for way in ways)
    loop_cpu, alone_cpu, twin_cpu = (min(processor for _, processor in way) for way in ways)
    return {
        "model": options.model,
        "images": len(probes),
        "threads": options.threads,
        "bare_loop_images_per_second": loop,
        "record_images_per_second": alone,
        "record_with_twin_images_per_second": with_twin,
        "record_over_bare": alone / loop,
        # The twin is a second model of the same size: the fair loop encodes everything twice.
        "record_with_twin_over_two_bare_passes": with_twin / (loop / 2),
        "record_over_bare_processor_time": loop_cpu / alone_cpu,
        "record_with_twin_over_two_bare_passes_processor_time": 2 * loop_cpu / twin_cpu,
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
    recorded(model, probes, twins=("random_twin",))
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"images": len(probes), "peak_memory_mb": kilobytes / 1024}


def show(result: dict[str, Any]) -> None:
    """Print for people."""
    print(f"{result['model']}, {result['images']} images, {result['threads']} threads")
    print(f"  bare encode_image loop   {result['bare_loop_images_per_second']:8.1f} images/s")
    print(
        f"  record                   {result['record_images_per_second']:8.1f} images/s"
        f"   {result['record_over_bare']:.2f} of the bare loop"
        f" ({result['record_over_bare_processor_time']:.2f} by processor time)"
    )
    print(
        f"  record with random twin  {result['record_with_twin_images_per_second']:8.1f} images/s"
        f"   {result['record_with_twin_over_two_bare_passes']:.2f} of two bare passes"
        f" ({result['record_with_twin_over_two_bare_passes_processor_time']:.2f} by processor time)"
    )
    for images, megabytes in result["peak_memory_mb"].items():
        print(f"  peak memory, {int(images):6,} images   {megabytes:8.0f} MB")


if __name__ == "__main__":
    main()
