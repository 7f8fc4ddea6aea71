"""Once only: a request with an `Idempotency-Key` is carried out once, and answered the same when it comes again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from synesthete.catalog.events.database import Growing
from synesthete.server.errors import Refused

FILE = "requests.sqlite"
_SCHEMA = (
    "CREATE TABLE requests (caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, status INTEGER NOT NULL,"
    " answer BLOB NOT NULL, PRIMARY KEY (caller, key)) WITHOUT ROWID",
)


class Once:
    """What was answered to requests with an idempotency key.

    Parameters
    ----------
    folder
        The catalogue's.
    """

    def __init__(self, folder: Path) -> None:
        self._file = Growing(folder / FILE, _SCHEMA, ("requests",))
        self._busy: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def answer(
        self,
        caller: str,
        key: str | None,
        what: str,
        body: bytes,
        work: Callable[[], tuple[int, bytes]],
    ) -> tuple[int, bytes, bool]:
        """Status and answer of a request, and whether it is a repetition.

        Killed between the work and the note of it, the work is done again: it must be such that this does no harm, as
        events (which have keys of their own) and upserts are.

        Parameters
        ----------
        what
            Method and path; with the body, what tells one request from another.

        Raises
        ------
        Refused
            409 when the key was used for another request.
        """
        if key is None:
            return (*work(), False)
        digest = hashlib.sha256(what.encode() + b"\0" + body).hexdigest()
        with self._lock:
            mine = self._busy.setdefault((caller, key), threading.Lock())
        with mine:
            try:
                with self._file.reading() as connection:
                    found = (
                        connection
                        and connection.execute(
                            "SELECT digest, status, answer FROM requests WHERE caller = ? AND key = ?",
                            (caller, key),
                        ).fetchone()
                    )
                if found:
                    if found[0] != digest:
                        raise Refused(
                            409,
                            "that idempotency key was used for another request",
                            hint="take a new one",
                        )
                    return int(found[1]), bytes(found[2]), True
                status, answer = work()
                with self._file.writing() as connection:
                    connection.execute(
                        "INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?)",
                        (caller, key, digest, status, answer),
                    )
                return status, answer, False
            finally:
                with self._lock:
                    self._busy.pop((caller, key), None)
