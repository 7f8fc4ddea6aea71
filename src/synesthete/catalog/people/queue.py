"""The review queue: cases that the machine would not decide, with its reasons, and what people made of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from synesthete.catalog.people.acts import MACHINE, Act, Trail
from synesthete.errors import SynestheteError, near

Verdict = Literal["accept", "override", "dismiss"]
VERDICTS: tuple[Verdict, ...] = ("accept", "override", "dismiss")
LONGEST_LABEL = 200
LONGEST_NOTE = 2000


@dataclass
class Case:
    """One case and what people said of it.

    Attributes
    ----------
    ticket
        What the queue calls it.
    kind
        What sort of decision it is: `suggest`, `classify`, `align`.
    payload
        What the machine saw and would have said.
    reason
        Why it asks.
    confidence
        Of the machine, 0 to 1.
    at, asked
        When it was first asked, and how often since.
    verdicts
        Person → (verdict, label), the last of each.
    notes
        In order.
    """

    ticket: str
    kind: str
    payload: dict[str, Any]
    reason: str
    confidence: float
    at: str
    asked: int = 1
    verdicts: dict[str, tuple[Verdict, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def disputed(self) -> bool:
        """Whether people say different things."""
        return len(set(self.verdicts.values())) > 1

    @property
    def open(self) -> bool:
        """Whether it waits: nobody decided, or people disagree and no verdict has the majority."""
        counts = Counter(self.verdicts.values()).most_common(2)
        return not counts or (len(counts) == 2 and counts[0][1] == counts[1][1])

    def verdict(self) -> tuple[Verdict, str] | None:
        """What most people said; None while it waits."""
        return None if self.open else Counter(self.verdicts.values()).most_common(1)[0][0]

    def label(self) -> str | None:
        """What the answer is after review: the override, or what the machine proposed and a person accepted."""
        said = self.verdict()
        if said is None or said[0] == "dismiss":
            return None
        return said[1] if said[0] == "override" else self.proposal or None

    @property
    def proposal(self) -> str:
        """What the machine would have said: `proposal` of the payload."""
        found = self.payload.get("proposal", "")
        return found if isinstance(found, str) else ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        said = self.verdict()
        told = asdict(self)
        told["verdicts"] = {who: list(what) for who, what in self.verdicts.items()}
        return {
            **told, "open": self.open, "disputed": self.disputed, "verdict": said[0] if said else None,
            "label": self.label(),
        }  # fmt: skip


@dataclass(frozen=True)
class Label:
    """What people made of a case, as a label to learn from: of what (`reference`), what, and by whom."""

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
        """Put a case into the queue; the same case asked again is the same ticket.

        Parameters
        ----------
        payload
            JSON values. `reference` says what it is about, `proposal` what the machine would say, `choices` what else.

        Returns
        -------
        str
            The ticket.
        """
        try:
            told = json.dumps([kind, dict(payload)], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SynestheteError(f"the case cannot be written as JSON: {error}") from error
        ticket = hashlib.sha256(told.encode()).hexdigest()[:16]
        sure = float(confidence) if math.isfinite(confidence) else 0.0
        body = {"kind": kind, "payload": dict(payload), "reason": reason, "confidence": sure}
        if self.trail.add(MACHINE, "ask", ticket, body, unless=bool) is None:
            self.trail.add(MACHINE, "again", ticket, {})
        return ticket

    def decide(
        self, ticket: str, verdict: Verdict, *, actor: str, label: str = "", note: str = ""
    ) -> Case:
        """Say what a case is: accept the machine's proposal, override it with a label, or dismiss the case.

        Who decides again changes their mind; what was said before stays in the trail.

        Raises
        ------
        SynestheteError
            No such ticket or verdict; an override without label, a label without override; nothing to accept.
        """
        case = self.case(ticket)
        label, note = " ".join(label.split()), note.strip()
        if verdict not in VERDICTS:
            raise SynestheteError(f"no such verdict: {verdict!r}", hint=near(verdict, VERDICTS))
        if (verdict == "override") != bool(label):
            raise SynestheteError(
                "an override needs the right label"
                if verdict == "override"
                else f"{verdict} takes no label"
            )
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
        found = _cases(self.trail.read(ticket))
        if ticket not in found:
            raise SynestheteError(f"there is no case {ticket[:40]!r} in the queue")
        return found[ticket]

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
        """What people settled, as labels; cases without reference or that were dismissed give none."""
        made = []
        for case in self.cases(kind=kind, waiting=False):
            label, reference = case.label(), case.payload.get("reference")
            if label is not None and isinstance(reference, str) and reference:
                said = case.verdict()
                by = tuple(who for who, what in case.verdicts.items() if what == said)
                made.append(Label(case.ticket, case.kind, reference, label, by))
        return made


def _cases(acts: list[Act]) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for act in acts:
        if act.did == "ask":
            body = act.body
            found[act.ticket] = Case(
                act.ticket,
                body["kind"],
                body["payload"],
                body["reason"],
                body["confidence"],
                act.at,
            )
        case = found.get(act.ticket)
        if case is None:
            continue
        if act.did == "again":
            case.asked += 1
        elif act.did in VERDICTS:
            case.verdicts.pop(act.actor, None)
            case.verdicts[act.actor] = (act.did, act.body["label"])
            if act.body["note"]:
                case.notes.append(act.body["note"])
    return found
