"""Human review of a catalogue: cases that the machine abstains from, people's verdicts on them, the trail of both, thresholds."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from synesthete._core.json_reader import parse_json
from synesthete._core.sqlite import AppendOnly
from synesthete.errors import SynestheteError, near
from synesthete.reviews.verdicts import MACHINE, Reviewed

FILE = "people.sqlite"
LONGEST_BODY = 100_000
LONGEST_LABEL = 200
LONGEST_NOTE = 2000
DEFAULT_THRESHOLD = 0.6
Did = Literal["ask", "again", "accept", "override", "dismiss", "note", "policy"]
Verdict = Literal["accept", "override", "dismiss"]
VERDICTS: tuple[Verdict, ...] = ("accept", "override", "dismiss")
Action = Literal["answer", "audit", "ask"]
_SCHEMA = (
    "CREATE TABLE acts (place INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, actor TEXT NOT NULL,"
    " did TEXT NOT NULL, ticket TEXT NOT NULL, body TEXT NOT NULL, chain TEXT NOT NULL)",
    "CREATE INDEX acts_by_ticket ON acts (ticket, place)",
)


@dataclass(frozen=True, kw_only=True)
class Act:
    """One entry of the trail.

    Attributes
    ----------
    place
        Its number, from 1.
    at
        UTC, ISO 8601 with microseconds.
    actor
        Who did it; `machine` for the program.
    did
        `ask` (the machine abstains), `again` (it abstains from the same case again), `accept`, `override`, `dismiss`,
        `note` (people), `policy` (a threshold is set).
    ticket
        Of the case; `policy KIND` of a policy.
    body
        Its details, JSON values.
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
    """The acts of a catalogue, append-only.

    Parameters
    ----------
    folder
        The catalogue's.
    now
        The clock.
    """

    def __init__(self, folder: str | Path, *, now: Callable[[], datetime] | None = None) -> None:
        self._file = AppendOnly(Path(folder) / FILE, _SCHEMA, tables=("acts",))
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
            Called within the transaction with the acts of the ticket so far; where it is true nothing is added.

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
                place=int(cursor.lastrowid or 0),
                at=at,
                actor=actor,
                did=did,
                ticket=ticket,
                body=parse_json(text, "the case"),
                chain=chain,
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
    return hashlib.sha256(json.dumps([before, *parts]).encode()).hexdigest()


def _acts(connection: sqlite3.Connection, ticket: str | None) -> list[Act]:
    where, given = ("", ()) if ticket is None else (" WHERE ticket = ?", (ticket,))
    query = f"SELECT place, at, actor, did, ticket, body, chain FROM acts{where} ORDER BY place"
    return [
        Act(
            place=place,
            at=at,
            actor=actor,
            did=did,
            ticket=of,
            body=parse_json(body, f"act {place}"),
            chain=chain,
        )
        for place, at, actor, did, of, body, chain in connection.execute(query, given)
    ]


@dataclass(frozen=True)
class Policy:
    """The threshold and audit rate of one kind of decision.

    Attributes
    ----------
    threshold
        Below this confidence the machine abstains, 0 to 1.
    audit
        Share of the answers above it that a person sees as well, 0 to 1.
    set_by
        Who set it; `machine` for the default.
    """

    threshold: float = DEFAULT_THRESHOLD
    audit: float = 0.0
    set_by: str = MACHINE

    def what(self, confidence: float, reference: str) -> Action:
        """What to do with a decision: answer, answer and have it audited, or ask people.

        Parameters
        ----------
        confidence
            0 to 1; with NaN people are asked.
        reference
            What the decision is about; it determines whether the decision is audited.

        Examples
        --------
        >>> policy = Policy(0.8, audit=0.1)
        >>> policy.what(0.5, "a"), policy.what(float("nan"), "a"), Policy(0.8).what(0.8, "a")
        ('ask', 'ask', 'answer')
        """
        if not confidence >= self.threshold:
            return "ask"
        lot = int.from_bytes(hashlib.sha256(f"audit {reference}".encode()).digest()[:8], "big")
        return "audit" if lot < self.audit * 2**64 else "answer"


