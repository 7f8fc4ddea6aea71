"""No event is lost and none counts twice: replays, bad ones among good ones, wrong clocks, kill -9."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.catalog.events import EventLog, event_of
from synesthete.errors import SynestheteError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ITEMS = {"a", "b"}


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path, known=ITEMS.__contains__, now=lambda: NOW)


def event(key: str, kind: str = "click", item: str = "a", **more: Any) -> dict[str, Any]:
    return {"key": key, "kind": kind, "item": item, **more}


def test_replays_count_once(log: EventLog) -> None:
    first = log.take([event("1"), event("2", subject="ann")])
    again = log.take([event("2", subject="ann"), event("1"), event("3"), event("3")])
    assert (first.added, first.replayed) == (2, 0)
    assert (again.added, again.replayed) == (1, 3)
    assert [one.event.key for one in log.read()] == ["1", "2", "3"]


def test_a_key_of_another_event_is_set_aside(log: EventLog) -> None:
    log.take([event("1")])
    taken = log.take([event("1", item="b")])
    assert taken.added == 0
    assert taken.refused[0].reason == "the key is of another event"
    assert next(log.read()).event.item == "a"
    assert json.loads(log.aside()[0]["event"])["item"] == "b"


def test_bad_events_are_set_aside_and_the_good_ones_taken(log: EventLog) -> None:
    rows: list[Any] = [
        event("1"),
        event("2", kind="clik"),
        event("3"),
        {"key": "4"},
        "nonsense",
        event("", item=""),
    ]
    taken = log.take(rows)
    assert taken.added == 2
    assert [(one.index, one.key) for one in taken.refused] == [(1, "2"), (3, "4"), (4, ""), (5, "")]
    assert "did you mean 'click'" in taken.refused[0].reason
    assert log.counts()["aside"] == 4


def test_unknown_items_are_kept_and_marked(log: EventLog) -> None:
    assert log.take([event("1", item="gone"), event("2")]).unknown == 1
    assert [(one.event.item, one.unknown) for one in log.read()] == [("gone", True), ("a", False)]


def test_clocks(log: EventLog) -> None:
    times = {
        "ahead a little": NOW + timedelta(minutes=4), "ahead": NOW + timedelta(minutes=6),
        "late": NOW - timedelta(days=29), "ancient": NOW - timedelta(days=31),
    }  # fmt: skip
    taken = log.take([event(key, at=at.isoformat()) for key, at in times.items()] + [event("none")])
    assert taken.skewed == 2
    found = {one.event.key: one for one in log.read()}
    assert {key for key, one in found.items() if one.skewed} == {"ahead", "ancient"}
    assert found["ahead"].time == found["ancient"].time == found["none"].time == NOW
    assert found["late"].time == times["late"]
    assert log.take([event("old", at=times["ancient"].isoformat())], history=True).skewed == 0
    assert found["ahead"].event.at == times["ahead"].isoformat(), "what was reported is kept"


def test_a_replay_without_time_is_the_same_event_later(tmp_path: Path) -> None:
    EventLog(tmp_path, now=lambda: NOW).take([event("1")])
    taken = EventLog(tmp_path, now=lambda: NOW + timedelta(hours=1)).take([event("1")])
    assert (taken.added, taken.replayed, taken.refused) == (0, 1, ())


def test_subjects_are_not_kept_in_clear(log: EventLog, tmp_path: Path) -> None:
    log.take(
        [
            event("1", subject="ann@example.org"),
            event("2", subject="ann@example.org"),
            event("3", subject="ben"),
        ]
    )
    log.take([event("4", kind="bad", subject="secret-ann")])
    subjects = [one.event.subject for one in log.read()]
    assert subjects[0] == subjects[1] != subjects[2]
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ann@example.org" not in raw
    assert b"secret-ann" not in raw


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"key": "1", "kind": "click", "item": "a", "colour": "red"}, "unknown field 'colour'"),
        ({"key": "1", "kind": "click", "item": "a", "positon": 1}, "did you mean 'position'"),
        (event("1", at="2026-01-01T00:00:00"), "with a zone"),
        (event("1", at="yesterday"), "with a zone"),
        (event("1", position=-1), "counts from 1"),
        (event("1", position=1.5), "not an integer"),
        (event("1", position=True), "not a valid number"),
        (event("1", value="dear"), "not a valid number"),
        (event("1", value=float("inf")), "finite"),
        (event("1", variant="B"), "name of its experiment"),
        (event("1", experiment="x", variant="C"), "A or B"),
        (event("1", subject=7), "is a text"),
        (event("1", item="a\u0000b"), "control characters"),
        (event("1" * 201), "at most 200"),
        (event("1", item="\ud800"), "control characters"),
    ],
)
def test_wrong_events(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(SynestheteError, match=reason):
        event_of(row)


def test_too_many_at_once(log: EventLog) -> None:
    with pytest.raises(SynestheteError, match="at most 10,000"):
        log.take([event(str(i)) for i in range(10_001)])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4
)
keys = (
    st.sampled_from(["key", "kind", "item", "at", "subject", "position", "value", "variant"])
    | st.text()
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.dictionaries(keys, values, max_size=6) | values, max_size=5))
def test_any_row_is_taken_or_set_aside(log: EventLog, rows: list[Any]) -> None:
    before = log.counts()
    taken = log.take(rows)
    after = log.counts()
    assert taken.added + taken.replayed + len(taken.refused) == len(rows)
    assert after["aside"] - before["aside"] == len(taken.refused)
    assert (
        sum(after[k] - before[k] for k in ("impression", "click", "add", "conversion", "dismissal"))
        == taken.added
    )


def test_the_log_refuses_to_change_or_forget(log: EventLog, tmp_path: Path) -> None:
    log.take([event("1")])
    with sqlite3.connect(tmp_path / "events.sqlite") as connection:
        for statement in ("UPDATE events SET item = 'b'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                connection.execute(statement)


def test_writers_at_once_add_each_event_once(tmp_path: Path) -> None:
    def work() -> None:
        for start in range(0, 100, 20):
            EventLog(tmp_path).take([event(str(i)) for i in range(start, start + 20)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(one.event.key) for one in EventLog(tmp_path).read()) == list(range(100))


WRITER = """
import sys
from synesthete.catalog.events import EventLog
log = EventLog(sys.argv[1])
for batch in range(10_000):
    log.take([{"key": f"{batch}-{i}", "kind": "click", "item": "a"} for i in range(7)])
    print(batch, flush=True)
