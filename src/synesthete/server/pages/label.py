"""`/label/ADDRESS`: images of a neuron to be labelled blind; neither its name nor its activation is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from synesthete.report.source import find_unit
from synesthete.server.library import Site
from synesthete.server.page import Page

QUESTION = "what does this image show?"


@dataclass(frozen=True)
class Blind:
    """An image without anything that would tell what it is."""

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
    """Images of a neuron over its whole range and at random, in an order that tells nothing."""
    from synesthete.reviews import session

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


LABEL = Page("/label/{address:path}", "label.html", label_page, exported=False)
