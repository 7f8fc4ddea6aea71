"""The store: an SQLite file inside the atlas that only grows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from synesthete.atlas.write_ahead import connect, format_of, write_ahead
from synesthete.errors import SynestheteError
from synesthete.reviews.acts import Act, check

FILE = "reviews.sqlite"
VERSION = 1
COLUMNS = tuple(field.name for field in fields(Act))
WAIT_SECONDS = 30.0

_SCHEMA = f"""
CREATE TABLE acts ({", ".join(f"{name} TEXT NOT NULL" for name in COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID;
CREATE INDEX acts_by_address ON acts (address, at);
CREATE TRIGGER acts_stay BEFORE UPDATE ON acts BEGIN SELECT RAISE(ABORT, 'reviews are never changed'); END;
CREATE TRIGGER acts_remain BEFORE DELETE ON acts BEGIN SELECT RAISE(ABORT, 'reviews are never deleted'); END;
PRAGMA user_version = {VERSION};
"""


@contextmanager
def _connection(atlas: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    path = atlas / FILE
    try:
        # Several people may write at once: writers wait for each other, readers for nobody (WAL).
        connection = connect(path, wait_seconds=WAIT_SECONDS)
    except sqlite3.Error as error:
        raise SynestheteError(f"{path} cannot be opened: {error}") from error
    try:
        _prepare(connection, path, write=write)
        yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SynestheteError(f"{path}: {error}") from error
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection, path: Path, *, write: bool) -> None:
    if write:
        write_ahead(connection)
    if format_of(connection, path, newest=VERSION) == 0 and write:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in _statements(_SCHEMA):
                connection.execute(statement)
        connection.execute("COMMIT")


def _statements(script: str) -> list[str]:
    """Statements of a script, a line each (a trigger holds semicolons of its own)."""
    return [line.strip() for line in script.strip().splitlines() if line.strip()]


def append(atlas: str | Path, acts: Iterable[Act]) -> int:
    """Add acts to an atlas; returns how many were new. All of them or, after a kill, none.

    Raises
    ------
    SynestheteError
        When one of them is not sound, or the file cannot be written.
    """
    rows = list(acts)
    for act in rows:
        check(act)
    marks = ", ".join("?" for _ in COLUMNS)
    with _connection(Path(atlas), write=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        before = connection.total_changes
        connection.executemany(
            f"INSERT OR IGNORE INTO acts ({', '.join(COLUMNS)}) VALUES ({marks})",
            [tuple(getattr(act, name) for name in COLUMNS) for act in rows],
        )
        added = connection.total_changes - before
        connection.execute("COMMIT")
    return added


def read(atlas: str | Path) -> list[Act]:
    """All acts of an atlas, oldest first; ties by id."""
    path = Path(atlas)
    if not (path / FILE).exists():
        return []
    with _connection(path, write=False) as connection:
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            return []
        rows = connection.execute(
            f"SELECT {', '.join(COLUMNS)} FROM acts ORDER BY at, id"
        ).fetchall()
    return [Act(*row) for row in rows]
