"""People in the loop: thresholds below which the machine abstains, a queue with its reasons, and a trail that only grows."""

from synesthete.catalog.people.acts import Act, Trail
from synesthete.catalog.people.policy import Policy, policy_of, set_policy
from synesthete.catalog.people.queue import VERDICTS, Case, Label, Queue, Verdict

__all__ = [
    "VERDICTS",
    "Act",
    "Case",
    "Label",
    "Policy",
    "Queue",
    "Trail",
    "Verdict",
    "policy_of",
    "set_policy",
]
