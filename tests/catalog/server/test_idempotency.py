"""A request with an idempotency key is carried out once, by however many threads and processes it is sent to."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from synesthete.catalog.server.idempotency import CLAIMS, IdempotentRequests
from synesthete.server.errors import Refused

WAITERS = 6


def test_the_same_request_sent_at_once_is_carried_out_once(tmp_path: Path) -> None:
    """One that fails hands over to one that waits, while others come: no two may work at the same time."""
    requests = IdempotentRequests(tmp_path)
    guard, working, most, calls = threading.Lock(), 0, 0, 0

    def work() -> bytes:
        nonlocal working, most, calls
        with guard:
            calls += 1
            working += 1
            most, first = max(most, working), calls <= 3
        time.sleep(0.05)
        with guard:
            working -= 1
        if first:
            raise OSError("the disk is full")
        return b"{}"

    def send() -> None:
        try:
            requests.respond("ann", "key", "POST /items", b"body", work)
        except OSError:
            send()

    threads = [threading.Thread(target=send) for _ in range(WAITERS)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert (most, calls) == (1, 4)
    assert requests.respond("ann", "key", "POST /items", b"body", work) == (b"{}", True)
    assert list((tmp_path / CLAIMS).iterdir()) == []


SENDER = """
import sys, time
from pathlib import Path
from synesthete.catalog.server.idempotency import IdempotentRequests

folder, name, lasts = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])

def work():
    with (folder / "done").open("a") as file:
        file.write(name + "\\n")
    print("working", flush=True)
    time.sleep(lasts)
    return name.encode()

print(*IdempotentRequests(folder).respond("ann", "key", "POST /items", b"body", work), flush=True)
"""


def send(folder: Path, name: str, lasts: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SENDER, str(folder), name, str(lasts)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_carry_it_out_once(tmp_path: Path) -> None:
    first = send(tmp_path, "first", 1.0)
    assert first.stdout is not None
    assert first.stdout.readline() == "working\n"
    second = send(tmp_path, "second", 0.0)
    assert second.communicate()[0] == "b'first' True\n"
    assert first.communicate()[0] == "b'first' False\n"
    assert (tmp_path / "done").read_text() == "first\n"


def test_the_claim_of_a_process_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    first = send(tmp_path, "first", 600)
    assert first.stdout is not None
    assert first.stdout.readline() == "working\n"
    waiting = IdempotentRequests(tmp_path, wait_seconds=0.1)
    with pytest.raises(Refused, match="still carried out") as caught:
        waiting.respond("ann", "key", "POST /items", b"body", lambda: b"too early")
    assert (caught.value.status, caught.value.retry_after) == (409, 2)
    second = send(tmp_path, "second", 0.0)
    first.kill()
    first.communicate()
    assert second.communicate()[0] == "working\nb'second' False\n"
    assert waiting.respond("ann", "key", "POST /items", b"body", lambda: b"") == (b"second", True)
    assert list((tmp_path / CLAIMS).iterdir()) == []


def test_a_key_of_another_request_is_refused(tmp_path: Path) -> None:
    requests = IdempotentRequests(tmp_path)
    requests.respond("ann", "key", "POST /items", b"body", lambda: b"1")
    with pytest.raises(Refused, match="another request") as caught:
        requests.respond("ann", "key", "POST /items", b"other", lambda: b"2")
    assert (caught.value.status, caught.value.retry_after) == (409, 0)
    assert requests.respond("ben", "key", "POST /items", b"other", lambda: b"3") == (b"3", False)


def test_responses_expire_and_leave_the_file(tmp_path: Path) -> None:
    clock = [1_000_000.0]
    requests = IdempotentRequests(tmp_path, hours=24, now=lambda: clock[0])
    answer = b"an answer that is found if it is there"

    def ask(key: str, response: bytes) -> tuple[bytes, bool]:
        return requests.respond("ann", key, "POST /items", b"body", lambda: response)

    assert ask("key", answer) == (answer, False)
    clock[0] += 24 * 3600 - 1
    assert ask("key", b"later") == (answer, True)
    clock[0] += 2
    assert ask("another", b"other") == (b"other", False)
    assert rows(tmp_path) == [("another",)]
    assert ask("key", b"later") == (b"later", False)
    assert requests.forget() == 2
    assert rows(tmp_path) == []
    assert not any(answer in file.read_bytes() for file in tmp_path.glob("requests.sqlite*"))


def rows(folder: Path) -> list[tuple[str]]:
    with sqlite3.connect(folder / "requests.sqlite") as connection:
        return connection.execute("SELECT key FROM requests ORDER BY key").fetchall()


def test_responses_of_the_format_before_are_kept_for_as_long_as_new_ones(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "requests.sqlite") as old:
        old.executescript(
            "CREATE TABLE requests (caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, status INTEGER NOT NULL,"
            " answer BLOB NOT NULL, PRIMARY KEY (caller, key)) WITHOUT ROWID;"
            "CREATE TRIGGER requests_stay BEFORE UPDATE ON requests BEGIN SELECT RAISE(ABORT, 'never'); END;"
            "CREATE TRIGGER requests_remain BEFORE DELETE ON requests BEGIN SELECT RAISE(ABORT, 'never'); END;"
            "PRAGMA user_version = 1;"
        )
        digest = "ac2ca2a8b7ebbb2d8a4bb0f1ec0dd1ae"
        old.execute("INSERT INTO requests VALUES ('ann', 'key', ?, 200, x'7b7d')", (digest,))
    clock = [time.time()]
    requests = IdempotentRequests(tmp_path, now=lambda: clock[0])
    with pytest.raises(Refused, match="another request"):
        requests.respond("ann", "key", "POST /items", b"body", lambda: b"1")
    clock[0] += 25 * 3600
    assert requests.respond("ann", "key", "POST /items", b"body", lambda: b"2") == (b"2", False)
