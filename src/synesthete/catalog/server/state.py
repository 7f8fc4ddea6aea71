"""What the workers of one server share: how many requests a caller has left, the link that works once, and who is ready."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synesthete._core.sqlite import connect, write_ahead
from synesthete.errors import SynestheteError

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS buckets (caller TEXT PRIMARY KEY, tokens REAL NOT NULL, allowed INTEGER NOT NULL,"
    " at REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS links (digest TEXT PRIMARY KEY, spent INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS ready (pid INTEGER PRIMARY KEY) WITHOUT ROWID",
)
# One statement, so that two processes never take the same token.
_FULL = "MIN(:most, tokens + MAX(0, :now - at) * :most / 60)"
_TAKE = (
    "INSERT INTO buckets VALUES (:caller, :most - 1, 1, :now) ON CONFLICT (caller) DO UPDATE SET"
    f" tokens = {_FULL} - ({_FULL} >= 1), allowed = {_FULL} >= 1, at = MAX(at, :now) RETURNING tokens, allowed"
)
WAIT_SECONDS = 30.0
MEMORY = Path(":memory:")


@dataclass(frozen=True)
class Allowance:
    """Whether a request is within the rate, how many more are, and after how many seconds the next is."""

    allowed: bool
    left: int
    wait: float


class SharedState:
    """The state of a server; that of one with several workers is in a file, which lives as long as the server.

    Parameters
    ----------
    path
        The file; without it the state is this process's own.
    clock
        Seconds, the same for all processes.

    Examples
    --------
    >>> now = [0.0]
    >>> state = SharedState(clock=lambda: now[0])
    >>> [state.take("a", 2).allowed for _ in range(3)], state.take("b", 2).allowed
    ([True, True, False], True)
    >>> now[0] = 30.0  # after half a minute, half of the bucket is full again
    >>> [state.take("a", 2).allowed for _ in range(2)]
    [True, False]
    """

    def __init__(
        self, path: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = connect(
            path or MEMORY,
            wait_seconds=WAIT_SECONDS,
            private=path is not None,
            every_thread=True,
        )
        if path:
            write_ahead(self._connection)
        # It need not survive the machine, so no commit waits for the disk.
        self._connection.execute("PRAGMA synchronous = OFF")
        for statement in _SCHEMA:
            self._connection.execute(statement)

    def take(self, caller: str, per_minute: int) -> Allowance:
        """Take one token from the caller's bucket, which holds a minute's worth of requests."""
        given = {"caller": caller, "most": float(per_minute), "now": self._clock()}
        tokens, allowed = self._run(_TAKE, given)[0]
        wait = 0.0 if tokens >= 1 else (1 - tokens) * 60 / per_minute
        return Allowance(bool(allowed), int(tokens), wait)

    def offer_link(self, key: str) -> None:
        """Let the link of this key work, once."""
        self._run("INSERT OR IGNORE INTO links VALUES (:digest, 0)", {"digest": _digest(key)})

    def spend_link(self, key: str) -> bool:
        """Whether the link of this key was offered and not used so far; it is spent by that."""
        spend = "UPDATE links SET spent = 1 WHERE digest = :digest AND spent = 0 RETURNING 1"
        return bool(self._run(spend, {"digest": _digest(key)}))

    def mark_ready(self) -> None:
        """Note that this process is ready."""
        self._run("INSERT OR IGNORE INTO ready VALUES (:pid)", {"pid": os.getpid()})

    def ready(self) -> set[int]:
        """The processes that were ready at some time."""
        return {pid for (pid,) in self._run("SELECT pid FROM ready", {})}

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _run(self, statement: str, given: dict[str, object]) -> list[tuple[int, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement, given).fetchall()
        except sqlite3.Error as error:
            raise SynestheteError(f"the state of the server cannot be kept: {error}") from error


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
