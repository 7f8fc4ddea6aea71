"""`/concepts` and `/concept/NAME`: every concept with how many neurons know it, and one in all its modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import Query

from synesthete.report.concept import ConceptReport, concept_report
from synesthete.server.library import Site
from synesthete.server.page import Page, PageNumber, Paging, paging

SIZE = 96
Order = Literal["neurons", "name"]


@dataclass(frozen=True, kw_only=True)
class ConceptRow:
    """A concept: how many images show it, how many neurons answer to it best, how many of them are multimodal."""

    concept: str
    path: str
    image: str | None
    images: int
    neurons: int
    multimodal: int


@dataclass(frozen=True, kw_only=True)
class ConceptsPage:
    """Concepts; `known` of them have a multimodal neuron."""

    total: int
    known: int
    order: Order
    paging: Paging
    concepts: list[ConceptRow]


def concepts_page(
    site: Site,
    order: Annotated[Order, Query(description="By multimodal neurons, or by name.")] = "neurons",
    page: PageNumber = 1,
) -> ConceptsPage:
    """The concepts that the probe images show, and how many neurons know each."""
    rows = list(site.opened.computed(("concepts", site.links), lambda: _rows(site)))
    if order == "neurons":
        rows.sort(key=lambda row: (-row.multimodal, -row.neurons, row.concept.casefold()))
    where = paging(page, len(rows), SIZE)
    shown = rows[max(where.first - 1, 0) : where.last]
    return ConceptsPage(
        total=len(rows),
        known=sum(row.multimodal > 0 for row in rows),
        order=order,
        paging=where,
        concepts=shown,
    )


def _rows(site: Site) -> list[ConceptRow]:
    neurons: dict[str, int] = {}
    multimodal: dict[str, int] = {}
    for layer in site.atlas.main_layers if site.atlas.analysed else ():
        columns = site.opened.columns(layer)
        for total, units in ((neurons, ~columns.dead), (multimodal, columns.multimodal)):
            for concept, count in columns.concept.counts(units).items():
                total[concept] = total.get(concept, 0) + count
    probes = site.opened.probes
    images = probes.concept.counts(probes.readable)
    rows = []
    for concept in sorted(images, key=str.casefold):
        own = np.flatnonzero(probes.readable & probes.concept.rows(concept))
        key = site.opened.ids.key(int(_first_drawing(site, own))) if len(own) else None
        row = ConceptRow(
            concept=concept,
            path=site.links.concept(concept),
            image=site.links.image(key) if key else None,
            images=images[concept],
            neurons=neurons.get(concept, 0),
            multimodal=multimodal.get(concept, 0),
        )
        rows.append(row)
    return rows


def _first_drawing(site: Site, rows: np.ndarray) -> int:
    """The image that stands for a concept: a photo or a drawing rather than a word."""
    modality = site.opened.probes.modality
    for name in site.opened.probes.modalities:
        here = rows[modality.rows(name)[rows]]
        if len(here):
            return int(here[0])
    return int(rows[0])


CONCEPTS = Page(path="/concepts", template="concepts.html", view=concepts_page, label="Concepts")


def concept_page(site: Site, concept: str) -> ConceptReport:
    """One concept: its images and texts by modality, the units of every layer that answer to each, and the controls."""
    return concept_report(site, concept)


CONCEPT = Page(path="/concept/{concept:path}", template="concept.html", view=concept_page)
