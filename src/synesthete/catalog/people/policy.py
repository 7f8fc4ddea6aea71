"""Policy: how sure the machine must be to answer by itself, and how many of its answers people look at all the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from synesthete.catalog.people.acts import MACHINE, Trail
from synesthete.errors import SynestheteError

What = Literal["answer", "audit", "ask"]
DEFAULT_THRESHOLD = 0.6


@dataclass(frozen=True)
class Policy:
    """What holds for one kind of decision.

    Attributes
    ----------
    threshold
        Below this confidence the machine abstains, 0 to 1.
    audit
        Share of the answers above it that a person sees besides, 0 to 1.
    set_by
        Who set it; `machine` for what holds where nobody did.
    """

    threshold: float = DEFAULT_THRESHOLD
    audit: float = 0.0
    set_by: str = MACHINE

    def what(self, confidence: float, reference: str) -> What:
        """What is to be done with a decision: answer, answer and let a person look, or ask.

        Parameters
        ----------
        confidence
            0 to 1; what is no number asks.
        reference
            What the decision is about: the same one is audited or not, whenever it comes.

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
            raise SynestheteError(f"the {name} is {value}; it lies within 0 to 1")
    trail.add(actor, "policy", f"policy {kind}", {"threshold": threshold, "audit": audit})
    return policy_of(trail, kind)
