"""How fast a recording goes and when it ends."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

_WINDOW_SECONDS = 30.0
_REPORT_SECONDS = 0.1


class Progress(Protocol):
    """What `record` calls as it goes.

    Parameters
    ----------
    done, total
        Images, those of earlier interrupted runs included.
    images_per_second
        Over the last half minute; 0 while unknown.
    seconds_left
        Until the last image; None while unknown.
    """

    def __call__(
        self, done: int, total: int, images_per_second: float, seconds_left: float | None
    ) -> None:
        """Take note of how far it is."""
        ...


class ProgressMeter:
    """Counts images and reports at most ten times a second.

    Parameters
    ----------
    total
        Images in all.
    done
        Images already recorded by an earlier run.
    report
        Whom to tell; None for nobody.
    """

    def __init__(self, total: int, done: int, report: Progress | None) -> None:
        self.total = total
        self.done = done
        self._report = report
        self._reported = float("-inf")
        self._marks = deque([(time.monotonic(), done)])
        self._tell()

    def add(self, images: int) -> None:
        """Count some images more."""
        self.done += images
        now = time.monotonic()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[1][0] > _WINDOW_SECONDS:
            self._marks.popleft()
        if now - self._reported >= _REPORT_SECONDS or self.done == self.total:
            self._reported = now
            self._tell()

    @property
    def images_per_second(self) -> float:
        """Speed over the last half minute; 0 while unknown."""
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def _tell(self) -> None:
        if self._report is not None:
            speed = self.images_per_second
            left = (self.total - self.done) / speed if speed else None
            self._report(self.done, self.total, speed, left)
