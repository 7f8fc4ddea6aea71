"""A second process that computes gradients of the same model on a core of its own, as fast as that core lets it.

Two threads of one process wait for the slower of two cores at every layer. Here the trainer never waits: it steps once
enough micro-batches have come from anywhere, and a helper on a busy core only gives fewer of them. A gradient that is
more than `STALE` steps old is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from multiprocessing import get_context, sharedctypes
from typing import Any

import numpy as np

STALE = 2
Batches = Iterator[tuple[np.ndarray, np.ndarray]]


class Shared:
    """Weights and gradients in memory that parent and helper both see; made before the fork."""

    def __init__(self, length: int) -> None:
        context = get_context("fork")
        self.lock = context.Lock()
        self.weights = np.frombuffer(sharedctypes.RawArray("f", length), np.float32)
        self.gradients = np.frombuffer(sharedctypes.RawArray("f", length), np.float32)
        self._numbers = np.frombuffer(sharedctypes.RawArray("q", 3), np.int64)

    @property
    def step(self) -> int:
        return int(self._numbers[0])

    @property
    def given(self) -> int:
        """Micro-batches whose gradients wait to be taken."""
        return int(self._numbers[1])

    @property
    def ended(self) -> bool:
        """Whether no more gradients are wanted."""
        return bool(self._numbers[2])

    def end(self) -> None:
        """Ask the helpers to stop."""
        self._numbers[2] = 1

    def publish(self, parameters: list[Any]) -> None:
        """The trainer's weights after a step."""
        with self.lock:
            _copy(parameters, self.weights)
            self._numbers[0] += 1

    def give(self, parameters: list[Any], since: int) -> None:
        """Add a helper's gradients, computed at step `since`."""
        with self.lock:
            if self.step - since <= STALE:
                for p, part in zip(parameters, _parts(parameters, self.gradients), strict=True):
                    if p.grad is not None:  # a batch without a written word leaves some readers be
                        part += p.grad.reshape(-1).numpy()
                self._numbers[1] += 1

    def take(self, parameters: list[Any]) -> int:
        """Add what helpers gave to the trainer's gradients; how many micro-batches that was."""
        import torch

        with self.lock:
            count = self.given
            if count:
                for p, part in zip(parameters, _parts(parameters, self.gradients), strict=True):
                    if p.grad is None:
                        p.grad = torch.zeros_like(p)
                    p.grad += torch.from_numpy(part).view_as(p)
                self.gradients[:] = 0
                self._numbers[1] = 0
        return count


def _parts(parameters: list[Any], flat: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum([p.numel() for p in parameters])
    return [flat[end - p.numel() : end] for p, end in zip(parameters, ends, strict=True)]


def _copy(parameters: list[Any], flat: np.ndarray) -> None:
    for p, part in zip(parameters, _parts(parameters, flat), strict=True):
        part[:] = p.detach().reshape(-1).numpy()


class Crew:
    """The helpers of one image size: started with it, dismissed before the next one."""

    def __init__(
        self, objective: Any, parameters: list[Any], batches: Batches, cores: frozenset[int]
    ) -> None:
        """Fork a helper onto each of `cores`: it inherits the objective and `parameters` as they are now."""
        self.shared = Shared(sum(p.numel() for p in parameters))
        self.shared.publish(parameters)
        self._processes = [
            get_context("fork").Process(
                target=_help, args=(self.shared, objective, parameters, batches, core), daemon=True
            )
            for core in sorted(cores)
        ]
        for process in self._processes:
            process.start()

    def dismiss(self) -> None:
        """Wait until every helper has ended its batch. (One killed while it reads the queue would lock it for all.)"""
        self.shared.end()
        for process in self._processes:
            process.join()


def _help(
    shared: Shared, objective: Any, parameters: list[Any], batches: Batches, core: int
) -> None:
    import torch

    os.nice(10)
    os.sched_setaffinity(0, {core})
    size = objective.visual.attnpool_size
    for images, labels in batches:
        if shared.ended:
            return
        if images.shape[1] != size:
            continue
        with shared.lock, torch.no_grad():
            since = shared.step
            for p, part in zip(parameters, _parts(parameters, shared.weights), strict=True):
                p.copy_(torch.from_numpy(part).view_as(p))
        for p in parameters:
            p.grad = None
        loss, _ = objective(images, labels)
        loss.backward()
        shared.give(parameters, since)
