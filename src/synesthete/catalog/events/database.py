"""An SQLite file that only grows: transactions that outlive a kill, and tables that refuse to change or forget."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from synesthete.atlas.write_ahead import connect, format_of, write_ahead
from synesthete.errors import SynestheteError

WAIT_SECONDS = 30.0


class Growing:
    """One file with tables that rows are only added to.

    Parameters
    ----------
    path
        The file; made at the first writing, in a folder that exists. Only its owner can read it.
    schema
        Statements that make its tables.
    kept
        Tables that refuse UPDATE and DELETE.
    version
        Of the schema; a file of a newer one is refused.
    """

    def __init__(
        self, path: Path, schema: Sequence[str], kept: Sequence[str], version: int = 1
    ) -> None:
        self.path = path
        self._schema = [*schema, *(stay for table in kept for stay in _stays(table))]
        self._version = version

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees one moment of the file, or None while nothing was written yet."""
        if not self.path.exists():
            yield None
            return
        with self._open() as connection:
            if format_of(connection, self.path, newest=self._version) == 0:
                yield None
                return
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection within a transaction: all that is done in the block, or after an error or a kill nothing."""
        with self._open() as connection:
            write_ahead(connection)
            connection.execute("BEGIN IMMEDIATE")
            try:
                if format_of(connection, self.path, newest=self._version) == 0:
                    for statement in self._schema:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {self._version}")
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect(self.path, wait_seconds=WAIT_SECONDS, private=True)) as connection:
                yield connection
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise SynestheteError(f"{self.path}: {error}") from error


def _stays(table: str) -> tuple[str, str]:
    told = f"{table} are never changed"
    return (
        f"CREATE TRIGGER {table}_stay BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{told}'); END",
        f"CREATE TRIGGER {table}_remain BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{told}'); END",
    )
