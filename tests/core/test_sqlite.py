"""A new SQLite file that several begin to write at the same moment."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from synesthete._core.sqlite import write_ahead

PEOPLE, ROUNDS = 6, 40


def test_nobody_who_begins_a_file_with_others_is_turned_away(tmp_path: Path) -> None:
    """Without asking again, one of fifty was."""
    errors: list[str] = []
    for number in range(ROUNDS):
        path, start = tmp_path / f"{number}.sqlite", threading.Barrier(PEOPLE)

        def begin(path: Path = path, start: threading.Barrier = start) -> None:
            connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            start.wait()
            try:
                write_ahead(connection)
                connection.execute("CREATE TABLE IF NOT EXISTS said (what TEXT)")
                connection.execute("INSERT INTO said VALUES ('x')")
            except sqlite3.Error as error:
                errors.append(str(error))
            finally:
                connection.close()

        people = [threading.Thread(target=begin) for _ in range(PEOPLE)]
        for person in people:
            person.start()
        for person in people:
            person.join()
        reader = sqlite3.connect(path)
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert reader.execute("SELECT count(*) FROM said").fetchone() == (PEOPLE - len(errors),)
        reader.close()
    assert errors == []


def test_a_file_that_stays_locked_is_an_error(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "held.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    other = sqlite3.connect(tmp_path / "held.sqlite", timeout=0.05, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(other)
    holder.execute("ROLLBACK")
    write_ahead(other)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    holder.close()
