"""A visitor who is forgotten, or what is too old, is nowhere any more: not in a table, and not in the bytes of a file."""

from __future__ import annotations

import fcntl
import hmac
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from synesthete._core.postgres import AppendOnlyPostgres
from synesthete.catalog.events import EventLog
from synesthete.catalog.metrics import summarize
from synesthete.catalog.retention import (
    Retention,
    Settings,
    forget_before,
    forget_visitor,
)
from synesthete.catalog.server.idempotency import IdempotentRequests
from synesthete.catalog.webhooks import Webhooks
from synesthete.cli.app import make_app
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Queue, set_policy
from tests import postgres

NOW = datetime(2026, 5, 3, 12, tzinfo=UTC)


def event(key: str, subject: str, days: float = 0.0, **more: Any) -> dict[str, Any]:
    at = (NOW - timedelta(days=days)).isoformat()
    given = {"key": key, "kind": "impression", "item": "mug", "list": f"list-{key}", "at": at}
    return {**given, "subject": subject, **more}


def fill(log: EventLog) -> None:
    log.take([event(f"ann-{n}", "ann@example.org") for n in range(300)])
    log.take([event(f"ben-{n}", "ben", n % 20) for n in range(300)], history=True)
    log.take(
        [
            event("ann-refused", "ann@example.org", kind="clik"),
            {"key": "ann-named", "kind": "click", "item": "mug", "user": "ann@example.org"},
            {"key": "x", "kind": "click", "item": "mug", "value": "ann@example.org"},
            event("ben-refused", "ben", kind="clik"),
            event("anna-refused", "ann@example.org.uk", kind="clik", list="ann@example.org.uk"),
        ]
    )


def bytes_of(folder: Path, pattern: str = "*") -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.glob(pattern)) if file.is_file())


def refuses(file: Path) -> None:
    with (
        closing(sqlite3.connect(file)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="never changed"),
    ):
        connection.execute("DELETE FROM events")


def test_a_visitor_is_forgotten_everywhere(tmp_path: Path) -> None:
    log, queue = EventLog(tmp_path, now=lambda: NOW), Queue(tmp_path)
    fill(log)
    with log.reading() as connection:
        (secret,) = connection.execute("SELECT value FROM secret").fetchone()
    pseudonym = hmac.digest(secret, b"ann@example.org", "sha256").hex()[:32].encode()
    assert pseudonym in bytes_of(tmp_path)
    hers = queue.add(
        "classify", {"shown": [{"to": "ann@example.org"}]}, reason="unsure", confidence=0.1
    )
    other = queue.add("classify", {"shown": [{"to": "ben"}]}, reason="unsure", confidence=0.1)
    queue.decide(hers, "override", actor="eve", label="pear", note="a note that is found")
    set_policy(queue.trail, "classify", threshold=0.5, actor="eve")
    response = lambda: b'{"refused": [{"key": "ann-refused"}]}'  # noqa: E731
    IdempotentRequests(tmp_path).respond("site", "k", "POST /events", b"", response)
    removed = forget_visitor(tmp_path, log, "ann@example.org")
    assert vars(removed) == {"events": 300, "aside": 3, "cases": 1, "messages": 0, "responses": 1}
    assert summarize(log).total.visitors == 1
    assert [json.loads(row["event"])["key"] for row in log.aside()] == [
        "anna-refused",
        "ben-refused",
    ]
    assert [case.ticket for case in queue.cases()] == [other]
    assert queue.trail.verify() == 3, "the other case, the policy, and that two acts were forgotten"
    assert log.forgettings() == [
        {"at": NOW.isoformat(timespec="seconds"), "why": "a visitor", "events": 300, "aside": 3}
    ]
    raw = bytes_of(tmp_path)
    assert b'"ann@example.org"' not in raw
    for text in (pseudonym, b"ann-17", b"ann-refused", b"ann-named", b"a note that"):
        assert text not in raw, text
    assert b"ben-17" in raw
    # The table refuses again, and what comes of her afterwards is new.
    refuses(tmp_path / "events.sqlite")
    assert log.take([event("ann-1", "ann@example.org")]).added == 1


