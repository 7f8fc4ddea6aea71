"""The log of events: an SQLite file in the catalogue that loses none and counts none twice."""

from __future__ import annotations

import hmac
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synesthete.catalog.events.database import Growing
from synesthete.catalog.events.event import KINDS, NAMES, Event, check, event_of, is_skewed, moment
from synesthete.errors import SynestheteError

FILE = "events.sqlite"
MOST_AT_ONCE = 10_000
KEPT_ASIDE = 4_000
_SCHEMA = (
    "CREATE TABLE secret (value BLOB NOT NULL)",
    "CREATE TABLE events (place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    " item TEXT NOT NULL, at TEXT NOT NULL, subject TEXT NOT NULL, list TEXT NOT NULL, position INTEGER NOT NULL,"
    " experiment TEXT NOT NULL, variant TEXT NOT NULL, team TEXT NOT NULL, value REAL NOT NULL,"
    " received TEXT NOT NULL, unknown INTEGER NOT NULL, skewed INTEGER NOT NULL, digest TEXT NOT NULL)",
    "CREATE INDEX events_by_experiment ON events (experiment, place)",
    "CREATE TABLE aside (place INTEGER PRIMARY KEY AUTOINCREMENT, received TEXT NOT NULL, told TEXT NOT NULL,"
    " reason TEXT NOT NULL)",
)


@dataclass(frozen=True)
class Logged:
    """An event as it lies in the log.

    Attributes
    ----------
    event
        With the subject as a keyed hash, and a time.
    place
        Order of arrival.
    received
        When it came, by this machine's clock.
    unknown
        Whether the catalogue had no such item then.
    skewed
        Whether the teller's clock could not be right.
    """

    event: Event
    place: int
    received: datetime
    unknown: bool
    skewed: bool

    @property
    def time(self) -> datetime:
        """When it happened; when it came, where the teller's clock could not be right."""
        return self.received if self.skewed else moment(self.event.at)


@dataclass(frozen=True)
class Refusal:
    """An event that was not taken: its place in what was sent, its key, and why. It is kept aside."""

    index: int
    key: str
    reason: str


