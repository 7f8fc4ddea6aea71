"""What the API answers with, besides what the catalogue itself gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from synesthete.catalog.classify import Classification
from synesthete.catalog.schema import Alignment, Hit


@dataclass(frozen=True)
class Health:
    """That it works, and what it is: the catalogue's name, how many items, by which model."""

    ok: bool
    name: str
    items: int
    model: str
    version: str


@dataclass(frozen=True)
class ItemFacts:
    """An item as it was given; `images` says where they came from."""

    id: str
    title: str
    description: str
    category: str
    reviews: list[str]
    price: float | None
    attributes: dict[str, list[str]]
    images: list[str]


@dataclass(frozen=True)
class ItemPage:
    """Items by id; `next` asks for those that follow, null at the end."""

    items: list[ItemFacts]
    next: str | None
    total: int


@dataclass(frozen=True)
class Hits:
    """Items, the best first."""

    hits: list[Hit]


@dataclass(frozen=True)
class Alignments:
    """Pairs of copy and picture, the best match first; pictures are called `picture 1`, `picture 2`, …."""

    pairs: list[Alignment]


@dataclass(frozen=True)
class Judgements:
    """Records judged, in the order in which they came."""

    records: list[Classification]


@dataclass(frozen=True)
class EventFacts:
    """An event of the log; `subject` is a keyed hash."""

    place: int
    key: str
    kind: str
    item: str
    at: str
    received: str
    subject: str
    list: str
    position: int
    experiment: str
    variant: str
    team: str
    value: float
    unknown: bool
    skewed: bool


@dataclass(frozen=True)
class EventPage:
    """Events in the order in which they came; `next` asks for those that follow, null at the end."""

    events: list[EventFacts]
    next: int | None


@dataclass(frozen=True)
class Experiments:
    """Names of experiments."""

    experiments: list[str]


@dataclass(frozen=True)
class Assigned:
    """Which variant a visitor sees."""

    experiment: str
    variant: str


@dataclass(frozen=True)
class CaseFacts:
    """A case of the queue."""

    ticket: str
    kind: str
    payload: dict[str, Any]
    reason: str
    confidence: float
    at: str
    asked: int
    verdicts: dict[str, list[str]]
    notes: list[str]
    open: bool
    disputed: bool
    verdict: str | None
    label: str | None


@dataclass(frozen=True)
class CasePage:
    """Cases, those that wait first; `next` asks for those that follow, null at the end."""

    cases: list[CaseFacts]
    next: int | None
    waiting: int


@dataclass(frozen=True)
class TrailPage:
    """Acts in order; `next` asks for those that follow, null at the end."""

    acts: list[dict[str, Any]]
    next: int | None


@dataclass(frozen=True)
class PolicyFacts:
    """What holds for a kind of decision, and who set it."""

    kind: str
    threshold: float
    audit: float
    set_by: str


@dataclass(frozen=True)
class Quarantine:
    """What could not be used, with the reasons."""

    quarantine: list[dict[str, Any]]
