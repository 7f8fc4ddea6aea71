"""Requests to a catalogue, and what answers them: each once, for Python, REST, the client, the command line and assistants.

The docstring of a request is its documentation everywhere, its fields are the parameters, the options and the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from inspect import Parameter, signature
from typing import Annotated, Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from pydantic import ConfigDict, Field

from synesthete.catalog.fields import (
    CHECKED,
    Count,
    Days,
    Few,
    Filters,
    Flag,
    Image,
    Limit,
    Name,
    Offset,
    Share,
    Text,
)
from synesthete.catalog.schema import Alignment, Hit, Signal, Suggestion

RELEVANCE = "relevance"
Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Part = TypeVar("Part")


@dataclass(frozen=True)
class FacetValue:
    """A value of an attribute, and how many of the matching items have it."""

    value: str
    count: int


@dataclass(frozen=True)
class Facet:
    """An attribute, or `category`, with its values among the matching items, the most frequent first."""

    name: str
    values: tuple[FacetValue, ...]


@dataclass(frozen=True)
class PriceRange:
    """The lowest and the highest price of the matching items, and how many have one."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True)
class SearchPage:
    """A page of a search.

    Attributes
    ----------
    hits
        Items, in the order of `sort`.
    next
        The `offset` of the next page, null at the end.
    total
        How many items match: with a text or an image, of the best thousand that pass the filters those that reach the
        cut, near-duplicates included; otherwise all that pass the filters.
    at_least
        Whether more than `total` may match. A page of the first 25 items, sorted by relevance and without facets, ranks and
        counts no more than these: request facets for the full number.
    facets, price
        Of the items that match, where facets were requested: `category` first, then attributes by how many items
        have them, 20 at most; and the range of their prices, null where none has one.
    """

    hits: list[Hit]
    next: int | None
    total: int
    at_least: bool = False
    facets: tuple[Facet, ...] = ()
    price: PriceRange | None = None


@dataclass(frozen=True)
class Hits:
    """Items, the best first."""

    hits: list[Hit]


@dataclass(frozen=True)
class Alignments:
    """Pairs of copy and image, the best match first; an image is called `sent:` and a hash of its bytes."""

    pairs: list[Alignment]


class Request(Generic[Answer]):
    """What a catalogue can be asked for; `Answer` is the type of what it returns."""

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED


@dataclass(frozen=True)
class Search(Request[SearchPage]):
    """Find items for a text, an image or both, away from what is not wanted; or list those that pass filters.

    The relevance of an item is the share of unrelated queries whose best item scores lower: with 0.9, one unrelated query
    in ten would have found something, and below it the catalogue probably has no such thing. Without a text and an image,
    the items that pass the filters are listed, by id or as sorted, with a score of 0 and a relevance of 1.

    Attributes
    ----------
    text
        What is wanted, in words.
    image
        What is wanted, as an image.
    without
        What is not wanted, in words.
    without_image
        What is not wanted, as an image.
    where
        Only items with this: `colour=red`, `colour=red|white`, `colour!=red`, `price<5`. In JSON and Python also an
        object of names and their allowed values.
    sort
        `relevance`, `price`, `title`, `id`, `category` or an attribute; with a minus before it from high to low. Items
        without a value come last, ties by id. Sorted by anything but relevance, only items that match are listed.
    limit
        Results at most.
    offset
        How many results to leave out: `next` of the page before.
    cut
        The relevance from which an item matches and a hit counts as relevant.
    only_relevant
        Leave out what does not reach the cut.
    group
        Put near-duplicates under the first of them.
    reasons
        Reasons for each item, at most.
    facets
        Values of `category` and of each attribute to count among the items that match, at most; 0 counts none.
    """

    text: Text | None = None
    image: Image | None = None
    _: KW_ONLY
    without: Annotated[Sequence[Text], Field(max_length=20)] = ()
    without_image: Annotated[Sequence[Image], Field(max_length=20)] = ()
    where: Filters = ()
    sort: Name = RELEVANCE
    limit: Limit = 10
    offset: Offset = 0
    cut: Share = 0.9
    only_relevant: Flag = False
    group: Flag = True
    reasons: Few = 3
    facets: Count = 0


@dataclass(frozen=True)
class Recommend(Request[Hits]):
    """Recommend items for likes and dislikes: items, phrases and images. One phrase is enough to begin with.

    Attributes
    ----------
    signals
        Likes and dislikes; the items among them are left out.
    mute
        Concepts to disregard: items about them are left out.
    where
        Only items with this: `colour=red`, `colour=red|white`, `colour!=red`, `price<5`. In JSON and Python also an
        object of names and their allowed values.
    limit
        Results at most.
    diversity
        0: by score alone; 1: as different as possible.
    half_life_days
        Days after which a signal counts half.
    cut
        The relevance from which a hit counts as relevant.
    reasons
        Reasons for each item, at most.
    """

    signals: Annotated[Sequence[Signal], Field(max_length=200)] = ()
    _: KW_ONLY
    mute: Annotated[Sequence[Text], Field(max_length=50)] = ()
    where: Filters = ()
    limit: Limit = 10
    diversity: Share = 0.3
    half_life_days: Days = 30.0
    cut: Share = 0.9
    reasons: Few = 3


@dataclass(frozen=True)
class Align(Request[Alignments]):
    """Compare every copy with every image, judged by the catalogue's own pairs.

    Attributes
    ----------
    copies
        Texts.
    images
        What they are compared with.
    reasons
        Units and words on each side.
    """

    copies: Annotated[Sequence[Text], Field(min_length=1, max_length=20)]
    images: Annotated[Sequence[Image], Field(min_length=1, max_length=20)]
    _: KW_ONLY
    reasons: Few = 5


@dataclass(frozen=True)
class Suggest(Request[Suggestion]):
    """Answer an image with a brief description: items, categories, attributes, and what to ask next.

    When `abstained` is true, do not decide: ask the question, or hand over to a person; `ticket` is then the case in the
    review queue, where there is one.

    Attributes
    ----------
    image
        An image.
    brief
        A brief description.
    reference
        Your id of the image, for the review queue and its labels; without it a hash of what was sent.
    limit
        Results at most.
    """

    image: Image | None = None
    brief: Text | None = None
    _: KW_ONLY
    reference: Name = ""
    limit: Limit = 5


def answer_type(request: type[Request[Answer]]) -> type[Answer]:
    """What answers a request.

    Examples
    --------
    >>> answer_type(Suggest).__name__
    'Suggestion'
    """
    (base,) = request.__orig_bases__  # type: ignore[attr-defined]
    found: type[Answer] = base.__args__[0]
    return found


def method_of(
    request: Callable[Given, Request[Answer]], part: Callable[[Answer], Part]
) -> Callable[Concatenate[Any, Given], Part]:
    """A method with a request's fields as its parameters, which returns a part of what `self.answer` gives."""

    def method(self: Any, /, *given: Given.args, **more: Given.kwargs) -> Part:
        answer: Answer = self.answer(request(*given, **more))
        return part(answer)

    method.__doc__ = request.__doc__
    fields = signature(request)
    own = Parameter("self", Parameter.POSITIONAL_ONLY)
    method.__signature__ = fields.replace(parameters=[own, *fields.parameters.values()])  # type: ignore[attr-defined]
    return method
