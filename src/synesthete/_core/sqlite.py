"""SQLite files that several processes write: writers wait for each other, readers for nobody; and append-only logs in them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from synesthete._core import compaction
from synesthete._core.user_files import leads_out
from synesthete.errors import SynestheteError

PAUSE_SECONDS = 0.01
WAIT_SECONDS = 30.0
_ENDINGS = ("", "-wal", "-shm", "-journal")
_creating = threading.Lock()


def _is_irregular(file: Path) -> bool:
    """Whether anything but a regular file is there, by one look: others make and remove SQLite's own files meanwhile."""
    try:
        return not stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return False  # nothing that can be looked at, which SQLite says better


def connect(
    path: Path, *, wait_seconds: float, private: bool = False, every_thread: bool = False
) -> sqlite3.Connection:
    """Open a database in a folder that may have come from somebody else; it is made where there is none.

    Parameters
    ----------
    wait_seconds
        How long to wait for other writers.
    private
        Only the owner may read and write the file and SQLite's own files beside it, whatever the umask. One that others
        could read is taken from them, where it is this user's.
    every_thread
        Whether other threads may use the connection, too.

    Raises
    ------
    SynestheteError
        A link that leads out of the folder, or something that is not a regular file.
    sqlite3.Error
        It cannot be opened.
    """
    for ending in _ENDINGS:
        file = Path(f"{path}{ending}")
        if leads_out(path.parent, file) or _is_irregular(file):
            raise SynestheteError(
                f"{file} is a link that leads out of its folder, or not a regular file",
                hint="delete it",
            )
    if private:
        _make_private(path)
    return sqlite3.connect(
        path, timeout=wait_seconds, isolation_level=None, check_same_thread=not every_thread
    )


def _make_private(path: Path) -> None:
    # Never opened where it is there already: closing any descriptor of a file gives up all locks that this process holds
    # on it (https://sqlite.org/howtocorrupt.html). Hence nobody may open it while it is made, either.
    # What cannot be made here, SQLite will say.
    with _creating, contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for ending in _ENDINGS:
        file = Path(f"{path}{ending}")
        with contextlib.suppress(OSError):  # SQLite's own files come and go
            status = file.stat()
            if status.st_mode & 0o077 and status.st_uid == os.geteuid():
                file.chmod(status.st_mode & 0o700)


