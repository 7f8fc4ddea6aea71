"""The trail: everything that machine and people did about cases, in order, chained so that a change shows."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from synesthete._core.json_reader import parse_json
from synesthete.catalog.events.database import Growing
from synesthete.errors import SynestheteError

FILE = "people.sqlite"
MACHINE = "machine"
LONGEST_BODY = 100_000
Did = Literal["ask", "again", "accept", "override", "dismiss", "note", "policy"]
_SCHEMA = (
    "CREATE TABLE acts (place INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, actor TEXT NOT NULL,"
    " did TEXT NOT NULL, ticket TEXT NOT NULL, body TEXT NOT NULL, chain TEXT NOT NULL)",
    "CREATE INDEX acts_by_ticket ON acts (ticket, place)",
)


@dataclass(frozen=True)
class Act:
    """One thing that was done once.

    Attributes
    ----------
    place
        Its number, from 1.
    at
        UTC, ISO 8601 with microseconds.
    actor
        Who; `machine` for the program.
    did
        `ask` (the machine asks), `again` (it would ask the same again), `accept`, `override`, `dismiss`, `note`
        (people), `policy` (a threshold is set).
    ticket
        Of the case, or the kind that a policy is for.
    body
        What belongs to it, as JSON.
    chain
        SHA-256 of this act and of the chain before it.
    """

    place: int
    at: str
    actor: str
    did: str
    ticket: str
    body: dict[str, Any]
    chain: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


class Trail:
    """The acts of a catalogue, only ever added.

    Parameters
    ----------
    folder
        The catalogue's.
    now
        The clock.
    """

    def __init__(self, folder: str | Path, *, now: Callable[[], datetime] | None = None) -> None:
        self._file = Growing(Path(folder) / FILE, _SCHEMA, ("acts",))
        self._now = now or (lambda: datetime.now(UTC))

    def add(
        self,
        actor: str,
        did: Did,
        ticket: str,
        body: Mapping[str, Any],
        *,
        unless: Callable[[list[Act]], bool] | None = None,
    ) -> Act | None:
        """Add an act.

        Parameters
        ----------
        unless
            Asked, within the transaction, with the acts of the ticket so far: true adds nothing.

        Raises
        ------
        SynestheteError
            No actor, control characters, or a body of more than 100,000 characters.
        """
        actor = " ".join(actor.split())
        if not actor or len(actor) > 100 or not actor.isprintable():
            raise SynestheteError("an act needs who did it, in at most 100 printable characters")
        text = json.dumps(dict(body), sort_keys=True, allow_nan=False)
        if len(text) > LONGEST_BODY:
            raise SynestheteError(
                f"the case has {len(text):,} characters; at most {LONGEST_BODY:,}"
            )
        at = self._now().isoformat(timespec="microseconds")
        with self._file.writing() as connection:
            if unless is not None and unless(_acts(connection, ticket)):
                return None
            last = connection.execute(
                "SELECT chain FROM acts ORDER BY place DESC LIMIT 1"
            ).fetchone()
            chain = link(last[0] if last else "", at, actor, did, ticket, text)
            cursor = connection.execute(
                "INSERT INTO acts (at, actor, did, ticket, body, chain) VALUES (?, ?, ?, ?, ?, ?)",
                (at, actor, did, ticket, text, chain),
            )
            return Act(
                int(cursor.lastrowid or 0),
                at,
                actor,
                did,
                ticket,
                parse_json(text, "the case"),
                chain,
            )

    def read(self, ticket: str | None = None) -> list[Act]:
        """All acts, or those of one ticket, in order."""
        with self._file.reading() as connection:
            return _acts(connection, ticket) if connection else []

    def verify(self) -> int:
        """Check the chain; returns how many acts it links.

        Raises
        ------
        SynestheteError
            When an act was changed, taken out or put in by other means than this program. Acts cut off at the end
            do not show; keep the last chain value elsewhere if that matters.
        """
        before = ""
        acts = self.read()
        for number, act in enumerate(acts, start=1):
            text = json.dumps(act.body, sort_keys=True)
            before = link(before, act.at, act.actor, act.did, act.ticket, text)
            if act.place != number or act.chain != before:
                raise SynestheteError(f"the trail was changed at act {number}")
        return len(acts)


def link(before: str, *parts: str) -> str:
    """The next value of the chain."""
    told = json.dumps([before, *parts])
    return hashlib.sha256(told.encode()).hexdigest()


def _acts(connection: sqlite3.Connection, ticket: str | None) -> list[Act]:
    where, given = ("", ()) if ticket is None else (" WHERE ticket = ?", (ticket,))
    query = f"SELECT place, at, actor, did, ticket, body, chain FROM acts{where} ORDER BY place"
    return [
        Act(place, at, actor, did, of, parse_json(body, f"act {place}"), chain)
        for place, at, actor, did, of, body, chain in connection.execute(query, given)
    ]
