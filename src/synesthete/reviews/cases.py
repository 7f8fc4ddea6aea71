"""Cases: what a machine abstains from and people decide, their verdicts and what these mean, thresholds and audits."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from synesthete._core.json_reader import parse_json
from synesthete.errors import SynestheteError, near
from synesthete.reviews.acts import CASES, MACHINE, Act, Log
from synesthete.reviews.state import Reviewed, states

DEFAULT_THRESHOLD = 0.6
Verdict = Literal["accept", "override", "dismiss"]
Action = Literal["answer", "audit", "ask"]
FEW = 100  # cases that are read one by one
_OF_UNITS = ("flags", "requests", "times")  # what is not said of cases


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


def policy_of(trail: Log, kind: str) -> Policy:
    """The policy for a kind of decision (`suggest`, `classify`): the one set last."""
    acts = [act for act in trail.read(f"policy {kind}") if act.kind == "policy"]
    if not acts:
        return Policy()
    body = _body(acts[-1])
    return Policy(float(body["threshold"]), float(body["audit"]), acts[-1].rater)


def set_policy(
    trail: Log, kind: str, *, threshold: float, audit: float = 0.0, actor: str
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
    values = {"threshold": threshold, "audit": audit}
    trail.say("policy", f"policy {kind}", rater=actor, value=values)
    return policy_of(trail, kind)


@dataclass(kw_only=True)
class Case(Reviewed):
    """One case and people's verdicts on it.

    Attributes
    ----------
    ticket
        Its name in the queue.
    kind
        Of decision: `suggest`, `classify`.
    payload
        What the machine saw, and its answer.
    reason
        Why it abstained.
    confidence
        Of the machine, 0 to 1.
    at
        When it came first.
    """

    ticket: str
    kind: str
    payload: dict[str, Any]
    reason: str
    confidence: float
    at: str

    @property
    def count(self) -> int:
        """How many times it came."""
        return len(self.requests)

    @property
    def open(self) -> bool:
        """Whether it waits: nobody decided, or people disagree and no verdict has the majority."""
        return self.majority() is None

    def verdict(self) -> tuple[Verdict, str] | None:
        """The verdict of most people, with the label of an override; None while it waits."""
        return cast("tuple[Verdict, str] | None", self.majority())

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
        facts = {key: value for key, value in asdict(self).items() if key not in _OF_UNITS}
        return {
            **facts,
            "count": self.count,
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

    Raises
    ------
    SynestheteError
        When its log is of another format.

    Attributes
    ----------
    trail
        Everything that machine and people did, in a chain of hashes.

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

    def __init__(self, folder: str | Path) -> None:
        self.trail = Log(folder, CASES)
        self.trail.read("")  # a log of another format is refused here, and not at the first case
        self._lock = threading.Lock()
        self._known = _Known()

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
        did, value = ("again", {}) if self.trail.read(ticket) else ("ask", body)
        self.trail.say(did, ticket, rater=MACHINE, value=value)
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
        if verdict not in CASES.verdicts:
            raise SynestheteError(
                f"no such verdict: {verdict!r}", hint=near(verdict, CASES.verdicts)
            )
        if verdict == "accept" and not case.proposal:
            raise SynestheteError("the machine proposed nothing to accept", hint="override it")
        body = {"label": " ".join(label.split()), "note": "\n".join(note.strip().splitlines())}
        self.trail.say(verdict, ticket, rater=actor, value=body)
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
        return [
            case
            for case, is_open in self._states().ordered
            if (kind is None or case.kind == kind) and (waiting is None or is_open == waiting)
        ]

    def waiting(self) -> int:
        """How many cases wait."""
        return self._states().waiting

    def _states(self) -> _Known:
        """All cases; of a log that goes on, what its new acts are about is read again."""
        with self._lock:
            last, known = self.trail.last(), self._known
            if last == known.last:
                return known
            new = [act for _, _, act in self.trail.entries(after=known.last[0])]
            tickets = {act.address for act in new}
            goes_on = known.last[0] and self.trail.chain(known.last[0]) == known.last[1]
            if goes_on and len(tickets) <= FEW and all(act.kind != "forget" for act in new):
                by_ticket = dict(known.by_ticket)
                for ticket in tickets:
                    by_ticket |= _cases(self.trail.read(ticket))
            else:  # another log, or much to read, or acts are gone
                by_ticket = _cases(self.trail.read())
            self._known = _Known.of(last, by_ticket)
            return self._known

    def forget(self, visitor: str) -> int:
        """Remove the cases whose payload has a visitor's name as a value, and what was decided of them; returns how many cases."""
        theirs = [case.ticket for case in self.cases() if _names(case.payload, visitor)]
        self.trail.forget(theirs)
        return len(theirs)

    def labels(self, kind: str | None = None) -> list[Label]:
        """Labels of the settled cases; those without reference and dismissed ones have none."""
        labels = []
        for case in self.cases(kind=kind, waiting=False):
            label, reference = case.label(), case.payload.get("reference")
            if label is not None and isinstance(reference, str) and reference:
                by = tuple(who for who, given in case.verdicts.items() if given == case.verdict())
                labels.append(
                    Label(
                        ticket=case.ticket, kind=case.kind, reference=reference, label=label, by=by
                    )
                )
        return labels


@dataclass(frozen=True)
class _Known:
    """The cases after the last act that was read: as `Queue.cases` sorts them, with whether they wait."""

    last: tuple[int, str] = (0, "")
    by_ticket: Mapping[str, Case] = field(default_factory=dict)
    ordered: Sequence[tuple[Case, bool]] = ()
    waiting: int = 0

    @classmethod
    def of(cls, last: tuple[int, str], by_ticket: Mapping[str, Case]) -> _Known:
        """The cases, sorted."""
        found = [(case, case.open) for case in by_ticket.values()]
        found.sort(key=lambda one: (not one[1], not one[0].disputed, one[0].confidence, one[0].at))
        return cls(last, by_ticket, found, sum(is_open for _, is_open in found))


def trail_row(place: int, chain: str, act: Act) -> dict[str, Any]:
    """An entry of the trail, as JSON writes it."""
    who = {"place": place, "at": act.at, "actor": act.rater, "did": act.kind}
    return {**who, "ticket": act.address, "body": _body(act), "chain": chain}


def _names(value: Any, text: str) -> bool:
    """Whether a text is somewhere among JSON values."""
    if isinstance(value, dict):
        return any(_names(one, text) for one in value.values())
    return any(_names(one, text) for one in value) if isinstance(value, list) else value == text


def _body(act: Act) -> dict[str, Any]:
    return dict(parse_json(act.value, f"the {act.kind} of {act.address}"))


def _cases(acts: Iterable[Act]) -> dict[str, Case]:
    # Its first question begins a case, whatever the clocks of those who answered it said.
    return states(sorted(acts, key=lambda act: act.kind != "ask"), CASES, _begin)


def _begin(act: Act) -> Case | None:
    if act.kind != "ask":
        return None
    return Case(ticket=act.address, at=act.at, **_body(act))
