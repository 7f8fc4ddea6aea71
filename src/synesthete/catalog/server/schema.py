"""Requests and responses of the REST API besides those of `catalog.requests`, checked before anything else looks at them."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from synesthete.catalog.events import KINDS, Event, Logged
from synesthete.catalog.fields import Id, Integer, Number, Share
from synesthete.catalog.metrics import METRICS
from synesthete.catalog.schema import Item, image_name
from synesthete.reviews.cases import Case, Policy

EventKind = Literal["impression", "click", "add", "conversion", "dismissal"]
MetricName = Literal["click", "add", "conversion", "dismissal", "value"]
assert set(EventKind.__args__) == set(KINDS)  # type: ignore[attr-defined]
assert set(MetricName.__args__) == set(METRICS)  # type: ignore[attr-defined]


class Body(BaseModel):
    """A request that changes something; unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid")


class Upsert(Body):
    """Items to add or change."""

    items: Annotated[list[Item], Field(min_length=1, max_length=500)]


class Delete(Body):
    """Items to take out."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


_TYPES = {
    str: str,
    int: Integer,
    float: Number,
}
# The fields are those of the log's own `Event`, so that what is sent and what is kept cannot differ.
NewEvent = create_model(
    "NewEvent",
    __base__=Body,
    __doc__="Something that a visitor did. See the documentation for what each field means.",
    **{  # type: ignore[call-overload]
        field.name: (
            _TYPES[get_type_hints(Event)[field.name]],
            Field(
                ... if field.default is MISSING else field.default,
                description=", ".join(KINDS) if field.name == "kind" else None,
            ),
        )
        for field in fields(Event)
    },
)


class Events(Body):
    """Events; invalid ones are set aside and reported, the others are added."""

    events: Annotated[list[NewEvent], Field(min_length=1, max_length=1000)]  # type: ignore[valid-type]

    def rows(self) -> list[dict[str, Any]]:
        """As the log takes them."""
        rows: list[dict[str, Any]] = self.model_dump()["events"]
        return rows


class Decision(Body):
    """A person's verdict on a case."""

    verdict: Literal["accept", "override", "dismiss"]
    label: Annotated[str, StringConstraints(max_length=200)] = ""
    note: Annotated[str, StringConstraints(max_length=2000)] = ""
    actor: Annotated[
        str,
        StringConstraints(max_length=60),
        Field(description="Who decides; shown with the key's name."),
    ] = ""


class NewPolicy(Body):
    """The confidence from which the machine answers by itself, and the share of its answers that people see as well."""

    threshold: Share
    audit: Share = 0.0


@dataclass(frozen=True, kw_only=True)
class Health:
    """That the server works: the catalogue's name, the number of its items, the name of its model."""

    ok: bool
    name: str
    items: int
    model: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ItemFacts:
    """An item as it was given; `images` says where they came from."""

    id: str
    title: str
    description: str
    category: str
    reviews: tuple[str, ...]
    price: float | None
    attributes: dict[str, tuple[str, ...]]
    images: tuple[str, ...]

    @classmethod
    def of(cls, item: Item) -> ItemFacts:
        """An item of the catalogue."""
        return cls(**vars(item) | {"images": tuple(map(image_name, item.images))})

    def item(self) -> Item:
        """As a catalogue gives it."""
        return Item(**vars(self) | {"images": tuple(map(Path, self.images))})


@dataclass(frozen=True)
class ItemPage:
    """Items in the order of `sort`; `next` is the `after` of the next page, null at the end."""

    items: list[ItemFacts]
    next: str | None
    total: int


@dataclass(frozen=True, kw_only=True)
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

    @classmethod
    def of(cls, logged: Logged) -> EventFacts:
        """An event of the log."""
        return cls(
            **vars(logged.event),
            place=logged.place,
            received=logged.received.isoformat(),
            unknown=logged.unknown,
            skewed=logged.skewed,
        )


@dataclass(frozen=True)
class EventPage:
    """Events in the order in which they came; `next` is the `after` of the next page, null at the end."""

    events: list[EventFacts]
    next: int | None


@dataclass(frozen=True)
class Experiments:
    """Names of experiments."""

    experiments: list[str]


@dataclass(frozen=True)
class Assignment:
    """Which variant a visitor sees."""

    experiment: str
    variant: str


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """A case of the queue."""

    ticket: str
    kind: str
    payload: dict[str, Any]
    reason: str
    confidence: float
    at: str
    count: int
    verdicts: dict[str, list[str]]
    notes: list[str]
    open: bool
    disputed: bool
    verdict: str | None
    label: str | None

    @classmethod
    def of(cls, case: Case) -> CaseFacts:
        """A case of the queue."""
        return cls(**case.as_dict())


@dataclass(frozen=True)
class CasePage:
    """Cases, those that wait first; `next` is the `after` of the next page, null at the end."""

    cases: list[CaseFacts]
    next: int | None
    waiting: int


@dataclass(frozen=True)
class TrailPage:
    """Acts in order; `next` is the `after` of the next page, null at the end."""

    acts: list[dict[str, Any]]
    next: int | None


@dataclass(frozen=True)
class PolicyFacts:
    """What holds for a kind of decision, and who set it."""

    kind: str
    threshold: float
    audit: float
    set_by: str

    @classmethod
    def of(cls, kind: str, policy: Policy) -> PolicyFacts:
        """The policy of a kind of decision."""
        return cls(kind=kind, **vars(policy))


@dataclass(frozen=True)
class Quarantine:
    """What could not be used, with the reasons."""

    quarantine: list[dict[str, Any]]
