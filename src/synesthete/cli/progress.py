"""Progress on standard error: a live bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from synesthete.cli.console import count, err, say

EVERY_SECONDS = 10.0


class Reporter:
    """Show how far a long job is: call it with (done, total, stage); speed and time left are its own.

    Parameters
    ----------
    verb
        What is being done, shown before the stage: "recording".
    unit
        What is counted: "images".
    """

    def __init__(self, verb: str, unit: str = "images") -> None:
        self.verb = verb
        self.unit = unit
        self._stage = ""
        self._started = self._spoken = time.monotonic()
        self._first = 0
        self._live: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Reporter:
        console = err()
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=32),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
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

    def __call__(self, done: int, total: int, stage: str = "") -> None:
        """Report that `done` of `total` are done in `stage`."""
        now = time.monotonic()
        if stage != self._stage or done < self._first:
            self._stage, self._started, self._first, self._task = stage, now, done, None
        seconds = now - self._started
        speed = (done - self._first) / seconds if seconds > 0.5 else 0.0
        label = f"{self.verb} {stage}".strip()
        told = f"{speed:,.0f} {self.unit}/s" if speed else ""
        if self._live is not None:
            if self._task is None:
                self._task = self._live.add_task(label, total=total, speed="")
            self._live.update(self._task, completed=done, total=total, speed=told)
        elif done == total or now - self._spoken >= EVERY_SECONDS:
            self._spoken = now
            left = f", {(total - done) / speed:,.0f} s left" if speed and done < total else ""
            pace = f", {told}" if told else ""
            say(f"{label}: {count(done)} of {count(total)} {self.unit}{pace}{left}")