def policy_of(trail: Trail, kind: str) -> Policy:
    """The policy for a kind of decision (`suggest`, `classify`, `align`): the one set last."""
    found = [act for act in trail.read(f"policy {kind}") if act.did == "policy"]
    if not found:
        return Policy()
    last = found[-1]
    return Policy(float(last.body["threshold"]), float(last.body["audit"]), last.actor)


def set_policy(
    trail: Trail, kind: str, *, threshold: float, audit: float = 0.0, actor: str
) -> Policy:
    """Set the policy for a kind of decision; the earlier ones stay in the trail.

    Raises
    ------
    SynestheteError
        Values outside 0 to 1.
    """
    for name, value in (("threshold", threshold), ("audit", audit)):
        if not 0 <= value <= 1:
            raise SynestheteError(f"the {name} is {value}; it must be within 0 to 1")
    trail.add(actor, "policy", f"policy {kind}", {"threshold": threshold, "audit": audit})
    return policy_of(trail, kind)


@dataclass(kw_only=True)
class Case(Reviewed):
    """One case and people's verdicts on it.

    Attributes
    ----------
    ticket
        Its name in the queue.
    kind
        Of decision: `suggest`, `classify`, `align`.
    payload
        What the machine saw, and its answer.
    reason
        Why it abstained.
    confidence
        Of the machine, 0 to 1.
    at, count
        When it came first, and how many times since.
    """

    ticket: str
    kind: str
    payload: dict[str, Any]
    reason: str
    confidence: float
    at: str
    count: int = 1

    @property
    def open(self) -> bool:
        """Whether it waits: nobody decided, or people disagree and no verdict has the majority."""
        return len(self.leading()) != 1

    def verdict(self) -> tuple[Verdict, str] | None:
        """The verdict of most people, with the label of an override; None while it waits."""
        return None if self.open else cast("tuple[Verdict, str]", self.leading()[0])

    def label(self) -> str | None:
        """The label after review: the override, or what the machine proposed and people accepted."""
        kind, label = self.verdict() or ("dismiss", "")
        return {"override": label, "accept": self.proposal or None}.get(kind)

    @property
    def proposal(self) -> str:
        """The machine's answer: `proposal` of the payload."""
        proposal = self.payload.get("proposal", "")
        return proposal if isinstance(proposal, str) else ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        verdict, _ = self.verdict() or (None, "")
        return {
            **asdict(self),
            "verdicts": {rater: list(verdict) for rater, verdict in self.verdicts.items()},
            "open": self.open,
            "disputed": self.disputed,
            "verdict": verdict,
            "label": self.label(),
        }


@dataclass(frozen=True, kw_only=True)
class Label:
    """The label of a settled case, to learn from: of what (`reference`), and by whom."""

    ticket: str
    kind: str
    reference: str
    label: str
    by: tuple[str, ...]


