"""Kill -9 at the n-th change to a folder: a child of this process counts its file operations and dies at one of them."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What changes a folder, with the place of the descriptor that a relative name may belong to (None: there is none).
OPERATIONS: dict[str, int | None] = {
    "open": None, "os.truncate": None, "os.mkdir": 2, "os.remove": 1, "os.rmdir": 1, "os.rename": 2
}  # fmt: skip


class Counter:
    """Counts changes to a folder from when it is made, SQL statements included; dies at one of them.

    Parameters
    ----------
    folder
        Changes elsewhere count for nothing.
    step
        At which change the process kills itself, just before it; 0 for never.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.seen = 0
        self._step = step
        self._folder = folder.resolve()
        self._connect = sqlite3.connect
        sqlite3.connect = self._traced  # type: ignore[assignment]
        sys.addaudithook(self._audit)

    def _traced(self, database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """An audit hook does not see statements, and gets a connection before it can be traced."""
        connection = self._connect(database, *arguments, **options)
        if self._inside(database, None):
            connection.set_trace_callback(self._statement)
        return connection

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in OPERATIONS or (event == "open" and not arguments[2] & _WRITES):
            return
        place = OPERATIONS[event]
        if self._inside(arguments[0], None if place is None else arguments[place]):
            self._count()

    def _statement(self, text: str) -> None:
        if not text.lstrip().upper().startswith("SELECT"):
            self._count()

    def _count(self) -> None:
        self.seen += 1
        if self.seen == self._step:
            os.kill(os.getpid(), signal.SIGKILL)

    def _inside(self, path: Any, descriptor: int | None) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        place = Path(os.fsdecode(path))
        if descriptor is not None and descriptor >= 0:
            place = Path(f"/proc/self/fd/{descriptor}").readlink() / place
        return place.absolute().is_relative_to(self._folder)


_WRITES = os.O_WRONLY | os.O_RDWR


def fork(work: Callable[[], object]) -> int:
    """A child that does something and ends with 0, or with 1 after an error; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)
