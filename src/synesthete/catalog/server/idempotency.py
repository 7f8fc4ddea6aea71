"""Idempotency keys: a request that carries one is carried out once, and gets the same response when it is repeated."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from synesthete._core.sqlite import AppendOnly
from synesthete._core.user_files import leads_out
from synesthete.atlas.files import disk_errors, lock_alone, open_to_write
from synesthete.errors import SynestheteError
from synesthete.server.errors import Refused

FILE = "requests.sqlite"
CLAIMS = "requests.claims"
KEPT_HOURS = 24.0
WAIT_SECONDS = 10.0
PAUSE_SECONDS = 0.02
_SCHEMA = (
    "CREATE TABLE requests (caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, answer BLOB NOT NULL,"
    " at REAL NOT NULL, PRIMARY KEY (caller, key)) WITHOUT ROWID",
    "CREATE INDEX requests_by_time ON requests (at)",
)


class IdempotentRequests:
    """The responses to requests with an idempotency key, for a while.

    Whoever carries a request out holds a claim on its key: a lock of the operating system on a file of its own, which ends
    with the process, however that ends. So several processes may serve one catalogue, and a claim is never left behind.

    Parameters
    ----------
    folder
        The catalogue's.
    hours
        How long a response is kept; the same request is carried out again after that.
    wait_seconds
        How long a repetition waits for the request that is still carried out.
    now
        The clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hours: float = KEPT_HOURS,
        wait_seconds: float = WAIT_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file = AppendOnly(folder / FILE, _SCHEMA, tables=(), version=2, upgrade=_upgrade)
        self._claims = folder / CLAIMS
        self._kept_seconds = hours * 3600
        self._wait_seconds = wait_seconds
        self._now = now

    def respond(
        self, caller: str, key: str | None, operation: str, body: bytes, work: Callable[[], bytes]
    ) -> tuple[bytes, bool]:
        """The response to a request, and whether it is a repetition.

        Killed between the work and the note of it, the work is done again: it must be such that this does no harm, as
        events (which have keys of their own) and upserts are.

        Parameters
        ----------
        operation
            Method and path; with the body, what distinguishes one request from another.

        Raises
        ------
        Refused
            409 when the key was used for another request; 409 with `Retry-After` while the request is still carried out.
        """
        if key is None:
            return work(), False
        digest = hashlib.sha256(operation.encode() + b"\0" + body).hexdigest()
        with self._claimed(caller, key):
            query = "SELECT digest, answer FROM requests WHERE caller = ? AND key = ? AND at > ?"
            oldest = self._now() - self._kept_seconds
            with self._file.reading() as connection:
                row = connection and connection.execute(query, (caller, key, oldest)).fetchone()
            if row and row[0] != digest:
                message = "that idempotency key was used for another request"
                raise Refused(409, message, hint="take a new one")
            if row:
                return bytes(row[1]), True
            response = work()
            at = self._now()
            with self._file.forgetting() as connection:
                connection.execute("DELETE FROM requests WHERE at <= ?", (at - self._kept_seconds,))
                connection.execute(
                    "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?)",
                    (caller, key, digest, response, at),
                )
            return response, False

    def forget(self) -> int:
        """Remove all responses, which may name what a visitor's events were refused for; returns how many there were."""
        with self._file.reading() as connection:
            if not connection:
                return 0
        with self._file.forgetting() as connection:
            count = connection.execute("DELETE FROM requests").rowcount
        self._file.compact()
        return count

    @contextmanager
    def _claimed(self, caller: str, key: str) -> Iterator[None]:
        """Hold the claim on a key, which no other thread or process has then."""
        name = hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()[:32]
        path = self._claims / f"{name}.claim"
        deadline = time.monotonic() + self._wait_seconds
        with disk_errors(path):
            self._claims.mkdir(mode=0o700, exist_ok=True)
        if leads_out(self._claims.parent, self._claims):
            raise SynestheteError(f"{self._claims} leads out of its folder", hint="delete it")
        while True:
            with disk_errors(path):
                file = open_to_write(path)
            with file:
                with disk_errors(path):
                    alone = lock_alone(file.fileno(), path)
                if alone:
                    try:
                        yield
                    finally:
                        # While it is locked: who waited for this file sees that it is no longer there, and takes a new one.
                        path.unlink(missing_ok=True)
                    return
            if time.monotonic() > deadline:
                message = "a request with that idempotency key is still carried out"
                raise Refused(409, message, hint="send it again later", retry_after=2)
            time.sleep(PAUSE_SECONDS)


def _upgrade(connection: sqlite3.Connection, schema: Sequence[str]) -> None:
    """Format 1 did not say when; what it holds expires counted from now."""
    for statement in (
        "ALTER TABLE requests RENAME TO old_requests",
        *schema,
        "INSERT INTO requests SELECT caller, key, digest, answer, strftime('%s', 'now') FROM old_requests",
        "DROP TABLE old_requests",
    ):
        connection.execute(statement)
