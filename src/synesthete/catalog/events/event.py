"""Events: what a visitor did with an item, as a shop tells it, and which tellings are possible."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from synesthete.errors import SynestheteError, near

KINDS = ("impression", "click", "add", "conversion", "dismissal")
VARIANTS = ("", "A", "B")
LONGEST = 200
LONGEST_ITEM = 500
AHEAD, BEHIND = timedelta(minutes=5), timedelta(days=30)


@dataclass(frozen=True)
class Event:
    """One thing that happened once.

    Attributes
    ----------
    key
        The idempotency key: the same event told twice has the same, and counts once.
    kind
        One of `KINDS`.
    item
        Id of the item.
    at
        When, by the teller's clock: ISO 8601 with zone; empty for "now".
    subject
        Who, under a name of the shop's own that says nothing of the person. Only a keyed hash is kept.
    list
        Id of the list in which the item was shown; joins clicks to impressions.
    position
        Place in that list, from 1; 0 where there is none.
    experiment, variant
        Name of an experiment, and `A` or `B`, what the visitor is shown in it.
    team
        In an interleaved list, the ranker that put the item there.
    value
        Of a conversion, in the shop's own currency.
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
        """What tells a replay from another event with the same key."""
        told = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


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
        raise SynestheteError(f"an event has no {unknown[0]!r}", hint=near(unknown[0], NAMES))
    given: dict[str, Any] = {
        name: value for name, value in row.items() if value is not None and value != ""
    }
    for name, make in (("position", int), ("value", float)):
        if name in given:
            if isinstance(given[name], bool):
                raise SynestheteError(f"the {name} {given[name]!r} is no number")
            try:
                made = make(given[name])
            except (TypeError, ValueError, OverflowError):
                raise SynestheteError(
                    f"the {name} {str(given[name])[:40]!r} is no number"
                ) from None
            if name == "position" and float(given[name]) != made:
                raise SynestheteError(f"the position {given[name]!r} is no whole number")
            given[name] = made
    for name, value in given.items():
        if name not in ("position", "value") and not isinstance(value, str):
            raise SynestheteError(f"the {name} of an event is a text, not {type(value).__name__}")
    missing = [name for name in ("key", "kind", "item") if name not in given]
    if missing:
        raise SynestheteError(f"an event needs a {missing[0]}")
    event = Event(**given)
    check(event)
    return event


def check(event: Event) -> None:
    """Refuse an event that could not have happened.

    Raises
    ------
    SynestheteError
        Unknown kind or variant, a text that is too long or holds control characters, a time that is none or has no
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
        f"{text[:40]!r} is no time with a zone", hint="write 2026-01-31T12:00:00Z"
    )


def is_skewed(at: datetime, received: datetime, *, history: bool = False) -> bool:
    """Whether the teller's clock cannot be right: ahead by five minutes, or (unless it tells history) behind by thirty days."""
    return at > received + AHEAD or (at < received - BEHIND and not history)
