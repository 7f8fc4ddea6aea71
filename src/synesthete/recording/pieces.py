"""Numbered pieces of work whose results are bytes, computed by whomever an executor hires: this process, others, or actors of Ray.

Whoever computes a piece leaves its result as a file in a folder that all of them see, in one step; this process reads it once. Killed, the folder is
of no use, and is removed a day later.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from synesthete._core.user_files import ANY_SIZE, read_inside
from synesthete.atlas.files import disk_errors, write_file
from synesthete.atlas.manifest import WORK
from synesthete.errors import SynestheteError, near
from synesthete.recording.executors import KINDS

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.recording.executors import Executor

STALE = 86_400  # seconds after which nobody is at work in a folder
EXECUTORS = ("local", "processes", "ray")


# The result of a piece by its number; the function is called with a number of things whenever so many more are done.
Compute = Callable[[int, Callable[[int], None] | None], bytes]


class Pieces(Protocol):
    """Work in pieces, as another process can be sent it."""

    def title(self, number: int) -> str:
        """What a piece consists of, for messages."""
        ...

    def start(self, model: ImageTextModel) -> Compute:
        """Prepare, once in each process that computes pieces."""
        ...


def check_executor(kind: str) -> str:
    """Return `kind`, or say which executors compute pieces.

    Raises
    ------
    SynestheteError
        It is none of them: an array job, whose tasks would each collect the results, or no executor at all.
    """
    if kind not in EXECUTORS:
        what = "only recordings have an" if kind in KINDS else "no"
        message = f"{what} executor {kind!r}; there are {', '.join(EXECUTORS)}"
        raise SynestheteError(message, hint=near(kind, EXECUTORS))
    return kind


@contextlib.contextmanager
def shared_folder(home: Path) -> Iterator[Path]:
    """A folder in `home` for pieces and results, which is removed at the end; others that killed processes left are, too."""
    for left in home.glob(f"{WORK}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)
    with disk_errors(home):
        folder = tempfile.TemporaryDirectory(prefix=WORK, dir=home, ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name).absolute()


def compute_pieces(
    pieces: Pieces,
    numbers: Iterable[int],
    model: ImageTextModel,
    executor: Executor | None,
    home: Path,
    seen: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, bytes]]:
    """Numbers and results, as they are done: of `processes` and `ray` in any order.

    Parameters
    ----------
    numbers
        Of the pieces; of an iterator the next is taken when somebody is free for it.
    executor
        Who computes; this process without it.
    home
        A folder that every worker sees: others leave their results in one within it, while they compute.
    seen
        As for `Compute`; called with a number below 0 where work was lost.

    Raises
    ------
    SynestheteError
        An array job; workers that cannot open the model, or that are killed by a piece again and again: after all others.
    """
    if executor is None or check_executor(executor.kind) == "local":
        compute: Compute | None = None  # nothing is prepared for no pieces
        for number in numbers:
            compute = compute or pieces.start(model)
            yield number, compute(number, seen)
        return
    with shared_folder(home) as folder:
        job = PieceJob(work=folder, pieces=pieces)
        for number in executor.run(job, numbers, model, seen or (lambda count: None)):
            yield number, job.result(number)


@dataclass(frozen=True, kw_only=True)
class PieceJob:
    """Pieces as the job of an executor (`synesthete.recording.executors.Job`).

    Attributes
    ----------
    work
        The folder of the results; every worker sees it.
    pieces
        What is computed.
    """

    work: Path
    pieces: Pieces

    def title(self, number: int) -> str:
        """What a piece consists of, for messages."""
        return self.pieces.title(number)

    def start(self, model: ImageTextModel) -> Computing:
        """Compute with a model."""
        return Computing(self, model)

    def file(self, number: int) -> Path:
        """Where the result of a piece is left."""
        return self.work / f"result-{number}"

    def result(self, number: int) -> bytes:
        """The result of a piece, once; its file is removed."""
        data = read_inside(self.work, self.file(number), max_bytes=ANY_SIZE)
        self.file(number).unlink()
        return data


class Computing:
    """Computes pieces, one after the other."""

    def __init__(self, job: PieceJob, model: ImageTextModel) -> None:
        self._job, self._compute = job, job.pieces.start(model)

    def run(
        self, numbers: Iterable[int], seen: Callable[[int], None] | None = None
    ) -> Iterator[int]:
        """As `synesthete.recording.executors.Work` says."""
        for number in numbers:
            write_file(self._job.file(number), self._compute(number, seen), sync=False)
            yield number