def test_messages_about_a_visitor_are_not_sent_any_more(tmp_path: Path) -> None:
    queue, hooks = Queue(tmp_path), Webhooks(tmp_path)
    for number in range(2):
        hooks.add(f"https://shop.example/{number}")
    tickets = []
    for who in ("ann@example.org", "ben"):
        payload = {"reference": who, "proposal": "mug"}
        tickets.append(queue.add("suggest", payload, reason="unsure", confidence=0.1))
        queue.decide(tickets[-1], "accept", actor="eve")
    hooks.collect()
    assert b"ann@example.org" in bytes_of(tmp_path, "webhooks.sqlite*")
    removed = forget_visitor(tmp_path, EventLog(tmp_path), "ann@example.org")
    assert (removed.cases, removed.messages) == (1, 2)
    hooks.collect()
    left = [json.loads(one.body)["data"]["reference"] for one in hooks.claim()]
    assert left == ["ben", "ben"]
    raw = bytes_of(tmp_path)
    assert tickets[1].encode() in raw
    for text in (b"ann@example.org", tickets[0].encode()):
        assert text not in raw, text


def test_what_is_too_old_is_removed(tmp_path: Path) -> None:
    log = EventLog(tmp_path, now=lambda: NOW)
    fill(log)
    removed = forget_before(tmp_path, log, 10.5, now=NOW)
    assert (removed.events, removed.aside) == (300 * 9 // 20, 0)
    assert min(one.time for one in log.read()) == NOW - timedelta(days=10)
    assert summarize(log).total.impressions == log.counts()["impression"] == 600 - removed.events
    raw = bytes_of(tmp_path)
    assert b"ben-39" not in raw
    assert b"ben-30" in raw
    assert forget_before(tmp_path, log, 10.5, now=NOW).events == 0
    assert len(log.forgettings()) == 1
    assert forget_before(tmp_path, log, 10.5, now=NOW + timedelta(days=30)).aside == 5


def test_a_trail_that_was_changed_by_other_means_still_shows(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    for name in ("ann", "ben"):
        queue.add("classify", {"subject": name}, reason="unsure", confidence=0.1)
    assert queue.forget("ann") == 1
    assert queue.trail.verify() == 2
    with sqlite3.connect(tmp_path / "people.sqlite") as connection:
        connection.execute("DROP TRIGGER acts_remain")
        connection.execute("DELETE FROM acts WHERE kind = 'ask'")
    with pytest.raises(SynestheteError, match="changed at act 2"):
        queue.trail.verify()


def test_a_reader_who_stays_is_reported_and_the_command_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path, now=lambda: NOW)
    fill(log)
    monkeypatch.setattr("synesthete._core.sqlite.WAIT_SECONDS", 0.1)
    with log.reading() as connection:
        connection.execute("SELECT COUNT(*) FROM events").fetchone()
        with pytest.raises(SynestheteError, match="write-ahead log") as caught:
            log.forget("ann@example.org")
        assert "again" in caught.value.hint
    assert log.forget("ann@example.org").events == 0
    assert b"ann-17" not in bytes_of(tmp_path)


def test_what_a_reader_prevented_is_done_the_next_time_even_if_nothing_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, queue, requests = EventLog(tmp_path), Queue(tmp_path), IdempotentRequests(tmp_path)
    log.take([event(f"old-{n}", "ann", 90) for n in range(100)], history=True)
    queue.add("classify", {"subject": "ann", "note": "a secret"}, reason="unsure", confidence=0.1)
    respond = lambda: requests.respond("site", "k", "POST /events", b"", lambda: b"old-17")  # noqa: E731
    respond()
    monkeypatch.setattr("synesthete._core.sqlite.WAIT_SECONDS", 0.1)
    for reading, forget in (
        (log.reading, lambda: forget_before(tmp_path, log, 30)),
        (queue.trail._file.reading, lambda: queue.forget("ann")),
    ):
        with reading() as connection:
            assert connection
            connection.execute("SELECT * FROM sqlite_master").fetchall()
            for _ in range(2):
                with pytest.raises(SynestheteError, match="write-ahead log"):
                    forget()
                respond()
        forget()
    assert requests.forget() == 1, "that of after the last one"
    raw = bytes_of(tmp_path)
    assert b"old-17" not in raw
    assert b"a secret" not in raw
    # Nothing is left to be done.
    before = bytes_of(tmp_path, "events.sqlite"), bytes_of(tmp_path, "people.sqlite")
    assert forget_before(tmp_path, log, 30).events == queue.forget("ann") == 0
    assert (bytes_of(tmp_path, "events.sqlite"), bytes_of(tmp_path, "people.sqlite")) == before
    assert len(log.forgettings()) == 1


def test_two_who_remove_the_same_do_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path)
    log.take([event("old", "ann", 90)], history=True)
    time = datetime.now(UTC) - timedelta(days=30)
    monkeypatch.setattr(EventLog, "holds_before", lambda log, time: True)  # both looked at once
    assert [log.forget_before(time).events for _ in range(2)] == [1, 0]
    assert [one["events"] for one in log.forgettings()] == [1]


