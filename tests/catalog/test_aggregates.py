"""What SQL counts as events come is what one finds who reads them one by one, in SQLite and in PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.catalog import aggregates
from synesthete.catalog.events import KINDS, EventLog
from synesthete.catalog.metrics import (
    METRICS,
    compare,
    duel,
    histories,
    known_by,
    sequences,
    summarize,
)
from tests.oracles import visitors as oracle

NOW = datetime(2026, 5, 3, 12, tzinfo=UTC)
NewLog = Callable[..., EventLog]


@pytest.fixture(autouse=True)
def _coarse_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides compute bounds by the same function; few steps of it are enough here."""
    monkeypatch.setattr(sequences, "STEPS", 3)


kinds = st.sampled_from(["impression", "impression", *aggregates.ANSWERS])
events = st.fixed_dictionaries(
    {
        "key": st.integers(0, 60).map(str),
        "kind": kinds,
        "item": st.sampled_from(["a", "b", "gone"]),
        # From beyond the future to before 1970, in hours from now, in several zones.
        "at": st.tuples(
            st.sampled_from([1, 0, -1, -2, -13, -24, -25, -40, -1000, -600_000]),
            st.sampled_from([-5, 0, 3]),
        ),
        "subject": st.sampled_from(["", "ann", "ben", "cid", "dan"]),
        "list": st.sampled_from(["", "l1", "l2"]),
        "experiment": st.sampled_from(["", "x", "x", "y"]),
        "variant": st.sampled_from(["", "A", "B"]),
        "team": st.sampled_from(["", "A", "B"]),
        "value": st.sampled_from([0.0, 0.5, 2.0, -1.0]),
    }
)


def row(event: dict[str, Any]) -> dict[str, Any]:
    hours, zone = event["at"]
    at = (NOW + timedelta(hours=hours)).astimezone(UTC) + timedelta(hours=zone)
    text = at.replace(tzinfo=None).isoformat() + f"{zone:+03d}:00"
    return {**event, "at": text, "variant": event["variant"] if event["experiment"] else ""}


def close(found: Any, wanted: Any) -> None:
    """Equal, numbers to within rounding."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            close(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            close(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True)
    else:
        assert found == wanted


def agree(log: EventLog) -> None:
    """Everything that is measured of a log, by SQL and by reading it."""
    kept = list(log.read())
    close(asdict(summarize(log)), asdict(oracle.summarize(kept)))
    close(asdict(summarize(log, days=False)), asdict(oracle.summarize(kept, days=False)))
    seen, everyone = known_by(log)
    assert (seen, everyone) == oracle.known_by(kept)
    assert histories(log) == oracle.histories(kept)
    counts = log.counts()
    assert {kind: counts[kind] for kind in KINDS} == {
        kind: sum(one.event.kind == kind for one in kept) for kind in KINDS
    }
    assert counts["unknown"] == sum(one.unknown for one in kept)
    assert log.experiments() == sorted({one.event.experiment for one in kept} - {""})
    for name in log.experiments():
        mine = [one for one in kept if one.event.experiment == name]
        assert log.last_time(name) == max(one.time for one in mine)
        for metric, hours, now in zip(
            METRICS, (24.0, 0.0, 12.0, 1e9, 24.0), (None, NOW, NOW, None, NOW), strict=True
        ):
            window = timedelta.max if hours == 1e9 else timedelta(hours=hours)
            options = {"window": min(window, timedelta(days=90_000)), "now": now, "cap": 2.0}
            found = compare(log, name, metric, **options)  # type: ignore[arg-type]
            close(asdict(found), asdict(oracle.compare(mine, name, metric, **options)))  # type: ignore[arg-type]
        close(asdict(duel(log, name)), asdict(oracle.duel(mine, name)))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(events, max_size=25), min_size=1, max_size=4))
def test_sql_counts_what_the_events_say(
    new_log: NewLog, batches: list[list[dict[str, Any]]]
) -> None:
    clock = iter(NOW + timedelta(minutes=minute) for minute in range(100))
    log = new_log(known=lambda item: item != "gone", now=lambda: next(clock))
    for batch in batches:
        log.take(map(row, batch))
    agree(log)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(events, min_size=5, max_size=40), who=st.sampled_from(["ann", "ben"]))
def test_what_remains_after_forgetting_is_counted_as_if_the_rest_had_never_come(
    new_log: NewLog, rows: list[dict[str, Any]], who: str
) -> None:
    log = new_log(known=lambda item: item != "gone", now=lambda: NOW)
    log.take(map(row, rows))
    log.forget(who)
    agree(log)
    log.forget_before(NOW - timedelta(hours=24))
    agree(log)


def test_a_log_of_the_format_before_is_upgraded(tmp_path: Path) -> None:
    log = EventLog(tmp_path, now=lambda: NOW)
    log.take(
        [
            {"key": "1", "kind": "impression", "item": "a", "subject": "ann", "list": "l"},
            {"key": "2", "kind": "click", "item": "a", "subject": "ann", "list": "l"},
            {"key": "3", "kind": "clik", "item": "a"},
            {"key": "4", "kind": "impression", "item": "a", "at": "2027-01-01T00:00:00Z"},
        ]
    )
    wanted = (summarize(log), list(log.read()), log.aside())
    path = tmp_path / "events.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    kept = {
        table: old.execute(f"SELECT * FROM {table} ORDER BY place").fetchall()
        for table in ("events", "aside")
    }
    (secret,) = old.execute("SELECT value FROM secret").fetchone()
    old.close()
    for file in tmp_path.glob("events.sqlite*"):
        file.unlink()
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript(FORMAT_1)
    old.execute("INSERT INTO secret VALUES (?)", (secret,))
    for one in kept["events"]:
        old.execute(f"INSERT INTO events VALUES ({', '.join('?' * 16)})", one[:16])
    for one in kept["aside"]:
        old.execute("INSERT INTO aside VALUES (?, ?, ?, ?)", one[:4])
    old.close()
    log = EventLog(tmp_path, now=lambda: NOW)
    assert (summarize(log), list(log.read()), log.aside()) == wanted
    assert (
        log.take(
            [{"key": "2", "kind": "click", "item": "a", "subject": "ann", "list": "l"}]
        ).replayed
        == 1
    )
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (2,)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        sqlite3.connect(path).execute("DELETE FROM events")


FORMAT_1 = """
CREATE TABLE secret (value BLOB NOT NULL);
CREATE TABLE events (place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
 item TEXT NOT NULL, at TEXT NOT NULL, subject TEXT NOT NULL, list TEXT NOT NULL, position INTEGER NOT NULL,
 experiment TEXT NOT NULL, variant TEXT NOT NULL, team TEXT NOT NULL, value REAL NOT NULL,
 received TEXT NOT NULL, unknown INTEGER NOT NULL, skewed INTEGER NOT NULL, digest TEXT NOT NULL);
CREATE INDEX events_by_experiment ON events (experiment, place);
CREATE TABLE aside (place INTEGER PRIMARY KEY AUTOINCREMENT, received TEXT NOT NULL, told TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER aside_stay BEFORE UPDATE ON aside BEGIN SELECT RAISE(ABORT, 'aside are never changed'); END;
CREATE TRIGGER aside_remain BEFORE DELETE ON aside BEGIN SELECT RAISE(ABORT, 'aside are never changed'); END;
PRAGMA user_version = 1;
"""
