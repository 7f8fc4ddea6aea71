"""Batches of examples, made by worker processes while the trainer computes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
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
        images = np.empty((count, size, size, 3), np.uint8)
        labels = np.empty((count, 5), np.int64)
        try:
            for i in range(count):
                images[i], *labels[i] = draw(corpus, size, rng)
        except Exception as error:  # noqa: BLE001 (whatever it is, the trainer has to know)
            results.put(error)
            return
        results.put((images, labels))
