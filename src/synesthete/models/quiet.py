"""Keeping the libraries underneath from the user's terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's log lines from the user's terminal; errors are told in our own words."""
    root = logging.getLogger()
    level, handler = root.level, logging.NullHandler()
    # Without any handler, logging would install one for the whole process on the first line.
    root.addHandler(handler)
    root.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
