"""What a database remembers from the removal of rows until it has been compacted, which somebody who reads it may prevent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

TABLE = "to_compact"
_CREATE = f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY, asked BIGINT NOT NULL, done BIGINT NOT NULL)"
_ASK = (
    f"INSERT INTO {TABLE} VALUES (1, 1, 0) ON CONFLICT (id) DO UPDATE SET asked = {TABLE}.asked + 1"
)


def owe(connection: Any) -> None:
    """Note, in the transaction that removes rows, that the database is to be compacted."""
    connection.execute(_CREATE)
    connection.execute(_ASK)


def owed(connection: Any) -> int:
    """The number of the last removal that no compaction has followed, 0 for none; the table is there."""
    query = f"SELECT asked FROM {TABLE} WHERE asked > done"
    found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0


def settle(connection: Any, number: int) -> None:
    """Note that a compaction has followed the removals up to a number, as `owed` gave it before; later ones are still owed."""
    if number:
        query = f"UPDATE {TABLE} SET done = :number WHERE done < :number"
        connection.execute(query, {"number": number})


class Compactable(ABC):
    """Tables whose files may hold rows that were removed, until `compact` has written them again."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Any]:
        """A connection that sees one moment of the tables, or None while nothing was written yet."""

    @abstractmethod
    def compact(self) -> None:
        """Write the tables again, without the rows that were removed."""

    @abstractmethod
    def _has(self, connection: Any, table: str) -> bool:
        """Whether a table is there."""

    def is_compact(self) -> bool:
        """Whether no rows were removed that the files may still hold."""
        with self.reading() as connection:
            return connection is None or not self._owed(connection)

    def compact_if_owed(self) -> None:
        """`compact`, where rows were removed since that was last done."""
        if not self.is_compact():
            self.compact()

    def _owed(self, connection: Any) -> int:
        return owed(connection) if self._has(connection, TABLE) else 0