"""


@pytest.mark.parametrize("after", [0, 3, 11])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, after: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    acknowledged = -1
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged >= after:
            break
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    acknowledged = int(rest[-1]) if rest else acknowledged
    log = EventLog(tmp_path)
    keys = [one.event.key for one in log.read()]
    assert len(keys) == len(set(keys))
    assert len(keys) % 7 == 0, "a batch is there as a whole or not at all"
    whole = {f"{batch}-{i}" for batch in range(acknowledged + 1) for i in range(7)}
    assert whole <= set(keys)
    # Whoever is not sure sends again.
    again = log.take([{"key": key, "kind": "click", "item": "a"} for key in sorted(whole)])
    assert again.added == 0
    assert again.replayed == len(whole)


def test_reading_a_log_that_is_not_there(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert list(log.read()) == []
    assert log.counts()["click"] == 0
    assert log.experiments() == []
    with pytest.raises(SynestheteError, match=r"events\.sqlite"):
        EventLog(tmp_path / "nowhere").take([event("1")])


def test_an_import_that_is_run_again_sets_nothing_aside_twice(log: EventLog) -> None:
    rows = [event("1"), event("2", kind="clik"), event("3", kind="clik")]
    assert len(log.take(rows, history=True).refused) == 2
    assert len(log.take(rows, history=True).refused) == 2
    assert log.counts()["aside"] == 2
    log.take([event("2", kind="clikk")], history=True)
    assert log.counts()["aside"] == 3
