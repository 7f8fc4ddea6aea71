"""What requests carry: checked before anything else looks at it."""

from __future__ import annotations

import base64
from dataclasses import MISSING, fields
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

from synesthete.catalog.events import KINDS, Event
from synesthete.catalog.metrics import METRICS
from synesthete.catalog.schema import Item, Signal
from synesthete.server.errors import Refused

PICTURE_LIMIT = 8 * 2**20
Text = Annotated[str, StringConstraints(max_length=20_000)]
Value = Annotated[str, StringConstraints(max_length=2000)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _checked(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is not base64") from None
    return text


# Base64 takes four characters for three bytes.
Base64 = Annotated[
    str,
    StringConstraints(max_length=-(-PICTURE_LIMIT // 3) * 4),
    AfterValidator(_checked),
    Field(
        description="An encoded picture (PNG, JPEG, WebP, …) in base64.",
        json_schema_extra={"format": "byte"},
    ),
]
Where = Annotated[
    list[Annotated[str, StringConstraints(max_length=500)]],
    Field(max_length=50, description='Filters: `["colour=red", "price<5"]`.'),
]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Many = Annotated[int, Field(ge=1, le=200, description="How many at most."), BeforeValidator(_whole)]
Reasons = Annotated[int, Field(ge=0, le=20), BeforeValidator(_whole)]
# Whole numbers of JSON are read up to 64 bits.
Number = Annotated[float, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
EventKind = Literal["impression", "click", "add", "conversion", "dismissal"]
MetricName = Literal["click", "add", "conversion", "dismissal", "value"]
assert set(EventKind.__args__) == set(KINDS)  # type: ignore[attr-defined]
assert set(MetricName.__args__) == set(METRICS)  # type: ignore[attr-defined]


class Body(BaseModel):
    """A body; what it does not know it refuses, and a value of another type too."""

    model_config = ConfigDict(extra="forbid", strict=True)


def picture_of(text: str | None) -> bytes | None:
    """The bytes of a picture in base64.

    Raises
    ------
    Refused
        413 when it is too large.
    """
    if not text:
        return None
    data = base64.b64decode(text, validate=True)
    if len(data) > PICTURE_LIMIT:
        raise Refused(413, f"a picture has at most {PICTURE_LIMIT // 2**20} MB")
    return data


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
            self.id, title=self.title, description=self.description, category=self.category, reviews=tuple(self.reviews), price=self.price,
            attributes={name: tuple(values) for name, values in self.attributes.items()},
            images=tuple(data for data in map(picture_of, self.images) if data),
        )  # fmt: skip


class Upsert(Body):
    """Items to add or change."""

    items: Annotated[list[NewItem], Field(min_length=1, max_length=500)]


class Delete(Body):
    """Items to take out."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class Search(Body):
    """What is wanted: a text, a picture, or both; and what is not."""

    text: Text | None = None
    picture: Base64 | None = None
    without: Annotated[list[Text], Field(max_length=20)] = []
    where: Where = []
    limit: Many = 10
    cut: Share = 0.9
    only_relevant: bool = False
    group: bool = True
    reasons: Reasons = 3


class Taste(Body):
    """One like or dislike: exactly one of item, text and picture."""

    side: Literal["like", "dislike"] = "like"
    item: Id | None = None
    text: Text | None = None
    picture: Base64 | None = None
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    age_days: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = 0.0

    def signal(self) -> Signal:
        """As the catalogue takes it."""
        return Signal(
            self.side,
            item=self.item,
            text=self.text,
            image=picture_of(self.picture),
            weight=self.weight,
            age_days=self.age_days,
        )


class Recommend(Body):
    """A taste."""

    signals: Annotated[list[Taste], Field(min_length=1, max_length=200)]
    mute: Annotated[list[Text], Field(max_length=50)] = []
    where: Where = []
    limit: Many = 10
    diversity: Share = 0.3
    half_life_days: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 30.0
    cut: Share = 0.9
    reasons: Reasons = 3


class Align(Body):
    """Copies and pictures: every copy is held against every picture."""

    copies: Annotated[list[Text], Field(min_length=1, max_length=20)]
    pictures: Annotated[list[Base64], Field(min_length=1, max_length=20)]
    reasons: Reasons = 5


class Suggest(Body):
    """A picture with a brief description, or one of them."""

    picture: Base64 | None = None
    brief: Text | None = None
    limit: Many = 5


class NewRecord(Body):
    """A record to classify; it is judged and forgotten."""

    picture: Base64 | None = None
    text: Text = ""


class Classify(Body):
    """Records, and which classifier of the catalogue shall judge them."""

    classifier: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
    records: Annotated[list[NewRecord], Field(min_length=1, max_length=50)]
    reasons: bool = True


_PARTS = {
    str: str,
    int: Annotated[int, Field(ge=-(2**53), le=2**53), BeforeValidator(_whole)],
    float: Number,
}
# The fields are those of the log's own `Event`, so that what is sent and what is kept cannot part.
NewEvent = create_model(
    "NewEvent",
    __base__=Body,
    __doc__="Something that a visitor did. See the documentation for what each part means.",
    **{  # type: ignore[call-overload]
        part.name: (
            _PARTS[get_type_hints(Event)[part.name]],
            Field(
                ... if part.default is MISSING else part.default,
                description=", ".join(KINDS) if part.name == "kind" else None,
            ),
        )
        for part in fields(Event)
    },
)


class Events(Body):
    """Events; unsound ones among them are set aside and told, the others are taken."""

    events: Annotated[list[NewEvent], Field(min_length=1, max_length=1000)]  # type: ignore[valid-type]

    def rows(self) -> list[dict[str, Any]]:
        """As the log takes them."""
        found: list[dict[str, Any]] = self.model_dump()["events"]
        return found


class Decision(Body):
    """What a person makes of a case."""

    verdict: Literal["accept", "override", "dismiss"]
    label: Annotated[str, StringConstraints(max_length=200)] = ""
    note: Annotated[str, StringConstraints(max_length=2000)] = ""
    actor: Annotated[
        str,
        StringConstraints(max_length=60),
        Field(description="Who decides; stands beside the key's name."),
    ] = ""


class NewPolicy(Body):
    """From which confidence on the machine answers by itself, and which share people look at all the same."""

    threshold: Share
    audit: Share = 0.0