@dataclass(frozen=True)
class Taken:
    """What became of events that were sent.

    Attributes
    ----------
    added
        New ones.
    replayed
        Known before; counted once.
    unknown, skewed
        Of the new ones: for an item that the catalogue lacks; with a clock that could not be right.
    refused
        Set aside, with the reasons.
    """

    added: int
    replayed: int
    unknown: int
    skewed: int
    refused: tuple[Refusal, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def _now() -> datetime:
    return datetime.now(UTC)


class EventLog:
    """The events of a catalogue. Several threads and processes may write at once.

    Parameters
    ----------
    folder
        The catalogue's.
    known
        Whether the catalogue has an item; without it every item counts as known.
    now
        The clock.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        known: Callable[[str], bool] | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._file = Growing(Path(folder) / FILE, _SCHEMA, ("events", "aside"))
        self._known = known or (lambda item: True)
        self._now = now

    def take(
        self, told: Iterable[Mapping[str, Any] | Event | SynestheteError], *, history: bool = False
    ) -> Taken:
        """Add events: those that are sound, all of them or after a kill none; the others are set aside.

        What was known before is not added again, so whoever is not sure whether events arrived sends them once more.

        Parameters
        ----------
        told
            An error stands for an event that could not be read, and is set aside with the others.
        history
            Whether old events are told on purpose, as when a log is imported; else thirty days ago is a wrong clock. What is
            refused of a history is set aside once, however often it is told.

        Raises
        ------
        SynestheteError
            More than 10,000 at once, or the file cannot be written.
        """
        rows = list(told)
        if len(rows) > MOST_AT_ONCE:
            raise SynestheteError(
                f"{len(rows):,} events at once; at most {MOST_AT_ONCE:,}", hint="send them in parts"
            )
        received = self._now()
        # Asked before the transaction: the catalogue must not be waited for with the log locked.
        sound, refused = _parsed(rows)
        unknown = {event.item for _, event in sound if not self._known(event.item)}
        added: list[tuple[bool, bool]] = []
        replayed = 0
        with self._file.writing() as connection:
            secret = _secret(connection)
            for index, event in sound:
                plain = replace(event, subject=_pseudonym(secret, event.subject))
                found = connection.execute(
                    "SELECT digest FROM events WHERE key = ?", (event.key,)
                ).fetchone()
                if found is None:
                    flags = _insert(connection, plain, received, event.item in unknown, history)
                    added.append(flags)
                elif found == (plain.digest(),):
                    replayed += 1
                else:
                    refused.append(Refusal(index, event.key, "the key is of another event"))
            _put_aside(connection, rows, refused, received, history)
        refused.sort(key=lambda one: one.index)
        return Taken(
            len(added), replayed, sum(flag for flag, _ in added), sum(flag for _, flag in added), tuple(refused)
        )  # fmt: skip

    def read(
        self, *, experiment: str | None = None, after: int = 0, limit: int | None = None
    ) -> Iterator[Logged]:
        """Events in the order in which they came.

        Parameters
        ----------
        experiment
            Only those of one.
        after
            Only those that came after this place.
        limit
            At most so many.
        """
        query = f"SELECT {', '.join(NAMES)}, place, received, unknown, skewed FROM events WHERE place > ?"
        given: list[Any] = [after]
        if experiment is not None:
            query += " AND experiment = ?"
            given.append(experiment)
        query += " ORDER BY place LIMIT ?"
        given.append(-1 if limit is None else limit)
        with self._file.reading() as connection:
            for row in connection.execute(query, given) if connection else ():
                *event, place, received, unknown, skewed = row
                yield Logged(
                    Event(*event), place, datetime.fromisoformat(received), bool(unknown), bool(skewed)
                )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """How many of each kind, of unknown items, with wrong clocks, and set aside."""
        made = dict.fromkeys((*KINDS, "unknown", "skewed", "aside"), 0)
        with self._file.reading() as connection:
            if connection:
                made.update(connection.execute("SELECT kind, COUNT(*) FROM events GROUP BY kind"))
                totals = "SELECT COALESCE(SUM(unknown), 0), COALESCE(SUM(skewed), 0) FROM events"
                made["unknown"], made["skewed"] = connection.execute(totals).fetchone()
                (made["aside"],) = connection.execute("SELECT COUNT(*) FROM aside").fetchone()
        return made

    def experiments(self) -> list[str]:
        """Names of all experiments."""
        with self._file.reading() as connection:
            query = (
                "SELECT DISTINCT experiment FROM events WHERE experiment != '' ORDER BY experiment"
            )
            return [name for (name,) in connection.execute(query)] if connection else []

    def aside(self, limit: int = 100) -> list[dict[str, str]]:
        """What was refused, the latest first: when, what was told (shortened), why."""
        with self._file.reading() as connection:
            query = "SELECT received, told, reason FROM aside ORDER BY place DESC LIMIT ?"
            rows = connection.execute(query, (limit,)).fetchall() if connection else []
        return [dict(zip(("received", "told", "reason"), row, strict=True)) for row in rows]


def _parsed(
    rows: list[Mapping[str, Any] | Event | SynestheteError],
) -> tuple[list[tuple[int, Event]], list[Refusal]]:
    sound, refused = [], []
    for index, row in enumerate(rows):
        try:
            if isinstance(row, Event):
                check(row)
                sound.append((index, row))
            elif isinstance(row, Mapping):
                sound.append((index, event_of(row)))
            elif isinstance(row, SynestheteError):
                raise row
            else:
                raise SynestheteError(f"an event is an object, not {type(row).__name__}")
        except SynestheteError as error:
            key = row.key if isinstance(row, Event) else _key(row)
            refused.append(Refusal(index, key, str(error)))
    return sound, refused


def _key(row: object) -> str:
    key = row.get("key") if isinstance(row, Mapping) else None
    return key[:200].encode("utf-8", "replace").decode() if isinstance(key, str) else ""


def _insert(
    connection: sqlite3.Connection, event: Event, received: datetime, unknown: bool, history: bool
) -> tuple[bool, bool]:
    came = received.isoformat(timespec="microseconds")
    skewed = bool(event.at) and is_skewed(moment(event.at), received, history=history)
    # The digest is of what was told, so that a replay without a time is the same event still.
    digest = event.digest()
    kept = replace(event, at=event.at or came)
    names = (*NAMES, "received", "unknown", "skewed", "digest")
    values = [getattr(kept, name) for name in NAMES]
    connection.execute(
        f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
        [*values, came, unknown, skewed, digest],
    )
    return unknown, skewed


def _put_aside(
    connection: sqlite3.Connection,
    rows: list[Any],
    refused: list[Refusal],
    received: datetime,
    history: bool,
) -> None:
    if refused and history:
        connection.execute("CREATE INDEX IF NOT EXISTS aside_by_told ON aside (told)")
    for one in refused:
        row = rows[one.index]
        told = asdict(row) if isinstance(row, Event) else row
        if isinstance(told, Mapping):
            told = {name: value for name, value in told.items() if name != "subject"}
        text = json.dumps(told, default=str, sort_keys=True)[:KEPT_ASIDE]
        # An import that was killed is run again, from its first row.
        known = "SELECT 1 FROM aside WHERE told = ? AND reason = ?"
        if history and connection.execute(known, (text, one.reason)).fetchone():
            continue
        connection.execute(
            "INSERT INTO aside (received, told, reason) VALUES (?, ?, ?)",
            (received.isoformat(timespec="microseconds"), text, one.reason),
        )


def _secret(connection: sqlite3.Connection) -> bytes:
    found = connection.execute("SELECT value FROM secret").fetchone()
    if found is None:
        found = (secrets.token_bytes(32),)
        connection.execute("INSERT INTO secret VALUES (?)", found)
    return bytes(found[0])


def _pseudonym(secret: bytes, subject: str) -> str:
    return hmac.digest(secret, subject.encode(), "sha256").hex()[:32] if subject else ""
