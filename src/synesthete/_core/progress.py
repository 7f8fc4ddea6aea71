"""Progress of a computation in steps."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]  # (steps done, steps in all; 0 where nobody knows)


class Steps:
    """Count the steps of a computation and report each.

    Parameters
    ----------
    report
        Called with (steps done, steps in all); None for nobody.
    total
        Steps in all.

    Examples
    --------
    >>> steps = Steps(print, 2)
    >>> steps.advance()
    1 2
    """

    def __init__(self, report: Progress | None, total: int) -> None:
        self._report, self.done, self.total = report, 0, total

    def advance(self) -> None:
        """One step more is done."""
        self.done += 1
        if self._report is not None:
            self._report(self.done, self.total)
