"""Batches of examples: made by worker processes while the trainer computes, or drawn beforehand in a fixed order."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import Corpus
from training.examples import draw


class Loader:
    """Batches made by worker processes; the image size can change between batches."""

    def __init__(
        self, corpus: Corpus, seed: int, workers: int = 2, cores: frozenset[int] = frozenset()
    ) -> None:
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self._requests: Any = context.Queue()
        self._results: Any = context.Queue(maxsize=6)
        for i in range(workers):
            args = (corpus, self._requests, self._results, seed * 1000 + i, cores)
            context.Process(target=_work, args=args, daemon=True).start()

    def batches(self, shape: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless batches; `shape()` is asked for `(size, batch)` when each is ordered.

        What a worker fails with is raised here: without it the others would do its work, and nobody would know.
        """
        for _ in range(6):
            self._requests.put(shape())
        while True:
            result = self._results.get(timeout=300)
            if isinstance(result, Exception):
                raise result
            yield result
            self._requests.put(shape())


def _work(corpus: Corpus, requests: Any, results: Any, seed: int, cores: frozenset[int]) -> None:
    """Answer every `(size, count)` with images and their labels `[count, 5]`, on `cores` if any are named.

    The answer to what cannot be done is the exception, and is the last.
    """
    os.nice(2)
    if cores:
        os.sched_setaffinity(0, cores)
    rng = np.random.default_rng([seed, int(time.time())])
    while True:
        size, count = requests.get()
        try:
            created = _batch(corpus, size, count, rng)
        except Exception as error:  # noqa: BLE001 (whatever it is, the trainer has to know)
            results.put(error)
            return
        results.put(created)


def _batch(
    corpus: Corpus, size: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((count, size, size, 3), np.uint8)
    labels = np.empty((count, 5), np.int64)
    for i in range(count):
        images[i], *labels[i] = draw(corpus, size, rng)
    return images, labels


@dataclass(frozen=True)
class Order:
    """Examples in a fixed order, in files: runs that are to be compared see the same ones, each in its own time.

    `batches` of `batch` examples each, of `stages`' sizes, each from a fraction of the order on.
    """

    batches: int
    batch: int
    stages: tuple[tuple[float, int], ...]
    seed: int = 0

    @classmethod
    def read(cls, folder: Path) -> Order:
        saved = json.loads((folder / "order.json").read_text())
        return cls(**saved | {"stages": tuple((start, size) for start, size in saved["stages"])})

    def draw(self, corpus: Corpus, folder: Path, share: tuple[int, int] = (0, 1)) -> int:
        """Write what is not in `folder` yet; how many batches that was. Of several processes each draws its `share`: number, of how many.

        Raises
        ------
        ValueError
            If the folder has another order.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "order.json").exists() and Order.read(folder) != self:
            raise ValueError(f"{folder} has another order of examples")
        (folder / "order.json").write_text(json.dumps(asdict(self)) + "\n")
        drawn = 0
        for number in range(share[0], self.batches, share[1]):
            path = _file(folder, number)
            if path.exists():
                continue
            size = [size for start, size in self.stages if number / self.batches >= start][-1]
            rng = np.random.default_rng([self.seed, number])
            images, labels = _batch(corpus, size, self.batch, rng)
            np.savez(part := path.with_suffix(".part.npz"), images=images, labels=labels)
            part.rename(path)
            drawn += 1
        return drawn


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


class Drawn:
    """The batches of an `Order`, from number `first` to the last; one that is not drawn yet is waited for."""

    def __init__(self, folder: Path, first: int = 0, patience: float = 1800.0) -> None:
        self.folder, self.first, self.patience = folder, first, patience
        self.order = Order.read(folder)

    def batches(self, shape: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `Loader.batches`, but what is there decides the shape, and it ends.

        Raises
        ------
        FileNotFoundError
            If a batch has not come after `patience` seconds.
        """
        for number in range(self.first, self.order.batches):
            path, since = _file(self.folder, number), time.monotonic()
            while not path.exists() and time.monotonic() - since < self.patience:
                time.sleep(0.2)
            with np.load(path) as saved:
                yield saved["images"], saved["labels"]
