"""Pieces of work: the same result whoever computes them, workers that are killed, folders that are left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import synesthete as syn
from synesthete.atlas.manifest import WORK
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.recording.executors import Executor
from synesthete.recording.pieces import Compute, compute_pieces
from tests.small_atlas import write_model

NUMBERS = 6


@dataclass(frozen=True)
class Squares:
    """The piece `poison` kills whoever computes it; who prepares leaves a file in `prepared`."""

    poison: int = -1
    prepared: Path | None = None

    def title(self, number: int) -> str:
        return f"square of {number}"

    def start(self, model: ImageTextModel) -> Compute:
        if self.prepared:
            tempfile.mkstemp(prefix=f"{os.getpid()}-", dir=self.prepared)
        return partial(self._compute, model)

    def _compute(
        self, model: ImageTextModel, number: int, seen: Callable[[int], None] | None
    ) -> bytes:
        if number == self.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        if seen is not None:
            seen(1)
        return f"{model.name} {number**2}".encode()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImageTextModel:
    return syn.load_model(write_model(tmp_path_factory.mktemp("pieces") / "model"))


def expected(model: ImageTextModel) -> dict[int, bytes]:
    return {n: f"{model.name} {n**2}".encode() for n in range(NUMBERS)}


@pytest.mark.parametrize("executor", [None, Executor(), Executor(kind="processes", workers=2)])
def test_whoever_computes(executor: Executor | None, model: ImageTextModel, tmp_path: Path) -> None:
    seen: list[int] = []
    work = compute_pieces(Squares(), range(NUMBERS), model, executor, tmp_path, seen.append)
    assert dict(work) == expected(model)
    assert sum(seen) == NUMBERS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("executor", [None, Executor(kind="processes", workers=2)])
def test_each_process_prepares_once(
    executor: Executor | None, model: ImageTextModel, tmp_path: Path
) -> None:
    prepared, home = tmp_path / "prepared", tmp_path / "home"
    prepared.mkdir()
    home.mkdir()
    work = compute_pieces(Squares(prepared=prepared), range(NUMBERS), model, executor, home)
    assert dict(work) == expected(model)
    processes = [one.name.partition("-")[0] for one in prepared.iterdir()]
    assert len(set(processes)) == len(processes) <= (2 if executor else 1)
    assert executor or processes == [str(os.getpid())]


def test_a_piece_that_kills_its_worker(model: ImageTextModel, tmp_path: Path) -> None:
    found: dict[int, bytes] = {}

    def collect(work: Iterator[tuple[int, bytes]]) -> None:
        for number, result in work:
            found[number] = result

    executor, before = Executor(kind="processes", workers=2), multiprocessing.active_children()
    work = compute_pieces(Squares(poison=2), range(NUMBERS), model, executor, tmp_path)
    with pytest.raises(SynestheteError, match="the worker of the square of 2 ended with signal 9"):
        collect(work)
    assert found == {n: result for n, result in expected(model).items() if n != 2}
    assert list(tmp_path.iterdir()) == []
    assert set(multiprocessing.active_children()) <= set(before)


def test_folders_of_the_killed_are_removed_a_day_later(
    model: ImageTextModel, tmp_path: Path
) -> None:
    old, new = tmp_path / f"{WORK}old", tmp_path / f"{WORK}new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "result-1").write_bytes(b"")
    os.utime(old, (time.time() - 90_000,) * 2)
    executor = Executor(kind="processes", workers=1)
    assert dict(compute_pieces(Squares(), [3], model, executor, tmp_path)) == {
        3: expected(model)[3]
    }
    assert list(tmp_path.iterdir()) == [new]
