"""A model and images of which every process can open its own, and a program that records them.

`python -m tests.recording.crowd FOLDER OUT KIND [ACT]`: once a first shard is committed, it does as ACT says and prints the
processes that this is about.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synesthete.models import load_model
from synesthete.probes import load_probes
from synesthete.recording import Executor, record
from tests.small_atlas import LAYER, write_model

IMAGES = 300


def prepare(folder: Path) -> Path:
    """A model with random weights, and 300 small images of which one cannot be read."""
    write_model(folder / "model")
    rows = ["file_name,concept,modality,artist"]
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        name = f"{number:03d}.png"
        pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        rows.append(f"{name},thing {number % 3},photo,artist {number % 5}")
    (folder / "images" / "007.png").write_bytes(b"no image")
    (folder / "images" / "metadata.csv").write_text("\n".join(rows))
    return folder


def record_crowd(
    folder: Path, out: Path, executor: Executor | None, *, poison: int | None = None, **more: Any
) -> Path:
    """Record the images in shards of 64."""
    model = load_model(f"local-dir:{folder / 'model'}")
    probes = load_probes(str(folder / "images"))
    if poison is not None:
        probes.source = Poisoned(probes.source, poison)
    settings = {"shard_size": 64, "exemplars": 2, "twins": ["random_twin"], **more}
    return record(model, probes, [LAYER], out, executor=executor, **settings)


@dataclasses.dataclass
class Poisoned:
    """Images one of which kills whoever reads it, unless that is the process where this began."""

    inner: Any
    row: int
    home: int = dataclasses.field(default_factory=os.getpid)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["inner"], name)

    def image(self, row: int) -> Image.Image:
        if row == self.row and os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)
        image: Image.Image = self.inner.image(row)
        return image


def die() -> None:
    """Leave the workers behind."""
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_an_actor() -> None:
    """`ray::Worker…` is the title of an actor; the command line of the raylet names a worker of Java."""
    titles = {x: command(x) for x in descendants(os.getpid())}
    ready = [x for x, title in titles.items() if title.startswith(b"ray::Worker") and b"__init__" not in title]  # fmt: skip
    os.kill(ready[0], signal.SIGKILL)
    print(f"\nkilled {ready[0]}", flush=True)  # among what Ray prints


ACTS = {"die": die, "kill an actor": kill_an_actor}


def descendants(pid: int) -> set[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return set()
    found = set(map(int, text.split()))
    return found | {other for one in found for other in descendants(one)}


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def after_one_shard(act: Callable[[], None]) -> None:
    run = Executor.run

    def watched(self: Executor, *given: Any) -> Iterator[int]:
        for place, number in enumerate(run(self, *given)):
            if place == 0:
                act()
            yield number

    Executor.run = watched  # type: ignore[method-assign]


if __name__ == "__main__":
    place, out, kind, *acts = sys.argv[1:]
    for act in acts:
        after_one_shard(ACTS[act])
    record_crowd(Path(place), Path(out), Executor(kind=kind, workers=2))
