"""Whether memory of recording depends on the number of images: a tiny tower, generated images, the real recorder: one command.

    python benchmarks/recording_memory.py --images 10000 100000

Each number of images is recorded by a fresh process, which prints its peak resident size (`ru_maxrss`) and what it used before the
recorder started: the libraries, the model, and the table of the probe set, whose labels are in memory. Images are noise of their
numbers, of 8 concepts in 4 modalities by 16 artists; nothing is read from a disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

SIDE, CHANNELS, PART = 16, 32, 10_000
MODALITIES = ("photo", "drawing", "symbol", "word")


def main() -> None:
    """Measure and print, as text or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=1, help="fresh processes for each number")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(record_here(options.here)))
        return
    rows = [
        measured(images) | {"round": number}
        for number in range(options.rounds)
        for images in options.images
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'images':>10} {'peak MB':>9} {'at its start':>13} {'against the first':>18} {'s':>7}")
    first = rows[0]["peak_mb"]
    for row in rows:
        print(
            f"{row['images']:10,} {row['peak_mb']:9.1f} {row['start_mb']:13.1f} "
            f"{row['peak_mb'] / first - 1:+18.1%} {row['processor_s']:7.0f}"
        )


def measured(images: int) -> dict[str, Any]:
    """What a fresh process says of itself."""
    command = [sys.executable, __file__, "--here", str(images)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def record_here(images: int) -> dict[str, Any]:
    """Record in this process; peak and first resident size in MB, seconds of processor."""
    import torch
    from torch import nn

    from synesthete.models import wrap
    from synesthete.models.preprocessing import Preprocessing
    from synesthete.recording import record

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tower = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    prepared = Preprocessing(
        image_size=SIDE,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        interpolation="bicubic",
        resize_mode="shortest",
        fill_color=0,
    )
    model = wrap(tower, prepared, name="tiny", layers=["1"])
    probes = probe_set(images)
    start = resident_mb()
    with tempfile.TemporaryDirectory() as folder:
        record(model, probes, None, Path(folder) / "tiny.atlas", twins=())
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images": images,
        "peak_mb": used.ru_maxrss / 1024,
        "start_mb": start,
        "processor_s": used.ru_utime + used.ru_stime,
    }


class Noise:
    """Images that are generated from their numbers."""

    def image(self, row: int) -> Image.Image:
        """Noise, seeded by the row."""
        pixels = np.random.default_rng(row).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        return Image.fromarray(pixels)

    def digest(self, row: int) -> str:
        """Of the row's number, which makes the image."""
        return hashlib.sha256(str(row).encode()).hexdigest()


def probe_set(images: int) -> Any:
    """Labels as a user's set has them."""
    from synesthete.probes import COLUMNS, ProbeSet

    # In parts, so that Python's objects of all labels are never there at once.
    parts = []
    for start in range(0, images, PART):
        numbers = range(start, min(start + PART, images))
        labels = {
            "key": [f"set/{number:08d}.png" for number in numbers],
            "concept": [f"concept {number % 8}" for number in numbers],
            "modality": [MODALITIES[number // 8 % 4] for number in numbers],
            "artist": [f"artist {number // 32 % 16}" for number in numbers],
        }
        empty = [""] * len(numbers)
        columns = {name: pa.array(labels.get(name, empty), pa.string()) for name in COLUMNS}
        parts.append(pa.table(columns))
    table = pa.concat_tables(parts)
    return ProbeSet("noise", table, Noise())


def resident_mb() -> float:
    """What is resident now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
