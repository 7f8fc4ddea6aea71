"""Idempotency keys: a request that carries one is carried out once, and gets the same response when it is repeated."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synesthete._core.sqlite import AppendOnly
from synesthete.server.errors import Refused

FILE = "requests.sqlite"
_SCHEMA = (
    "CREATE TABLE requests (caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, status INTEGER NOT NULL,"
    " answer BLOB NOT NULL, PRIMARY KEY (caller, key)) WITHOUT ROWID",
)


class IdempotentRequests:
    """The responses to requests with an idempotency key.

    Parameters
    ----------
    folder
        The catalogue's.
    """

    def __init__(self, folder: Path) -> None:
        self._file = AppendOnly(folder / FILE, _SCHEMA, tables=("requests",))
        self._locks: dict[tuple[str, str], tuple[threading.Lock, int]] = {}
        self._guard = threading.Lock()

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
            409 when the key was used for another request.
        """
        if key is None:
            return work(), False
        digest = hashlib.sha256(operation.encode() + b"\0" + body).hexdigest()
        with self._alone(caller, key):
            query = "SELECT digest, answer FROM requests WHERE caller = ? AND key = ?"
            with self._file.reading() as connection:
                row = connection and connection.execute(query, (caller, key)).fetchone()
            if row and row[0] != digest:
                message = "that idempotency key was used for another request"
                raise Refused(409, message, hint="take a new one")
            if row:
                return bytes(row[1]), True
            response = work()
            with self._file.writing() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO requests VALUES (?, ?, ?, 200, ?)",
                    (caller, key, digest, response),
                )
            return response, False

    @contextmanager
    def _alone(self, caller: str, key: str) -> Iterator[None]:
        """One request of a caller and key at a time; the lock is kept for as long as anyone waits for it."""
        with self._guard:
            lock, users = self._locks.get((caller, key), (threading.Lock(), 0))
            self._locks[caller, key] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                users = self._locks[caller, key][1] - 1
                if users:
                    self._locks[caller, key] = lock, users
                else:
                    del self._locks[caller, key]
