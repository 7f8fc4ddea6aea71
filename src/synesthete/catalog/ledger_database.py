"""The ledger's database: its tables, a connection for every thread, and transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from synesthete._core.sqlite import connect, format_of, write_ahead
from synesthete.errors import SynestheteError

FILE = "catalog.sqlite"
VERSION = 2
WAIT_SECONDS = 60.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY, rows INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS live (id TEXT PRIMARY KEY, segment TEXT NOT NULL, row INTEGER NOT NULL,"
    " digest TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS quarantine (id TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL,"
    " PRIMARY KEY (id, what)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS state (generation INTEGER NOT NULL)",
    "INSERT INTO state SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM state)",
    # Since format 2: what the items' vectors added up to, and how many items have changed since.
    "CREATE TABLE IF NOT EXISTS sums (changes INTEGER NOT NULL, data BLOB)",
    "INSERT INTO sums SELECT 0, NULL WHERE NOT EXISTS (SELECT 1 FROM sums)",
)
_SOUND = (
    "SELECT (SELECT COUNT(*) FROM state WHERE typeof(generation) = 'integer'),"
    " (SELECT COUNT(*) FROM sums WHERE typeof(changes) = 'integer' AND typeof(data) IN ('null', 'blob'))"
)


class LedgerDatabase:
    """`catalog.sqlite` in a catalogue's folder; one object may be used by several threads.

    Parameters
    ----------
    path
        The catalogue's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.local()
        self._open: dict[threading.Thread, sqlite3.Connection] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Close the connections of every thread."""
        with self._guard:
            for connection in self._open.values():
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
            self._open.clear()
            self._thread = threading.local()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise SynestheteError(f"{self.path / FILE}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._thread, "connection", None)
        if found is None:
            # Threads have their own connection; only `close` touches another thread's.
            found = connect(
                self.path / FILE, wait_seconds=WAIT_SECONDS, private=True, every_thread=True
            )
            try:
                self._prepare(found)
            except BaseException:
                found.close()  # kept, it would pass for prepared the next time
                raise
            with self._guard:
                # A server's workers come and go; what those that ended have left open is closed here.
                for thread in [thread for thread in self._open if not thread.is_alive()]:
                    self._open.pop(thread).close()
                self._open[threading.current_thread()] = found
            self._thread.connection = found
        return found

    def _prepare(self, connection: sqlite3.Connection) -> None:
        write_ahead(connection)
        if format_of(connection, self.path / FILE, newest=VERSION) < VERSION:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        if connection.execute(_SOUND).fetchone() != (1, 1):
            raise SynestheteError(
                f"{self.path / FILE} is damaged: it does not say which generation it is of",
                hint="index the items again into a new catalogue",
            )
