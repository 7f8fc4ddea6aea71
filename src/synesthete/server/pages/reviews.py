"""`/reviews` and `/label/ADDRESS`: what people say of neurons, what waits for them, and blind labelling of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Form, Query

from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.report.source import Missing, can_label, find_unit
from synesthete.reviews import queue, read, say, session
from synesthete.reviews.acts import Act
from synesthete.reviews.queue import Grounds, grounds
from synesthete.server.library import Site
from synesthete.server.page import Page, Post

WAITING = 48
QUESTION = "what does this image show?"
Kind = Literal["accept", "rename", "reject", "flag", "unflag", "note", "label"]


@dataclass(frozen=True)
class Waiting:
    """A neuron that waits for a review: how much it would settle, why, and whether the neuron can be labelled blind."""

    neuron: NeuronRow
    score: float
    can_label: bool
    why: dict[str, float]


@dataclass(frozen=True)
class Reviewed:
    """A neuron and what people say of it."""

    neuron: NeuronRow
    review: dict[str, Any]


@dataclass(frozen=True)
class ReviewsPage:
    """Reviews of an atlas."""

    waiting: list[Waiting]
    reviewed: list[Reviewed]
    acts: int


def reviews_page(site: Site) -> ReviewsPage:
    """The neurons whose review would settle most, and all reviews."""
    waiting = []

    def known(layer: str) -> Grounds:
        return site.opened.computed(("grounds", layer), lambda: grounds(site.atlas, layer))

    reviews = site.opened.reviews()
    for item in queue(site.atlas, limit=WAITING, reviews=reviews, known=known):
        found = find_unit(site, item.address)
        row, labels = neuron_row(site, *found), can_label(site, *found)
        waiting.append(Waiting(row, item.score, labels, item.why))
    reviewed = []
    for address, state in sorted(reviews.items()):
        row = neuron_row(site, *find_unit(site, address))
        reviewed.append(Reviewed(row, state.as_dict(row.name)))
    return ReviewsPage(waiting, reviewed, len(read(site.atlas.path)))


def add_review(
    site: Site,
    kind: Annotated[Kind, Form(description="What is said.")],
    address: Annotated[str, Form(min_length=1, max_length=400, description="Of the neuron.")],
    rater: Annotated[str, Form(min_length=1, max_length=100, description="Who says it.")],
    value: Annotated[str, Form(max_length=2000, description="Name, reason, note or label.")] = "",
    image: Annotated[str, Form(max_length=64, description="Opaque id, for labels.")] = "",
    question: Annotated[str, Form(max_length=200, description="The question, for labels.")] = "",
) -> Act:
    """Review a neuron or, with a label, an image of it. Reviews are added and never overwritten."""
    columns, unit = find_unit(site, address)
    number = None
    if image:
        number = site.opened.ids.number(image)
        if number is None:
            raise Missing("there is no such image")
    return say(
        site.atlas.path,
        kind,
        columns.address(unit),
        rater=rater,
        value=value,
        image=number,
        question=question,
    )


@dataclass(frozen=True)
class Blind:
    """An image without anything that would reveal what it is."""

    id: str
    path: str


@dataclass(frozen=True, kw_only=True)
class LabelPage:
    """A session: the same seed gives the same images in the same order."""

    address: str
    neuron_path: str
    question: str
    seed: int
    images: list[Blind]


def label_page(
    site: Site,
    address: str,
    question: Annotated[str, Query(max_length=200)] = QUESTION,
    seed: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> LabelPage:
    """Images of a neuron over its whole range and at random, in an order that reveals nothing."""
    columns, unit = find_unit(site, address)
    name = columns.address(unit)
    keys = [site.opened.ids.key(image) for image in session(site.atlas, name, seed=seed)]
    blind = [Blind(key, site.links.image(key)) for key in keys]
    return LabelPage(
        address=name,
        neuron_path=site.links.neuron(name),
        question=question.strip() or QUESTION,
        seed=seed,
        images=blind,
    )


REVIEWS = Page(
    path="/reviews",
    template="reviews.html",
    view=reviews_page,
    label="Reviews",
    post=Post(
        submit=add_review,
        name="review",
        status=201,
        redirect=lambda site, act: f"{site.links.neuron(act.address)}#review",
    ),
    exported=False,
)
LABEL = Page(path="/label/{address:path}", template="label.html", view=label_page, exported=False)
