"""What goes into a catalogue: items, signals and a queue, plain values that every room above may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Picture = Path | bytes
Side = Literal["like", "dislike"]


@dataclass(frozen=True)
class Item:
    """One thing on offer. Every part but the id may be missing, but not all of them.

    Attributes
    ----------
    id
        What the shop calls it; unique in a catalogue.
    title, description, category
        Texts; the category is one short name.
    reviews
        What customers wrote, one text each.
    price
        In the shop's own currency; None where there is none.
    attributes
        Name to one or more values, as text: `{"colour": ("red", "white")}`.
    pictures
        Files or encoded bytes when an item is given; where they came from when it is read back.

    Examples
    --------
    >>> Item("42", title="Blue mug", attributes={"colour": ("blue",)}).title
    'Blue mug'
    """

    id: str
    title: str = ""
    description: str = ""
    category: str = ""
    reviews: tuple[str, ...] = ()
    price: float | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The item as JSON can write it; pictures by where they came from."""
        return {
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "category": self.category,
            "reviews": list(self.reviews),
            "price": self.price,
            "attributes": {name: list(values) for name, values in self.attributes.items()},
            "pictures": [str(p) if isinstance(p, Path) else "bytes" for p in self.pictures],
        }


@dataclass(frozen=True)
class Signal:
    """One thing that a customer likes or dislikes; exactly one of item, text and picture is given.

    Attributes
    ----------
    side
        `like` or `dislike`.
    item
        Id of an item in the catalogue.
    text
        A phrase.
    picture
        A file or encoded bytes.
    weight
        How much it counts, above 0.
    age_days
        How long ago; old signals count less, by the half-life that `recommend` is given.
    """

    side: Side = "like"
    item: str | None = None
    text: str | None = None
    picture: Picture | None = None
    weight: float = 1.0
    age_days: float = 0.0


class ReviewQueue(Protocol):
    """Where cases wait that the machine would not decide."""

    def add(self, kind: str, payload: Mapping[str, Any], *, reason: str, confidence: float) -> str:
        """Put a case (JSON values) into the queue; returns what the queue calls it."""
        ...
