"""A cache of bounded size that several threads may use, and what tells that a file was rewritten."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Bounded(Generic[Value]):
    """Keeps the values used last.

    Parameters
    ----------
    most
        How many.

    Examples
    --------
    >>> kept = Bounded[int](2)
    >>> [kept.get(key, lambda: key * 10) for key in (1, 2, 1, 3)], 2 in kept, 1 in kept
    ([10, 20, 10, 30], False, True)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made when it is not kept (outside of the lock: two threads may both make it)."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value


def file_stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is rewritten; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
