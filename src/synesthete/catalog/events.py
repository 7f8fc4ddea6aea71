"""Events of visitors (impressions, clicks, add-to-carts, conversions, dismissals), in a log that loses none and doubles none."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from synesthete._core import compaction
from synesthete._core.postgres import AppendOnlyPostgres
from synesthete._core.sqlite import AppendOnly
from synesthete.catalog import aggregates
from synesthete.errors import SynestheteError, near, one_of

FILE = "events.sqlite"
MOST_AT_ONCE = 10_000
KEPT_ASIDE = 4_000
KINDS = ("impression", *aggregates.ANSWERS)
VARIANTS = ("", "A", "B")
LONGEST = 200
LONGEST_ITEM = 500
AHEAD, BEHIND = timedelta(minutes=5), timedelta(days=30)
PAGE = 10_000  # events that are read together
KEYS_AT_ONCE = 500
FORMAT = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLES = ("events", "aside", "forgotten")
_SCHEMA = (
    "CREATE TABLE secret (value {bytes} NOT NULL)",
    "CREATE TABLE events (place {serial}, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    " item TEXT NOT NULL, at TEXT NOT NULL, subject TEXT NOT NULL, list TEXT NOT NULL, position INTEGER NOT NULL,"
    " experiment TEXT NOT NULL, variant TEXT NOT NULL, team TEXT NOT NULL, value DOUBLE PRECISION NOT NULL,"
    " received TEXT NOT NULL, unknown INTEGER NOT NULL, skewed INTEGER NOT NULL, digest TEXT NOT NULL,"
    " time BIGINT NOT NULL)",
    "CREATE INDEX events_of_visitors ON events (experiment, subject) WHERE experiment <> ''",
    "CREATE INDEX events_with_value ON events (experiment, subject) WHERE kind = 'conversion'",
    "CREATE INDEX events_by_time ON events (time)",
    "CREATE TABLE aside (place {serial}, received TEXT NOT NULL, told TEXT NOT NULL, reason TEXT NOT NULL,"
    " subject TEXT NOT NULL)",
    "CREATE TABLE forgotten (place {serial}, at TEXT NOT NULL, why TEXT NOT NULL, events BIGINT NOT NULL,"
    " aside BIGINT NOT NULL)",
    *aggregates.SCHEMA,
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
        text = json.dumps(vars(self), sort_keys=True)
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
        raise SynestheteError(
            f"no such kind of event: {event.kind[:40]!r}", hint=one_of(event.kind, KINDS)
        )
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


@dataclass(frozen=True)
class Forgotten:
    """What was removed from a log: events, and what had been set aside."""

    events: int = 0
    aside: int = 0


def microseconds(time: datetime) -> int:
    """A time as the log's tables hold it: microseconds since 1970, UTC.

    Examples
    --------
    >>> microseconds(moment("1970-01-01T00:00:01+00:00"))
    1000000
    """
    return (time - _EPOCH) // timedelta(microseconds=1)


def _now() -> datetime:
    return datetime.now(UTC)


class EventLog:
    """The events of a catalogue. Several threads and processes may write at once.

    Parameters
    ----------
    folder
        The catalogue's; they are in a SQLite file in it.
    known
        Whether the catalogue has an item; without it every item counts as known.
    now
        The clock.
    url
        Of a PostgreSQL database that they are in instead.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        known: Callable[[str], bool] | None = None,
        now: Callable[[], datetime] = _now,
        url: str | None = None,
    ) -> None:
        self._tables: AppendOnly | AppendOnlyPostgres
        if url:
            schema = [statement.format(**AppendOnlyPostgres.TYPES) for statement in _SCHEMA]
            self._tables = AppendOnlyPostgres(url, schema, tables=_TABLES, version=FORMAT)
        else:
            schema = [statement.format(**AppendOnly.TYPES) for statement in _SCHEMA]
            file = Path(folder) / FILE
            self._tables = AppendOnly(
                file, schema, tables=_TABLES, version=FORMAT, upgrade=_upgrade
            )
        self._known = known or (lambda item: True)
        self._now = now

    def reading(self) -> AbstractContextManager[Any]:
        """A connection that sees one moment of the log and of `aggregates`, or None while nothing was written yet."""
        return self._tables.reading()

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
        added: list[dict[str, Any]] = []
        replayed = 0
        with self._tables.writing() as connection:
            secret = _secret(connection)
            digests = _digests(connection, [event.key for _, event in valid])
            (last,) = connection.execute("SELECT COALESCE(MAX(place), 0) FROM events").fetchone()
            for index, event in valid:
                plain = replace(event, subject=_pseudonym(secret, event.subject))
                digest = plain.digest()
                if digests.setdefault(event.key, "") == digest:
                    replayed += 1
                elif digests[event.key]:
                    refused.append(Refusal(index, event.key, "the key is of another event"))
                else:
                    digests[event.key] = digest
                    unknown_item = event.item in unknown
                    added.append(_row(plain, digest, received, unknown_item, history))
            connection.executemany(_INSERT, added)
            aggregates.count_events(connection, last)
            _put_aside(connection, secret, rows, refused, received, history)
        refused.sort(key=lambda one: one.index)
        return Taken(
            added=len(added),
            replayed=replayed,
            unknown=sum(row["unknown"] for row in added),
            skewed=sum(row["skewed"] for row in added),
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
        query = f"SELECT {', '.join(NAMES)}, place, received, unknown, skewed FROM events WHERE place > :after"
        given: dict[str, Any] = {}
        if experiment is not None:
            query += " AND experiment = :experiment"
            given["experiment"] = experiment
        query += " ORDER BY place LIMIT :limit"
        left = math.inf if limit is None else limit
        with self.reading() as connection:
            while connection and left > 0:
                page = {**given, "after": after, "limit": min(left, PAGE)}
                rows = connection.execute(query, page).fetchall()
                yield from map(_logged, rows)
                left -= len(rows)
                if len(rows) < page["limit"]:
                    return
                after = rows[-1][len(NAMES)]

    def counts(self) -> dict[str, int]:
        """How many of each kind, of unknown items, with wrong clocks, and set aside."""
        counts = dict.fromkeys((*KINDS, "unknown", "skewed", "aside"), 0)
        with self.reading() as connection:
            if connection:
                for name, count in connection.execute("SELECT name, count FROM totals").fetchall():
                    if name in counts:
                        counts[name] = count
                (counts["aside"],) = connection.execute("SELECT COUNT(*) FROM aside").fetchone()
        return counts

    def experiments(self) -> list[str]:
        """Names of all experiments."""
        with self.reading() as connection:
            query = "SELECT name FROM experiments"
            rows = connection.execute(query).fetchall() if connection else []
        return sorted(name for (name,) in rows)

    def last_time(self, experiment: str) -> datetime | None:
        """When the last event of an experiment happened, by the clock of its sender."""
        with self.reading() as connection:
            query = "SELECT time FROM experiments WHERE name = :name"
            found = connection and connection.execute(query, {"name": experiment}).fetchone()
        return _EPOCH + timedelta(microseconds=found[0]) if found else None

    def aside(self, limit: int = 100) -> list[dict[str, str]]:
        """What was refused, the latest first: when, the event (shortened), why."""
        with self.reading() as connection:
            query = "SELECT received, told, reason FROM aside ORDER BY place DESC LIMIT :limit"
            rows = connection.execute(query, {"limit": limit}).fetchall() if connection else []
        return [dict(zip(("received", "event", "reason"), row, strict=True)) for row in rows]

    def forget(self, subject: str) -> Forgotten:
        """Remove all events of a visitor, and what was set aside that is theirs or names them; nothing on the disk holds it then.

        That it was done is kept, without the visitor. What is sent of them afterwards is new.

        Raises
        ------
        SynestheteError
            An empty name, or somebody has read for so long that the file could not be compacted.
        """
        if not subject:
            raise SynestheteError("whose events? a visitor's name is empty")

        def remove(connection: Any, secret: bytes) -> Forgotten:
            of = {"subject": _pseudonym(secret, subject)}
            events = connection.execute("DELETE FROM events WHERE subject = :subject", of).rowcount
            # As JSON has it, and as a reason quotes it, where a long one is cut.
            named = {json.dumps(subject), repr(subject), repr(subject[:40])}
            theirs = [
                {"place": place}
                for place, told, reason, whose in connection.execute(
                    "SELECT place, told, reason, subject FROM aside"
                ).fetchall()
                if whose == of["subject"] or any(name in told or name in reason for name in named)
            ]
            connection.executemany("DELETE FROM aside WHERE place = :place", theirs)
            aggregates.count_without(connection, of["subject"])
            return Forgotten(events, len(theirs))

        return self._forget("a visitor", remove)

    def forget_before(self, time: datetime) -> Forgotten:
        """Remove events that happened, and what was set aside, before a time; see `forget`."""
        if not self.holds_before(time):
            return Forgotten()
        given = _before(time)

        def remove(connection: Any, secret: bytes) -> Forgotten:
            events = connection.execute("DELETE FROM events WHERE time < :time", given)
            aside = connection.execute("DELETE FROM aside WHERE received < :received", given)
            if events.rowcount:
                aggregates.count_again(connection)
            return Forgotten(events.rowcount, aside.rowcount)

        return self._forget(f"before {time.astimezone(UTC).isoformat(timespec='seconds')}", remove)

    def holds_before(self, time: datetime) -> bool:
        """Whether `forget_before` has anything to do: rows of before a time, or the rest of a removal that could not be completed."""
        old = (
            "SELECT EXISTS (SELECT 1 FROM events WHERE time < :time)"
            " OR EXISTS (SELECT 1 FROM aside WHERE received < :received)"
        )
        with self.reading() as connection:
            if connection and connection.execute(old, _before(time)).fetchone()[0]:
                return True
        return not self._tables.is_compact()

    def forgettings(self) -> list[dict[str, Any]]:
        """When events were removed, the latest first: why (`a visitor`, or before when), and how many."""
        with self.reading() as connection:
            query = "SELECT at, why, events, aside FROM forgotten ORDER BY place DESC"
            rows = connection.execute(query).fetchall() if connection else []
        return [dict(zip(("at", "why", "events", "aside"), row, strict=True)) for row in rows]

    def _forget(self, why: str, remove: Callable[[Any, bytes], Forgotten]) -> Forgotten:
        with self.reading() as connection:
            if not connection:
                return Forgotten()
        with self._tables.forgetting() as connection:
            done = remove(connection, _secret(connection))
            if done != Forgotten():  # another process may have removed it meanwhile
                connection.execute(
                    "INSERT INTO forgotten (at, why, events, aside) VALUES (:at, :why, :events, :aside)",
                    {"at": self._now().isoformat(timespec="seconds"), "why": why, **asdict(done)},
                )
                compaction.owe(connection)
        # Even if nothing was removed: the command may be run again because this could not be done then.
        self._tables.compact_if_owed()
        return done


def _before(time: datetime) -> dict[str, Any]:
    received = time.astimezone(UTC).isoformat(timespec="microseconds")
    return {"time": microseconds(time), "received": received}


def _logged(row: Any) -> Logged:
    *event, place, received, unknown, skewed = row
    return Logged(
        event=Event(**dict(zip(NAMES, event, strict=True))),
        place=place,
        received=datetime.fromisoformat(received),
        unknown=bool(unknown),
        skewed=bool(skewed),
    )


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


_COLUMNS = (*NAMES, "received", "unknown", "skewed", "digest", "time")
_INSERT = (
    f"INSERT INTO events ({', '.join(_COLUMNS)})"
    f" VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)


def _digests(connection: Any, keys: list[str]) -> dict[str, str]:
    """Of the keys that the log has, the digests."""
    found: dict[str, str] = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):
        given = {f"k{i}": key for i, key in enumerate(keys[start : start + KEYS_AT_ONCE])}
        names = ", ".join(f":{name}" for name in given)
        query = f"SELECT key, digest FROM events WHERE key IN ({names})"
        found.update(tuple(row) for row in connection.execute(query, given).fetchall())
    return found


def _row(
    event: Event, digest: str, received: datetime, unknown: bool, history: bool
) -> dict[str, Any]:
    """An event as the log holds it. The digest is of what was sent, so that a replay without a time is the same event."""
    at = moment(event.at) if event.at else received
    skewed = is_skewed(at, received, history=history)
    came = received.isoformat(timespec="microseconds")
    return {
        **vars(event),
        "at": event.at or came,
        "received": came,
        "unknown": int(unknown),
        "skewed": int(skewed),
        "digest": digest,
        "time": microseconds(received if skewed else at),
    }


def _put_aside(
    connection: Any,
    secret: bytes,
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
        subject = ""
        if isinstance(event, Mapping):
            subject = _pseudonym(secret, str(event.get("subject") or ""))
            event = {name: value for name, value in event.items() if name != "subject"}
        text = json.dumps(event, default=str, sort_keys=True)[:KEPT_ASIDE]
        # An import that was killed is run again, from its first row.
        known = "SELECT 1 FROM aside WHERE told = :told AND reason = :reason"
        kept = {"told": text, "reason": one.reason, "subject": subject}
        kept["received"] = received.isoformat(timespec="microseconds")
        if history and connection.execute(known, kept).fetchone():
            continue
        connection.execute(
            "INSERT INTO aside (received, told, reason, subject)"
            " VALUES (:received, :told, :reason, :subject)",
            kept,
        )


def _upgrade(connection: sqlite3.Connection, schema: Sequence[str]) -> None:
    """Format 1 had no times in one zone, and counted nothing as it came."""
    connection.create_function("time_of", 3, _time_of)
    for statement in (
        "ALTER TABLE secret RENAME TO old_secret",
        "ALTER TABLE events RENAME TO old_events",
        "ALTER TABLE aside RENAME TO old_aside",
        "DROP INDEX IF EXISTS aside_by_told",
        *schema,
        "INSERT INTO secret SELECT value FROM old_secret",
        f"INSERT INTO events ({', '.join(_COLUMNS)}, place) SELECT {', '.join(_COLUMNS[:-1])},"
        " time_of(at, received, skewed), place FROM old_events",
        "INSERT INTO aside SELECT place, received, told, reason, '' FROM old_aside",
        "DROP TABLE old_secret",
        "DROP TABLE old_events",
        "DROP TABLE old_aside",
    ):
        connection.execute(statement)
    aggregates.count_events(connection, 0)


def _time_of(at: str, received: str, skewed: int) -> int:
    return microseconds(datetime.fromisoformat(received) if skewed else moment(at))


def _secret(connection: Any) -> bytes:
    found = connection.execute("SELECT value FROM secret").fetchone()
    if found is None:
        found = (secrets.token_bytes(32),)
        connection.execute("INSERT INTO secret VALUES (:value)", {"value": found[0]})
    return bytes(found[0])


def _pseudonym(secret: bytes, subject: str) -> str:
    return (
        hmac.digest(secret, subject.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]
        if subject
        else ""
    )
