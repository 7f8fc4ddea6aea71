"""SQLite files that several processes write: writers wait for each other, readers for nobody."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from synesthete.errors import SynestheteError

PAUSE_SECONDS = 0.01


def write_ahead(connection: sqlite3.Connection) -> None:
    """Give a connection a write-ahead log, and have it reach the disk at every commit.

    A connection's own timeout does not hold while the journal of a new file is changed: of two that do so at once one is
    told at once that the file is busy (https://sqlite.org/rescode.html#busy). Here it asks again for as long as that timeout.

    Raises
    ------
    sqlite3.OperationalError
        When the file stays busy for that long, or cannot be written.
    """
    (wait_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    deadline = time.monotonic() + wait_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
    connection.execute("PRAGMA synchronous = FULL")


def format_of(connection: sqlite3.Connection, path: Path, *, newest: int) -> int:
    """The format of a database, its `user_version`: 0 where nothing has been made yet.

    Raises
    ------
    SynestheteError
        When it is above `newest`, the one that this program writes.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise SynestheteError(
            f"{path} is of format {version}, newer than this program's {newest}",
            hint="update synesthete",
        )
    return int(version)