class Queue:
    """The review queue of a catalogue.

    Parameters
    ----------
    folder
        The catalogue's, or any folder.
    now
        The clock.

    Examples
    --------
    >>> import tempfile
    >>> queue = Queue(tempfile.mkdtemp())
    >>> ticket = queue.add("classify", {"reference": "r1", "proposal": "pear"}, reason="unsure", confidence=0.4)
    >>> queue.decide(ticket, "override", actor="ann", label="apple").label()
    'apple'
    >>> [(label.reference, label.label) for label in queue.labels("classify")]
    [('r1', 'apple')]
    """

    def __init__(self, folder: str | Path, *, now: Callable[[], datetime] | None = None) -> None:
        self.trail = Trail(folder, now=now)

    def add(self, kind: str, payload: Mapping[str, Any], *, reason: str, confidence: float) -> str:
        """Put a case into the queue; the same case has the same ticket.

        Parameters
        ----------
        payload
            JSON values: `reference` (what it is about), `proposal` (the machine's answer), `choices` (the others).

        Returns
        -------
        str
            The ticket.
        """
        try:
            text = json.dumps([kind, dict(payload)], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SynestheteError(f"the case cannot be written as JSON: {error}") from error
        ticket = hashlib.sha256(text.encode()).hexdigest()[:16]
        sure = float(confidence) if math.isfinite(confidence) else 0.0
        body = {"kind": kind, "payload": dict(payload), "reason": reason, "confidence": sure}
        if self.trail.add(MACHINE, "ask", ticket, body, unless=bool) is None:
            self.trail.add(MACHINE, "again", ticket, {})
        return ticket

    def decide(
        self, ticket: str, verdict: Verdict, *, actor: str, label: str = "", note: str = ""
    ) -> Case:
        """Decide a case: accept the machine's proposal, override it with a label, or dismiss the case.

        The last verdict of each person counts; earlier ones stay in the trail.

        Raises
        ------
        SynestheteError
            No such ticket or verdict; an override without label, a label without override; nothing to accept.
        """
        case = self.case(ticket)
        label, note = " ".join(label.split()), note.strip()
        if verdict not in VERDICTS:
            raise SynestheteError(f"no such verdict: {verdict!r}", hint=near(verdict, VERDICTS))
        if verdict == "override" and not label:
            raise SynestheteError("an override needs the right label")
        if label and verdict != "override":
            raise SynestheteError(f"{verdict} takes no label")
        if verdict == "accept" and not case.proposal:
            raise SynestheteError("the machine proposed nothing to accept", hint="override it")
        if len(label) > LONGEST_LABEL or not label.isprintable() or len(note) > LONGEST_NOTE:
            raise SynestheteError(
                f"a label has at most {LONGEST_LABEL} printable characters, a note {LONGEST_NOTE:,}"
            )
        if actor.strip() == MACHINE:
            raise SynestheteError("a machine does not decide what it asked people")
        self.trail.add(actor, verdict, ticket, {"label": label, "note": note})
        return self.case(ticket)

    def case(self, ticket: str) -> Case:
        """One case.

        Raises
        ------
        SynestheteError
            No such ticket.
        """
        cases = _cases(self.trail.read(ticket))
        if ticket not in cases:
            raise SynestheteError(f"there is no case {ticket[:40]!r} in the queue")
        return cases[ticket]

    def cases(self, *, kind: str | None = None, waiting: bool | None = None) -> list[Case]:
        """Cases; those that wait first, the least sure of them first, then the latest.

        Parameters
        ----------
        kind
            Only those of one kind.
        waiting
            Only those that wait, or only those that do not.
        """
        found = [
            case
            for case in _cases(self.trail.read()).values()
            if (kind is None or case.kind == kind) and (waiting is None or case.open == waiting)
        ]
        found.sort(key=lambda case: (not case.open, not case.disputed, case.confidence, case.at))
        return found

    def labels(self, kind: str | None = None) -> list[Label]:
        """Labels of the settled cases; those without reference and dismissed ones have none."""
        labels = []
        for case in self.cases(kind=kind, waiting=False):
            label, reference = case.label(), case.payload.get("reference")
            if label is not None and isinstance(reference, str) and reference:
                by = tuple(
                    who for who, verdict in case.verdicts.items() if verdict == case.verdict()
                )
                labels.append(
                    Label(
                        ticket=case.ticket, kind=case.kind, reference=reference, label=label, by=by
                    )
                )
        return labels


def _case(act: Act) -> Case:
    return Case(
        ticket=act.ticket,
        kind=act.body["kind"],
        payload=act.body["payload"],
        reason=act.body["reason"],
        confidence=act.body["confidence"],
        at=act.at,
    )


def _cases(acts: list[Act]) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for act in acts:
        if act.did == "ask":
            cases[act.ticket] = _case(act)
        case = cases.get(act.ticket)
        if case is None:
            continue
        if act.did == "again":
            case.count += 1
        elif act.did in VERDICTS:
            case.record(act.actor, act.did, act.body["label"])
            if act.body["note"]:
                case.notes.append(act.body["note"])
    return cases
