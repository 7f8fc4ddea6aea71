"""Requests and responses of the REST API: bodies are checked before anything else looks at them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    create_model,
)

from synesthete.catalog.classify import Classification
from synesthete.catalog.events import KINDS, Event, Logged
from synesthete.catalog.metrics import METRICS
from synesthete.catalog.people import Case, Policy
from synesthete.catalog.schema import Alignment, Hit, Item, Signal
from synesthete.server.errors import Refused

IMAGE_LIMIT = 8 * 2**20
Text = Annotated[str, StringConstraints(max_length=20_000)]
Value = Annotated[str, StringConstraints(max_length=2000)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _check_base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is not base64") from None
    return text


# Base64 takes four characters for three bytes.
Base64 = Annotated[
    str,
    StringConstraints(max_length=-(-IMAGE_LIMIT // 3) * 4),
    AfterValidator(_check_base64),
    Field(
        description="An encoded image (PNG, JPEG, WebP, …) in base64.",
        json_schema_extra={"format": "byte"},
    ),
]
Where = Annotated[
    list[Annotated[str, StringConstraints(max_length=500)]],
    Field(max_length=50, description='Filters: `["colour=red", "price<5"]`.'),
]


def _integer(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Limit = Annotated[
    int, Field(ge=1, le=200, description="How many at most."), BeforeValidator(_integer)
]
Reasons = Annotated[int, Field(ge=0, le=20), BeforeValidator(_integer)]
# Whole numbers of JSON are read up to 64 bits.
Number = Annotated[float, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
EventKind = Literal["impression", "click", "add", "conversion", "dismissal"]
MetricName = Literal["click", "add", "conversion", "dismissal", "value"]
assert set(EventKind.__args__) == set(KINDS)  # type: ignore[attr-defined]
assert set(MetricName.__args__) == set(METRICS)  # type: ignore[attr-defined]


class Body(BaseModel):
    """A request; unknown fields and values of another type are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True)


def decode_image(text: str | None) -> bytes | None:
    """The bytes of an image in base64; None for no text.

    Raises
    ------
    Refused
        413 when it is too large.
    """
    if not text:
        return None
    data = base64.b64decode(text, validate=True)
    if len(data) > IMAGE_LIMIT:
        raise Refused(413, f"an image has at most {IMAGE_LIMIT // 2**20} MB")
    return data


def decode_images(texts: Iterable[str]) -> list[bytes]:
    """The bytes of images in base64; empty texts are left out."""
    return [data for data in map(decode_image, texts) if data]


class NewItem(Body):
    """An item to add, or to put in the place of the one with this id."""

    id: Id
    title: Text = ""
    description: Text = ""
    category: Annotated[str, StringConstraints(max_length=500)] = ""
    reviews: Annotated[list[Text], Field(max_length=1000)] = []
    price: Number | None = None
    attributes: Annotated[
        dict[Id, Annotated[list[Value], Field(max_length=100)]], Field(max_length=200)
    ] = {}
    images: Annotated[list[Base64], Field(max_length=20)] = []

    def item(self) -> Item:
        """As the catalogue takes it."""
        return Item(
            id=self.id,
            title=self.title,
            description=self.description,
            category=self.category,
            reviews=tuple(self.reviews),
            price=self.price,
            attributes={name: tuple(values) for name, values in self.attributes.items()},
            images=tuple(decode_images(self.images)),
        )


class Upsert(Body):
    """Items to add or change."""

    items: Annotated[list[NewItem], Field(min_length=1, max_length=500)]


class Delete(Body):
    """Items to take out."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class Search(Body):
    """A query: a text, an image or both, and what is not wanted."""

    text: Text | None = None
    image: Base64 | None = None
    without: Annotated[list[Text], Field(max_length=20)] = []
    where: Where = []
    limit: Limit = 10
    cut: Share = 0.9
    only_relevant: bool = False
    group: bool = True
    reasons: Reasons = 3


class NewSignal(Body):
    """One like or dislike: exactly one of item, text and image."""

    side: Literal["like", "dislike"] = "like"
    item: Id | None = None
    text: Text | None = None
    image: Base64 | None = None
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    age_days: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = 0.0

    def signal(self) -> Signal:
        """As the catalogue takes it."""
        return Signal(
            side=self.side,
            item=self.item,
            text=self.text,
            image=decode_image(self.image),
            weight=self.weight,
            age_days=self.age_days,
        )


class Recommend(Body):
    """Likes and dislikes."""

    signals: Annotated[list[NewSignal], Field(min_length=1, max_length=200)]
    mute: Annotated[list[Text], Field(max_length=50)] = []
    where: Where = []
    limit: Limit = 10
    diversity: Share = 0.3
    half_life_days: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 30.0
    cut: Share = 0.9
    reasons: Reasons = 3


class Align(Body):
    """Copies and images: every copy is compared with every image."""

    copies: Annotated[list[Text], Field(min_length=1, max_length=20)]
    images: Annotated[list[Base64], Field(min_length=1, max_length=20)]
    reasons: Reasons = 5


class Suggest(Body):
    """An image with a brief description, or one of them."""

    image: Base64 | None = None
    brief: Text | None = None
    limit: Limit = 5


class NewRecord(Body):
    """A record to classify; it is not kept."""

    image: Base64 | None = None
    text: Text = ""


class Classify(Body):
    """Records, and the name of a classifier of the catalogue."""

    classifier: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
    records: Annotated[list[NewRecord], Field(min_length=1, max_length=50)]
    reasons: bool = True


_TYPES = {
    str: str,
    int: Annotated[int, Field(ge=-(2**53), le=2**53), BeforeValidator(_integer)],
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
    reviews: list[str]
    price: float | None
    attributes: dict[str, list[str]]
    images: list[str]

    @classmethod
    def of(cls, item: Item) -> ItemFacts:
        """An item of the catalogue."""
        return cls(**item.as_dict())


@dataclass(frozen=True)
class ItemPage:
    """Items by id; `next` is the `after` of the next page, null at the end."""

    items: list[ItemFacts]
    next: str | None
    total: int


@dataclass(frozen=True)
class Hits:
    """Items, the best first."""

    hits: list[Hit]


@dataclass(frozen=True)
class Alignments:
    """Pairs of copy and image, the best match first; an image is called `sent:` and a hash of its bytes."""

    pairs: list[Alignment]


@dataclass(frozen=True)
class Classifications:
    """Records with their labels, in the order in which they came."""

    records: list[Classification]


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
