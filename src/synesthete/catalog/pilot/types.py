"""What a pilot is made of, and what it ends in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from synesthete.catalog.metrics import Experiment, Lift, Need
from synesthete.errors import SynestheteError

Decision = Literal["take B", "keep A", "more data", "no data"]


@dataclass(frozen=True)
class Variant:
    """One way to do it.

    Attributes
    ----------
    name
        What people call it.
    uses
        What a search uses of a query: `text`, `picture` or `both`.
    where
        Filters of the search.
    """

    name: str
    uses: Literal["text", "picture", "both"] = "both"
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offline:
    """Both variants on the same queries with known answers.

    Attributes
    ----------
    k
        Places that count.
    ndcg, recall
        Query by query, B against A; the verdict is that of NDCG.
    queries, skipped
        How many were answered by both, and how many could not be by one of them.
    """

    k: int
    ndcg: Lift
    recall: Lift
    queries: int
    skipped: int


@dataclass(frozen=True)
class Pilot:
    """A pilot and what is to be done.

    Attributes
    ----------
    a, b
        The variants.
    question
        What was asked, in words.
    least_worth
        The smallest relative change that would matter.
    offline, live
        What was found; None where the folder has nothing for it.
    decision
        `take B`, `keep A`, `more data`, or `no data`.
    because
        Why, sentence by sentence.
    needs
        What more data would settle: how many pairs, for several true effects.
    cautions
        What should make one doubt.
    """

    a: Variant
    b: Variant
    question: str
    least_worth: float
    offline: Offline | None
    live: Experiment | None
    decision: Decision
    because: tuple[str, ...]
    needs: tuple[Need, ...]
    cautions: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def variant_of(text: str) -> Variant:
    """A variant as the command line takes it: `NAME=text|picture|both`, and filters after commas.

    Examples
    --------
    >>> variant_of("words only=text")
    Variant(name='words only', uses='text', where=())
    >>> variant_of("cheap=both,price<5").where
    ('price<5',)
    """
    name, equals, rest = text.partition("=")
    uses, *where = rest.split(",") if equals else ["both"]
    if uses not in ("text", "picture", "both") or not name.strip():
        raise SynestheteError(
            f"{text!r} is no variant",
            hint="write NAME=text, NAME=picture or NAME=both, then filters: NAME=both,price<5",
        )
    return Variant(name.strip(), uses, tuple(one for one in where if one))  # type: ignore[arg-type]


def summary_line(pilot: Pilot) -> str:
    """The decision in one line."""
    told = {
        "take B": f"Take {pilot.b.name}.",
        "keep A": f"Keep {pilot.a.name}.",
        "more data": "It is not decided: more data is needed.",
        "no data": "There is nothing to decide on yet.",
    }
    return told[pilot.decision]
