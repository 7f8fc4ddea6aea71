"""What goes into a catalogue and what comes out of it: plain values that every room above may hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import ConfigDict, Field

from synesthete.catalog.fields import CHECKED, Age, Id, Image, Name, Number, Text, Value, Weight
from synesthete.catalog.fields import ImageSource as ImageSource

Side = Literal["like", "dislike"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing on offer. Every part but the id may be missing, but not all of them.

    Attributes
    ----------
    id
        Unique in a catalogue.
    title, description, category
        Texts; the category is one short name.
    reviews
        What customers wrote, one text each.
    price
        In the catalogue's own currency; None where there is none.
    attributes
        Name to one or more values, as text: `{"colour": ("red", "white")}`.
    images
        Files or encoded bytes when an item is given; where they came from when it is read back.

    Examples
    --------
    >>> Item("42", title="Blue mug", attributes={"colour": ("blue",)}).title
    'Blue mug'
    """

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED

    id: Id = field(kw_only=False)
    title: Text = ""
    description: Text = ""
    category: Name = ""
    reviews: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    price: Number | None = None
    attributes: Annotated[
        Mapping[Id, Annotated[tuple[Value, ...], Field(max_length=100)]], Field(max_length=200)
    ] = field(default_factory=dict)
    images: Annotated[tuple[Image, ...], Field(max_length=20)] = ()

    def as_dict(self) -> dict[str, Any]:
        """The item as JSON can write it; images by where they came from."""
        return {
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "category": self.category,
            "reviews": list(self.reviews),
            "price": self.price,
            "attributes": {name: list(values) for name, values in self.attributes.items()},
            "images": [str(p) if isinstance(p, Path) else "bytes" for p in self.images],
        }


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One thing that a customer likes or dislikes; exactly one of item, text and image is given.

    Attributes
    ----------
    side
        `like` or `dislike`.
    item
        Id of an item in the catalogue.
    text
        A phrase.
    image
        A file or encoded bytes.
    weight
        How much it counts, above 0.
    age_days
        How long ago; old signals count less, by the half-life that `recommend` is given.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED

    side: Side = field(default="like", kw_only=False)
    item: Id | None = None
    text: Text | None = None
    image: Image | None = None
    weight: Weight = 1.0
    age_days: Age = 0.0


class ReviewQueue(Protocol):
    """Where cases wait that the machine would not decide."""

    def add(self, kind: str, payload: Mapping[str, Any], *, reason: str, confidence: float) -> str:
        """Put a case (JSON values) into the queue; returns what the queue calls it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One thing that speaks for a result, or against it.

    Attributes
    ----------
    kind
        `unit` (a neuron that answers to the image, where its name was tested), `concept` (a known concept that both sides are near),
        `words` (words that both texts share) or `profile` (a like or dislike of the profile).
    text
        What people read: "plum", "shares the words blue, mug", "shares the word mug (for mugg)".
    weight
        Its share of the score, in units of the cosine; negative speaks against. For words, how many.
    address
        `layer:unit` of a unit; empty otherwise.
    tested
        Whether the unit's name was tested on images that it was not chosen on.
    """

    kind: Literal["unit", "concept", "words", "profile"]
    text: str
    weight: float
    address: str = ""
    tested: bool = False


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One result of a search or a recommendation.

    Attributes
    ----------
    id
        Of the item.
    score
        Cosine of the query and the item, both centred, and what the words of the query that the item has add, up to 1½:
        comparable within one query only.
    relevance
        Share of unrelated queries whose best item in this catalogue scores lower, 0 to 1.
    relevant
        Whether the relevance reaches the cut that was asked for.
    title, category, price
        Of the item, for display.
    reasons
        What speaks for it, the strongest first.
    duplicates
        Items that are nearly the same and would have come later.
    """

    id: str
    score: float
    relevance: float
    relevant: bool
    title: str = ""
    category: str = ""
    price: float | None = None
    reasons: tuple[Reason, ...] = ()
    duplicates: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON can write it."""
        return _plain(self)