def write_ahead(connection: sqlite3.Connection) -> None:
    """Give a connection a write-ahead log, and have it reach the disk at every commit.

    A connection's own timeout does not hold while the journal of a new file is changed: of two that do so at once one is
    refused at once as busy (https://sqlite.org/rescode.html#busy). Here it asks again for as long as that timeout.

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


class AppendOnly(compaction.Compactable):
    """One file with tables that rows are only added to.

    Each transaction has a connection of its own: a server has many threads, few of which need a file at the same time.

    Parameters
    ----------
    path
        The file; made at the first writing, in a folder that exists.
    schema
        Statements that make its tables.
    tables
        Those that refuse UPDATE and DELETE.
    private
        Whether only the owner may read and write the file.
    version
        Of the schema; a file of a newer one is refused, an older one until `migrate`.
    upgrade
        Brings a file of an older version to this one, within the transaction that first writes it or before it is read;
        it is given the statements that make the new tables.

    Attributes
    ----------
    TYPES
        What a schema for several databases calls here a row's number, bytes, and a table that is its own index.
    """

    TYPES: ClassVar = {
        "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "bytes": "BLOB",
        "keyed": "WITHOUT ROWID",
    }

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        *,
        tables: Sequence[str],
        private: bool = True,
        version: int = 1,
        upgrade: Callable[[sqlite3.Connection, Sequence[str]], None] | None = None,
    ) -> None:
        self.path = path
        self._triggers = {
            name: trigger for table in tables for name, trigger in _refuse(table).items()
        }
        self._schema = [*schema, *self._triggers.values(), f"PRAGMA user_version = {version}"]
        self._private = private
        self._version = version
        self._upgrade = upgrade

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees one moment of the file, or None while nothing was written yet."""
        if not self.path.exists():
            yield None
            return
        with self._open() as connection:
            version = self._readable(connection)
            if 0 < version < self._version:
                with self.writing():
                    pass  # which upgrades it
            if version == 0:
                yield None
                return
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection within a transaction: all that is done in the block, or after an error or a kill nothing."""
        with self._transaction() as connection:
            self._prepare(connection)
            yield connection

    @contextlib.contextmanager
    def forgetting(self) -> Iterator[sqlite3.Connection]:
        """As `writing`, and the one door by which rows are removed: what is deleted in it is overwritten with zeros.

        Whoever removes rows for good calls `compaction.owe` in it and `compact_if_owed` after it, as the file's write-ahead log
        holds pages as they were.
        """
        with self._transaction(secure=True) as connection:
            self._prepare(connection)
            for name in self._triggers:
                connection.execute(f"DROP TRIGGER IF EXISTS {name}")
            yield connection
            for statement in self._triggers.values():
                connection.execute(statement)

    def compact(self) -> None:
        """Write the file without what was deleted from it, and empty SQLite's write-ahead log, which holds pages as they were.

        Raises
        ------
        SynestheteError
            Somebody has read or written for so long that the log cannot be emptied yet.
        """
        if not self.path.exists():
            return
        with self._open() as connection:
            write_ahead(connection)
            number = self._owed(connection)
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise SynestheteError(
                    f"{self.path}: others are reading it, so that its write-ahead log still holds what was deleted",
                    hint="run the same command again later",
                )
            compaction.settle(connection, number)

    def migrate(self, aside: Sequence[str], fill: Sequence[str]) -> tuple[int, int]:
        """Bring a file of an older version to this one: all of it or, after an error or a kill, nothing.

        Parameters
        ----------
        aside, fill
            Statements that put the old tables out of the way, and that fill the new ones from them.

        Returns
        -------
        tuple of int
            Its version before and after; equal when there was nothing to do.
        """
        with self._transaction() as connection:
            before = format_of(connection, self.path, newest=self._version) or self._version
            for statement in (*aside, *self._schema, *fill) if before < self._version else ():
                connection.execute(statement)
        return before, self._version

    def _has(self, connection: sqlite3.Connection, table: str) -> bool:
        there = "SELECT 1 FROM sqlite_master WHERE name = ?"
        return connection.execute(there, (table,)).fetchone() is not None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create the tables, or bring those of an older version to this one."""
        version = self._readable(connection)
        if version == 0:
            for statement in self._schema:
                connection.execute(statement)
        elif version < self._version and self._upgrade is not None:
            for name in self._triggers:
                connection.execute(f"DROP TRIGGER IF EXISTS {name}")
            self._upgrade(connection, self._schema)

    def _readable(self, connection: sqlite3.Connection) -> int:
        """The file's version: 0 where nothing has been written yet."""
        version = format_of(connection, self.path, newest=self._version)
        if 0 < version < self._version and self._upgrade is None:
            raise SynestheteError(
                f"{self.path} is of format {version}, older than this program's {self._version}",
                hint=f"run: synesthete migrate {self.path.parent}",
            )
        return version

    @contextlib.contextmanager
    def _transaction(self, *, secure: bool = False) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            write_ahead(connection)
            if secure:
                connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            opened = connect(self.path, wait_seconds=WAIT_SECONDS, private=self._private)
            with contextlib.closing(opened) as connection:
                yield connection
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise SynestheteError(f"{self.path}: {error}") from error


def _refuse(table: str) -> dict[str, str]:
    """Triggers by which a table refuses to change or forget, by their names."""
    message = f"{table} are never changed"
    raised = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    return {
        f"{table}_stay": f"CREATE TRIGGER {table}_stay BEFORE UPDATE ON {table} {raised}",
        f"{table}_remain": f"CREATE TRIGGER {table}_remain BEFORE DELETE ON {table} {raised}",
    }