def test_workers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = threading.Semaphore(0)
    monkeypatch.setattr("synesthete.catalog.retention.forget_before", lambda *of: rounds.release())
    monkeypatch.setattr("synesthete.catalog.retention.PAUSE_SECONDS", 0.01)
    retention = Retention(tmp_path, EventLog(tmp_path), 30)
    with (tmp_path / "retention.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        retention.start()
        assert not rounds.acquire(timeout=0.3), "another worker is at it"
    assert rounds.acquire(timeout=60)
    retention.stop()
    retention.join()


KILLED = """
import os, sys
from synesthete.catalog import aggregates
from synesthete.catalog.events import EventLog

def stop(connection, who):
    print("deleted", flush=True)
    os.kill(os.getpid(), 9)

aggregates.count_without = stop
EventLog(sys.argv[1]).forget("ann@example.org")
"""


def test_killed_while_forgetting_nothing_is_lost_and_the_log_refuses_as_before(
    tmp_path: Path,
) -> None:
    log = EventLog(tmp_path, now=lambda: NOW)
    fill(log)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("deleted\n", -9)
    assert log.counts()["impression"] == 600
    refuses(tmp_path / "events.sqlite")
    assert log.forget("ann@example.org").events == 300


def test_events_that_come_while_somebody_is_forgotten_are_kept(tmp_path: Path) -> None:
    log = EventLog(tmp_path, now=lambda: NOW)
    fill(log)

    def send() -> None:
        for n in range(20):
            EventLog(tmp_path, now=lambda: NOW).take([event(f"cid-{n}", "cid")])

    thread = threading.Thread(target=send)
    thread.start()
    log.forget("ann@example.org")
    thread.join()
    assert log.counts()["impression"] == 320
    assert summarize(log).total.impressions == 320


def test_the_command(tmp_path: Path) -> None:
    EventLog(tmp_path).take([event("1", "ann", 100), event("2", "ben")], history=True)

    def forget(*arguments: str) -> Any:
        return CliRunner().invoke(
            make_app(), ["catalog", "forget", str(tmp_path), *arguments, "--json"]
        )

    assert json.loads(forget("ben").stdout)["events"] == 1
    assert json.loads(forget("--older-than", "90").stdout)["events"] == 1
    assert EventLog(tmp_path).counts()["impression"] == 0
    for arguments in ((), ("ben", "--older-than", "90"), ("ben", "--events-url", "nonsense")):
        assert isinstance(forget(*arguments).exception, SynestheteError)


def test_a_server_removes_what_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path)
    log.take([event("1", "ann", 100), {**event("2", "ben"), "at": ""}], history=True)
    monkeypatch.setattr("synesthete.catalog.retention.PAUSE_SECONDS", 0.01)
    retention = Retention(tmp_path, log, 30)
    retention.start()
    while log.counts()["impression"] != 1:
        assert retention.is_alive()
    retention.stop()
    retention.join()


def test_settings() -> None:
    assert Settings.of_environment({}) == Settings()
    given = {"SYNESTHETE_EVENTS_URL": "postgresql://h/d", "SYNESTHETE_IDEMPOTENCY_HOURS": "2"}
    assert Settings.of_environment(given) == Settings(
        events_url="postgresql://h/d", idempotency_hours=2.0
    )
    for text in ("-1", "0", "nan", "soon"):
        with pytest.raises(SynestheteError, match="SYNESTHETE_RETENTION_DAYS"):
            Settings.of_environment({"SYNESTHETE_RETENTION_DAYS": text})