@dataclass(frozen=True)
class Word:
    """A word of a copy and what its absence takes from the match; negative: the match is better without."""

    text: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Region:
    """A unit's strongest place in an image, as shares of what the model sees of it (a centred square)."""

    address: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A unit that should not decide a match, or seems to.

    Attributes
    ----------
    kind
        `typographic` (it answers to writing) or `sensitive` (its family is about people).
    address, text
        The unit and what it is called.
    weight
        What it adds to the cosine.
    decides
        Whether the verdict would be another without all units of this kind.
    """

    kind: Literal["typographic", "sensitive"]
    address: str
    text: str
    weight: float
    decides: bool


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How well one copy matches one image.

    Attributes
    ----------
    copy, image
        What was compared: the text, and the image's name.
    score
        Cosine, centred.
    among_pairs
        Share of the catalogue's own pairs (an item's image with its own text) that score lower; None
        with fewer than 20 pairs.
    among_others
        Share of the catalogue's mismatched pairs that score lower; None with fewer than 20 items.
    verdict
        `match`, `mismatch`, or `unsure`, which a person should settle.
    agreeing, disagreeing
        Units of the image that speak for the copy and against it.
    words
        Of the copy, by what each does for the match.
    regions
        Where the agreeing units answer.
    flags
        Units that answer to writing or to people and take part.
    """

    copy: str
    image: str
    score: float
    among_pairs: float | None
    among_others: float | None
    verdict: Literal["match", "mismatch", "unsure"]
    agreeing: tuple[Reason, ...] = ()
    disagreeing: tuple[Reason, ...] = ()
    words: tuple[Word, ...] = ()
    regions: tuple[Region, ...] = ()
    flags: tuple[Flag, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The alignment as JSON can write it."""
        return _plain(self)


@dataclass(frozen=True)
class Choice:
    """A category, or a value of an attribute, with the share of the evidence that is for it."""

    name: str
    value: str
    confidence: float


@dataclass(frozen=True)
class Question:
    """A question whose answer would narrow the choice down most: bits of information expected."""

    text: str
    attribute: str
    options: tuple[str, ...]
    bits: float


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """An answer to an image with a brief description.

    Attributes
    ----------
    items
        Ranked.
    categories, attributes
        What the relevant items agree on.
    questions
        What to ask next, the most telling first.
    strength
        0 to 1: relevance of the best item times the share of the evidence that agrees. It orders suggestions and is no
        probability.
    confidence
        Where the catalogue was calibrated, how often a suggestion of this strength is right; otherwise the strength.
    abstained
        Whether the confidence is below the threshold, so that a person should answer.
    ticket
        What the review queue calls the case, of an abstention or of an audited answer; None without either, and without a queue.
    calibrated
        Whether the confidence is a probability.
    """

    items: tuple[Hit, ...]
    categories: tuple[Choice, ...]
    attributes: tuple[Choice, ...]
    questions: tuple[Question, ...]
    confidence: float
    abstained: bool
    ticket: str | None = None
    strength: float = 0.0
    calibrated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The suggestion as JSON can write it."""
        return _plain(self)


@dataclass(frozen=True)
class Quarantined:
    """An item, or an image of one, that could not be used, and why."""

    id: str
    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Written:
    """What an upsert or a deletion did.

    Attributes
    ----------
    added, changed, unchanged, deleted
        How many items.
    quarantined
        What could not be used. An item with one broken image of several is indexed without that image.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    quarantined: tuple[Quarantined, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The counts and the quarantine as JSON can write them."""
        return _plain(self)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a catalogue answers queries whose right answers are known.

    Attributes
    ----------
    method
        `search`; of its parts `vectors` (without words), `text-only` and `image-only`; of the baselines `cosine`, `tf-idf`,
        `bm25` and `random`.
    recall, ndcg
        At `k`, mean over queries.
    recall_interval, ndcg_interval
        95 %, bootstrap over queries.
    mrr
        Mean reciprocal rank of the first right answer among the first `k`.
    n
        Queries.
    """

    method: str
    k: int
    n: int
    recall: float
    recall_interval: tuple[float, float]
    ndcg: float
    ndcg_interval: tuple[float, float]
    mrr: float


def _plain(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = asdict(value)
    return plain


def image_name(image: ImageSource) -> str:
    """What an image is called in tables and messages: its path, or `sent:` and the start of its hash."""
    if isinstance(image, bytes):
        return "sent:" + hashlib.sha256(image).hexdigest()[:16]
    return str(image).encode("utf-8", "backslashreplace").decode()
