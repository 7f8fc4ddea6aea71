"""Events of visitors (impressions, clicks, add-to-carts, conversions, dismissals), in a log that loses none and doubles none."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from synesthete._core.sqlite import AppendOnly
from synesthete.errors import SynestheteError, near

FILE = "events.sqlite"
MOST_AT_ONCE = 10_000
KEPT_ASIDE = 4_000
KINDS = ("impression", "click", "add", "conversion", "dismissal")
VARIANTS = ("", "A", "B")
LONGEST = 200
LONGEST_ITEM = 500
AHEAD, BEHIND = timedelta(minutes=5), timedelta(days=30)
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


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that a visitor did once.

    Attributes
    ----------
    key
        The idempotency key: an event sent twice has the same key, and counts once.
    kind
        One of `KINDS`.
    item
        Id of the item.
    at
        When, by the sender's clock: ISO 8601 with zone; empty for "now".
    subject
        A pseudonym of the visitor, chosen by the sender. Only a keyed hash is kept.
    list
        Id of the list in which the item was shown; joins clicks to impressions.
    position
        Place in that list, from 1; 0 where there is none.
    experiment, variant
        Name of an experiment, and `A` or `B`, the variant that the visitor sees.
    team
        In an interleaved list, the ranker that put the item there.
    value
        Of a conversion, in the catalogue's currency.
    """

    key: str
    kind: str
    item: str
    at: str = ""
    subject: str = ""
    list: str = ""
    position: int = 0
    experiment: str = ""
    variant: str = ""
    team: str = ""
    value: float = 0.0

    def digest(self) -> str:
        """SHA-256 of all fields, which distinguishes a replay from another event with the same key."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


NAMES = tuple(field.name for field in fields(Event))


def event_of(row: Mapping[str, Any]) -> Event:
    """An event from JSON or a row of a table, checked; absent and empty values are the defaults.

    Raises
    ------
    SynestheteError
        An unknown key, a wrong type, or what `check` refuses.

    Examples
    --------
    >>> event_of({"key": "e1", "kind": "click", "item": "42", "position": "3"}).position
    3
    """
    unknown = [str(name) for name in row if name not in NAMES]
    if unknown:
        raise SynestheteError(f"unknown field {unknown[0]!r}", hint=near(unknown[0], NAMES))
    given: dict[str, Any] = {
        name: value for name, value in row.items() if value is not None and value != ""
    }
    for name, convert in (("position", int), ("value", float)):
        if name in given:
            given[name] = _number(name, given[name], convert)
    for name, value in given.items():
        if name not in ("position", "value") and not isinstance(value, str):
            raise SynestheteError(f"the {name} of an event is a text, not {type(value).__name__}")
    missing = [name for name in ("key", "kind", "item") if name not in given]
    if missing:
        raise SynestheteError(f"an event needs a {missing[0]}")
    event = Event(**given)
    check(event)
    return event


def _number(name: str, value: Any, convert: Callable[[Any], float]) -> float:
    shown = str(value)[:40]
    if isinstance(value, bool):
        raise SynestheteError(f"the {name} {shown!r} is not a valid number")
    try:
        number = convert(value)
    except (TypeError, ValueError, OverflowError):
        raise SynestheteError(f"the {name} {shown!r} is not a valid number") from None
    if name == "position" and float(value) != number:
        raise SynestheteError(f"the position {shown!r} is not an integer")
    return number


def check(event: Event) -> None:
    """Refuse an event that could not have happened.

    Raises
    ------
    SynestheteError
        Unknown kind or variant, a text that is too long or holds control characters, an invalid time or one without a
        zone, a negative position, a value that is not finite.
    """
    if event.kind not in KINDS:
        hint = near(event.kind, KINDS) or ", ".join(KINDS)
        raise SynestheteError(f"no such kind of event: {event.kind[:40]!r}", hint=hint)
    for name in NAMES:
        text = getattr(event, name)
        most = LONGEST_ITEM if name == "item" else LONGEST
        if not isinstance(text, str):
            continue
        if len(text) > most:
            raise SynestheteError(f"the {name} has {len(text):,} characters; at most {most}")
        if any(not letter.isprintable() for letter in text):
            raise SynestheteError(f"the {name} holds control characters")
    if not (event.key and event.item):
        raise SynestheteError("an event needs a key and an item")
    if event.variant not in VARIANTS or event.team not in VARIANTS:
        raise SynestheteError("variant and team are A or B")
    if event.variant and not event.experiment:
        raise SynestheteError("a variant needs the name of its experiment")
    if not 0 <= event.position <= 1_000_000:
        raise SynestheteError(f"the position is {event.position}; it counts from 1")
    if not math.isfinite(event.value):
        raise SynestheteError("the value is not a finite number")
    if event.at:
        moment(event.at)


def moment(text: str) -> datetime:
    """A time in ISO 8601 with zone, in UTC.

    Examples
    --------
    >>> moment("2026-01-31T12:00:00+02:00").isoformat()
    '2026-01-31T10:00:00+00:00'
    """
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise SynestheteError(
        f"{text[:40]!r} is not a valid time with a zone", hint="write 2026-01-31T12:00:00Z"
    )


def is_skewed(at: datetime, received: datetime, *, history: bool = False) -> bool:
    """Whether the sender's clock must be wrong: ahead by five minutes, or (unless this is history) behind by thirty days."""
    return at > received + AHEAD or (at < received - BEHIND and not history)


