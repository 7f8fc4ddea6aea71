"""What a database remembers from the removal of rows until it has been compacted, which somebody who reads it may prevent."""

from __future__ import annotations

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
