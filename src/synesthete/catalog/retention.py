"""Forgetting visitors: one of them on request, and all events after a number of days; everywhere in a catalogue's folder."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from synesthete._core.environment import EVENTS_URL, IDEMPOTENCY_HOURS, RETENTION_DAYS
from synesthete.atlas.files import disk_errors, lock_alone, open_to_write
from synesthete.catalog.events import EventLog
from synesthete.catalog.server.idempotency import KEPT_HOURS, IdempotentRequests
from synesthete.catalog.webhooks import Webhooks
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Queue

LOCK = "retention.lock"
PAUSE_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where a served catalogue keeps events, and for how long.

    Attributes
    ----------
    events_url
        Of a PostgreSQL database; None for SQLite in the catalogue's folder.
    retention_days
        Days after which events are removed; None for never.
    idempotency_hours
        Hours after which the response to a request with an idempotency key is removed.
    """

    events_url: str | None = None
    retention_days: float | None = None
    idempotency_hours: float = KEPT_HOURS

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Settings:
        """What environment variables say, which `serve` sets from its flags.

        Raises
        ------
        SynestheteError
            A number that is none, or not above 0.

        Examples
        --------
        >>> Settings.of_environment({"SYNESTHETE_RETENTION_DAYS": "90"}).retention_days
        90.0
        """
        return cls(
            events_url=variables.get(EVENTS_URL) or None,
            retention_days=_above_zero(variables, RETENTION_DAYS),
            idempotency_hours=_above_zero(variables, IDEMPOTENCY_HOURS) or KEPT_HOURS,
        )


def _above_zero(variables: Mapping[str, str], name: str) -> float | None:
    text = variables.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 100_000:
        raise SynestheteError(f"{name} is {text[:40]!r}", hint="a number above 0, such as 90")
    return number


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was removed: events, what had been set aside, cases of the queue, messages of webhooks about them, and kept responses
    (all of those there were).
    """

    events: int
    aside: int
    cases: int
    messages: int
    responses: int


def forget_visitor(folder: Path, log: EventLog, visitor: str) -> Removed:
    """Remove everything of a visitor: events, what was set aside of them, cases that name them, and responses to requests.

    Messages of webhooks about those cases that wait or were given up are removed, too, and not sent any more.

    Raises
    ------
    SynestheteError
        What could not be removed, or not be compacted while others read it; then it is to be done again.
    """
    done = log.forget(visitor)
    return Removed(
        events=done.events,
        aside=done.aside,
        cases=Queue(folder).forget(visitor),
        messages=Webhooks(folder).forget(),
        responses=IdempotentRequests(folder).forget(),
    )


def forget_before(
    folder: Path, log: EventLog, days: float, *, now: datetime | None = None
) -> Removed:
    """Remove the events of more than so many days ago, what was set aside before, and (if there were any) responses to requests."""
    time = (now or datetime.now(UTC)) - timedelta(days=days)
    # Responses go first: after an error the events are still there, or not compacted, and so both are done again.
    responses = IdempotentRequests(folder).forget() if log.holds_before(time) else 0
    done = log.forget_before(time)
    return Removed(events=done.events, aside=done.aside, cases=0, messages=0, responses=responses)


class Retention(threading.Thread):
    """Removes old events of a served catalogue, every hour. The workers of a server take turns by a lock on `retention.lock`.

    Parameters
    ----------
    folder, log, days
        As of `forget_before`.
    """

    def __init__(self, folder: Path, log: EventLog, days: float) -> None:
        super().__init__(name="retention", daemon=True)
        self._of = folder, log, days
        self._stopped = threading.Event()

    def run(self) -> None:
        """Remove what is too old, until `stop`."""
        while True:
            try:
                self._remove()
            except SynestheteError as error:
                logging.getLogger(__name__).error("retention: %s", error)
            if self._stopped.wait(PAUSE_SECONDS):
                return

    def _remove(self) -> None:
        path = self._of[0] / LOCK
        with disk_errors(path), open_to_write(path) as file:
            if lock_alone(file.fileno(), path):  # else another worker is at it
                forget_before(*self._of)

    def stop(self) -> None:
        """End after the present round."""
        self._stopped.set()
