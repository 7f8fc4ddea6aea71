"""`/reviews`: what people said, what waits for them, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.report.source import can_label, find_unit
from synesthete.server.library import Site
from synesthete.server.page import Page

WAITING = 48


@dataclass(frozen=True)
class Waiting:
    """A neuron that waits for a person: how much a review would settle, why, and whether it can be labelled blind."""

    neuron: NeuronRow
    score: float
    can_label: bool
    why: dict[str, float]


@dataclass(frozen=True)
class Said:
    """What people say of a neuron."""

    neuron: NeuronRow
    review: dict[str, Any]


@dataclass(frozen=True)
class ReviewsPage:
    """Reviews of an atlas."""

    waiting: list[Waiting]
    said: list[Said]
    acts: int


def reviews_page(site: Site) -> ReviewsPage:
    """The neurons whose review would settle most, and all that people said."""
    from synesthete.reviews import queue, read

    waiting = []
    for item in queue(site.atlas, limit=WAITING):
        found = find_unit(site, item.address)
        row, labels = neuron_row(site, *found), can_label(site, *found)
        waiting.append(Waiting(row, item.score, labels, item.why))
    said = []
    for address, state in sorted(site.opened.reviews().items()):
        row = _row(site, address)
        said.append(Said(row, state.as_dict(row.name)))
    return ReviewsPage(waiting, said, len(read(site.atlas.path)))


def _row(site: Site, address: str) -> NeuronRow:
    return neuron_row(site, *find_unit(site, address))


REVIEWS = Page("/reviews", "reviews.html", reviews_page, label="Reviews", exported=False)