@dataclass(frozen=True, kw_only=True)
class Logged:
    """An event of the log.

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
        Whether the sender's clock must have been wrong.
    """

    event: Event
    place: int
    received: datetime
    unknown: bool
    skewed: bool

    @property
    def time(self) -> datetime:
        """When it happened; when it came, where the sender's clock must have been wrong."""
        return self.received if self.skewed else moment(self.event.at)


@dataclass(frozen=True)
class Refusal:
    """A rejected event: its index in what was sent, its key, and the reason. It is kept aside."""

    index: int
    key: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What became of events that were sent.

    Attributes
    ----------
    added
        New ones.
    replayed
        Known before; counted once.
    unknown, skewed
        Of the new ones: for an item that the catalogue lacks; with a wrong clock.
    refused
        Set aside, with the reasons.
    """

    added: int = 0
    replayed: int = 0
    unknown: int = 0
    skewed: int = 0
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
        self._file = AppendOnly(Path(folder) / FILE, _SCHEMA, tables=("events", "aside"))
        self._known = known or (lambda item: True)
        self._now = now

    def take(
        self,
        events: Iterable[Mapping[str, Any] | Event | SynestheteError],
        *,
        history: bool = False,
    ) -> Taken:
        """Add events: those that are valid, all of them or after a kill none; the others are set aside.

        What was known before is not added again, so whoever is not sure whether events arrived sends them once more.

        Parameters
        ----------
        events
            An error stands for an event that could not be read, and is set aside with the others.
        history
            Whether old events are sent on purpose, as when a log is imported; else thirty days ago is a wrong clock. What is
            refused of a history is set aside once, however often it is sent.

        Raises
        ------
        SynestheteError
            More than 10,000 at once, or the file cannot be written.
        """
        rows = list(events)
        if len(rows) > MOST_AT_ONCE:
            raise SynestheteError(
                f"{len(rows):,} events at once; at most {MOST_AT_ONCE:,}", hint="send them in parts"
            )
        received = self._now()
        # Before the transaction: the catalogue must not be waited for with the log locked.
        valid, refused = _parsed(rows)
        unknown = {event.item for _, event in valid if not self._known(event.item)}
        added: list[tuple[bool, bool]] = []
        replayed = 0
        with self._file.writing() as connection:
            secret = _secret(connection)
            for index, event in valid:
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
            added=len(added),
            replayed=replayed,
            unknown=sum(flag for flag, _ in added),
            skewed=sum(flag for _, flag in added),
            refused=tuple(refused),
        )

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
                    event=Event(**dict(zip(NAMES, event, strict=True))),
                    place=place,
                    received=datetime.fromisoformat(received),
                    unknown=bool(unknown),
                    skewed=bool(skewed),
                )

    def counts(self) -> dict[str, int]:
        """How many of each kind, of unknown items, with wrong clocks, and set aside."""
        counts = dict.fromkeys((*KINDS, "unknown", "skewed", "aside"), 0)
        with self._file.reading() as connection:
            if connection:
                counts.update(connection.execute("SELECT kind, COUNT(*) FROM events GROUP BY kind"))
                totals = "SELECT COALESCE(SUM(unknown), 0), COALESCE(SUM(skewed), 0) FROM events"
                counts["unknown"], counts["skewed"] = connection.execute(totals).fetchone()
                (counts["aside"],) = connection.execute("SELECT COUNT(*) FROM aside").fetchone()
        return counts

    def experiments(self) -> list[str]:
        """Names of all experiments."""
        with self._file.reading() as connection:
            query = "SELECT DISTINCT experiment FROM events WHERE experiment != '' ORDER BY 1"
            return [name for (name,) in connection.execute(query)] if connection else []

    def aside(self, limit: int = 100) -> list[dict[str, str]]:
        """What was refused, the latest first: when, the event (shortened), why."""
        with self._file.reading() as connection:
            query = "SELECT received, told, reason FROM aside ORDER BY place DESC LIMIT ?"
            rows = connection.execute(query, (limit,)).fetchall() if connection else []
        return [dict(zip(("received", "event", "reason"), row, strict=True)) for row in rows]


def _parsed(
    rows: list[Mapping[str, Any] | Event | SynestheteError],
) -> tuple[list[tuple[int, Event]], list[Refusal]]:
    valid, refused = [], []
    for index, row in enumerate(rows):
        try:
            if isinstance(row, Event):
                check(row)
                valid.append((index, row))
            elif isinstance(row, Mapping):
                valid.append((index, event_of(row)))
            elif isinstance(row, SynestheteError):
                raise row
            else:
                raise SynestheteError(f"an event is an object, not {type(row).__name__}")
        except SynestheteError as error:
            key = row.key if isinstance(row, Event) else _key(row)
            refused.append(Refusal(index, key, str(error)))
    return valid, refused


def _key(row: object) -> str:
    key = row.get("key") if isinstance(row, Mapping) else None
    return key[:200].encode("utf-8", "replace").decode() if isinstance(key, str) else ""


def _insert(
    connection: sqlite3.Connection, event: Event, received: datetime, unknown: bool, history: bool
) -> tuple[bool, bool]:
    came = received.isoformat(timespec="microseconds")
    skewed = bool(event.at) and is_skewed(moment(event.at), received, history=history)
    # The digest is of what was sent, so that a replay without a time is still the same event.
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
        event = asdict(row) if isinstance(row, Event) else row
        if isinstance(event, Mapping):
            event = {name: value for name, value in event.items() if name != "subject"}
        text = json.dumps(event, default=str, sort_keys=True)[:KEPT_ASIDE]
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
