"""Work in the background of a server: one job at a time, with its progress; a second request for it joins it."""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from synesthete._core.progress import Progress
from synesthete.errors import SynestheteError
from synesthete.server.errors import Refused

MOST_WAITING, KEPT = 8, 200
PATIENCE = 5.0  # seconds that a server that ends waits for its job
State = Literal["none", "waiting", "running", "done", "failed"]
Work = Callable[[Progress], object]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How far some work is.

    Attributes
    ----------
    state
        `none` where nobody has started it since the server did.
    done, total
        Of its units of work; 0 of 0 before it knows them.
    message
        Why it failed, in one line; empty otherwise.
    """

    state: State = "none"
    done: int = 0
    total: int = 0
    message: str = ""

    @property
    def active(self) -> bool:
        """Whether it is still to end."""
        return self.state in ("waiting", "running")


class Jobs:
    """Carries work out in a thread of its own, one job after the other.

    Examples
    --------
    >>> jobs = Jobs()
    >>> jobs.start("a", lambda progress: progress(1, 1)).state
    'waiting'
    >>> jobs.wait(), jobs.of("a").state, jobs.of("a").done, jobs.of("b").state
    (True, 'done', 1, 'none')
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[tuple[Hashable, Work]] = deque()
        self._jobs: dict[Hashable, Job] = {}  # and the last of those that ended
        self._thread: threading.Thread | None = None
        self._stopping = False

    def of(self, key: Hashable) -> Job:
        """How far a job is; of those that ended the last are known."""
        with self._changed:
            return self._jobs.get(key, Job())

    def start(self, key: Hashable, work: Work) -> Job:
        """Let work be done when its turn comes; where that of the same key is still to end, it is joined.

        Parameters
        ----------
        key
            Of the job.
        work
            Called with a function that takes (steps done, steps in all); when the server ends, that raises `Stopped`.

        Raises
        ------
        Refused
            503: too many jobs wait.
        """
        with self._changed:
            known = self._jobs.get(key, Job())
            if known.active:
                return known
            if len(self._queue) >= MOST_WAITING or self._stopping:
                hint = "wait until one of them ends"
                raise Refused(503, "too many computations wait already", hint=hint, retry_after=10)
            job = self._jobs[key] = Job(state="waiting")
            self._queue.append((key, work))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
                self._thread.start()
                # A thread that is inside of torch must not outlive the interpreter.
                atexit.register(self.stop)
            return job

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until every job has ended; whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, seconds)

    def stop(self) -> None:
        """End the job that runs at its next step, and start none that waits."""
        with self._changed:
            self._stopping = True
        self.wait(PATIENCE)

    def _run(self) -> None:
        while (found := self._next()) is not None:
            key, work = found
            try:
                work(partial(self._note, key))
            except Exception as error:  # noqa: BLE001 (whatever it is, the page has to say so)
                self._end(key, "failed", _message(error))
            else:
                self._end(key, "done")

    def _next(self) -> tuple[Hashable, Work] | None:
        with self._changed:
            if self._queue and not self._stopping:
                key, work = self._queue.popleft()
                self._jobs[key] = replace(self._jobs[key], state="running")
                return key, work
            for key, _ in self._queue:
                del self._jobs[key]
            self._queue.clear()
            self._thread = None
            if not self._stopping:
                atexit.unregister(self.stop)
            self._changed.notify_all()
            return None

    def _end(self, key: Hashable, state: State, message: str = "") -> None:
        with self._changed:
            self._jobs[key] = replace(self._jobs.pop(key), state=state, message=message)
            for old in [one for one, job in self._jobs.items() if not job.active][:-KEPT]:
                del self._jobs[old]

    def _note(self, key: Hashable, done: int, total: int) -> None:
        with self._changed:
            if self._stopping:
                raise Stopped
            self._jobs[key] = replace(self._jobs[key], done=done, total=total)


class Stopped(Exception):
    """The server ends."""


def _message(error: Exception) -> str:
    """What people are shown of an error: one line of ours, and of others that it is in the server's log."""
    if isinstance(error, SynestheteError):
        return str(error)
    if isinstance(error, Stopped):
        return "the server ended"
    logging.getLogger(__name__).error("a job failed", exc_info=error)
    return "it failed unexpectedly; the server's log says why"