def test_forgetting_in_postgres(postgres_server: str, tmp_path: Path) -> None:
    import sqlalchemy

    url = postgres.new_schema(postgres_server)
    log = EventLog(tmp_path, url=url, now=lambda: NOW)
    fill(log)
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))

    def ask(statement: str) -> Any:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text(statement)).scalar()

    def raw() -> bytes:
        """The files of the events' table."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sqlalchemy.text("CHECKPOINT"))
        folder, file = ask("SHOW data_directory"), ask("SELECT pg_relation_filepath('events')")
        return b"".join(one.read_bytes() for one in Path(folder, file).parent.iterdir())

    assert b"ann-17" in raw()
    assert vars(log.forget("ann@example.org")) == {"events": 300, "aside": 3}
    assert b"ann-17" not in raw()
    assert b"ben-17" in raw()
    for statement in ("DELETE FROM events", "UPDATE events SET item = 'b'", "DELETE FROM aside"):
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="never changed"):
            ask(statement)
    engine.dispose()
    assert log.forget_before(NOW - timedelta(days=10.5)).events == 300 * 9 // 20
    assert summarize(log).total.impressions == log.counts()["impression"] == 300 - 300 * 9 // 20


def test_a_removal_in_postgres_that_was_not_compacted_is_completed(
    postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path, url=postgres.new_schema(postgres_server), now=lambda: NOW)
    fill(log)
    time = NOW - timedelta(days=10.5)
    with monkeypatch.context() as patch:
        patch.setattr(AppendOnlyPostgres, "compact", _stopped)
        for _ in range(2):
            with pytest.raises(SynestheteError, match="stopped"):
                log.forget_before(time)
    assert log.holds_before(time)
    assert log.forget_before(time).events == 0
    assert not log.holds_before(time)
    assert len(log.forgettings()) == 1


def _stopped(tables: AppendOnlyPostgres) -> None:
    raise SynestheteError("stopped")


def test_tables_of_another_schema_of_the_search_path_are_not_taken_for_ours(
    postgres_server: str, tmp_path: Path
) -> None:
    first, second = (postgres.new_schema(postgres_server) for _ in range(2))
    other = EventLog(tmp_path, url=second)
    other.take([event("1", "ann")], history=True)
    log = EventLog(tmp_path, url=f"{first}%2C{second.rpartition('%3D')[2]}")
    assert log.counts()["impression"] == 0
    log.take([event("2", "ben"), event("3", "ben")], history=True)
    assert (log.counts()["impression"], other.counts()["impression"]) == (2, 1)


def test_writers_at_once_add_each_event_once_in_postgres(
    postgres_server: str, tmp_path: Path
) -> None:
    url = postgres.new_schema(postgres_server)

    def work() -> None:
        log = EventLog(tmp_path, url=url)
        for start in range(0, 60, 20):
            log.take([event(str(i), f"v{i % 7}") for i in range(start, start + 20)], history=True)

    in_threads(work, 4)
    log = EventLog(tmp_path, url=url)
    assert sorted(int(one.event.key) for one in log.read()) == list(range(60))
    assert summarize(log).total.impressions == 60


def in_threads(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace("@127.0.0.1", ":wrong@127.0.0.1").replace("tests", "nobody"), ""),
        (lambda url: url.rpartition("/")[0] + "/nowhere", "nowhere"),
        (lambda url: url.replace("postgresql", "mysql"), "'mysql' is not a database"),
        (lambda url: "not a url " + postgres.PASSWORD, "not valid"),
        (lambda url: url.replace("127.0.0.1:", "127.0.0.1:x"), "not valid"),
        (lambda url: f"postgresql://tests@127.0.0.1:1/x?password={postgres.PASSWORD}", "127.0.0.1"),
    ],
)
def test_a_wrong_url_ends_in_one_line_without_its_password(
    postgres_server: str, tmp_path: Path, change: Callable[[str], str], says: str
) -> None:
    with pytest.raises(SynestheteError) as caught:
        EventLog(tmp_path, url=change(postgres_server)).counts()
    message = f"{caught.value.message} {caught.value.hint}"
    assert says in message
    assert "\n" not in message
    assert postgres.PASSWORD not in message
    assert postgres.PASSWORD not in "".join(map(str, (caught.value.__cause__,)))
    assert list(tmp_path.iterdir()) == []
