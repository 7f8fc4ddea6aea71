"""Verdicts on a subject, a neuron or a case of a catalogue: the last of each rater counts, and the majority stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MACHINE = "machine"  # signs what the program itself asks


@dataclass(kw_only=True)
class Reviewed:
    """A subject and what raters say of it.

    Attributes
    ----------
    verdicts
        Rater → the last verdict: (kind, name), in the order in which they were given; the name is empty where the kind
        has none.
    notes
        In order.

    Examples
    --------
    >>> pear = Reviewed()
    >>> for rater, name in (("ann", "apple"), ("bob", "fig"), ("ann", "fig")):
    ...     pear.record(rater, "rename", name)
    >>> pear.leading(), pear.disputed
    ([('rename', 'fig')], False)
    """

    verdicts: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def record(self, rater: str, kind: str, name: str = "") -> None:
        """Replace a rater's verdict."""
        self.verdicts.pop(rater, None)
        self.verdicts[rater] = (kind, name)

    @property
    def disputed(self) -> bool:
        """Whether raters disagree."""
        return len(set(self.verdicts.values())) > 1

    def leading(self) -> list[tuple[str, str]]:
        """The verdicts that most raters gave, the one given last at the end: none, one, or several in a tie."""
        counts = Counter(reversed(self.verdicts.values()))
        most = max(counts.values(), default=0)
        return [verdict for verdict, count in counts.items() if count == most][::-1]
