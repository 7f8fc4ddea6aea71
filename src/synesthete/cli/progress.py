"""Progress on standard error: in place on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from synesthete.cli.console import count, dim, err, say

EVERY_SECONDS = 10.0


class Reporter:
    """Show how far a long job is.

    Parameters
    ----------
    verb
        What is done: "recording".
    unit
        What is counted: "images".
    """

    def __init__(self, verb: str, unit: str = "images") -> None:
        self.verb = verb
        self.unit = unit
        self._started = self._printed = time.monotonic()
        self._first: int | None = None
        self._live: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Reporter:
        console = err()
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=32),
                TextColumn("{task.fields[status]}"),
                console=console,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(
        self,
        done: int,
        total: int,
        images_per_second: float | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """Report that `done` of `total` are done, 0 where the total is not known; the speed is measured here when it is not given."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if images_per_second is None:
            seconds = now - self._started
            images_per_second = (done - self._first) / seconds if seconds > 1 else 0.0
        if seconds_left is None and images_per_second:
            seconds_left = (total - done) / images_per_second
        of = f" of {count(total)}" if total else ""
        status = f"{count(done)}{of} {self.unit}{_pace(images_per_second, self.unit)}"
        if seconds_left and done < total:
            status += f", {_duration(seconds_left)} left"
        if self._live is not None:
            if self._task is None:
                self._task = self._live.add_task(self.verb, total=total or None, status="")
            self._live.update(self._task, completed=done, total=total or None, status=status)
        elif (done == total and done > self._first) or now - self._printed >= EVERY_SECONDS:
            self._printed = now
            say(f"{self.verb}: {status}")


class StatusLine:
    """Show what is done now."""

    def __init__(self) -> None:
        self._printed = time.monotonic()
        self._terminal = err().is_terminal

    def __call__(self, status: str) -> None:
        """Show it."""
        now = time.monotonic()
        if self._terminal:
            err().print(dim(status[:100].ljust(100)), end="\r", soft_wrap=True)
        elif now - self._printed >= EVERY_SECONDS:
            self._printed = now
            say(status)


def _pace(speed: float, unit: str) -> str:
    return f", {speed:,.0f} {unit}/s" if speed >= 1 else ""


def _duration(seconds: float) -> str:
    """A duration, for people.

    Examples
    --------
    >>> _duration(9.6), _duration(100), _duration(7300)
    ('10 s', '2 min', '2 h 2 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
