"""`/search?q=…`: neurons, concepts and families by what they are called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from fastapi import Query

from synesthete.report.columns import Part, by_multimodality, ranked
from synesthete.report.neuron import NeuronRow, neuron_rows, rows_of
from synesthete.report.source import Missing, Near, find_unit
from synesthete.server.library import Site
from synesthete.server.page import Page

NEURONS, OTHERS = 48, 24
Query_ = Annotated[
    str, Query(max_length=200, description="A concept, a name, a family or an address.")
]


@dataclass(frozen=True, kw_only=True)
class SearchPage:
    """What was found; `near` is what there is when nothing was."""

    q: str
    neurons: list[NeuronRow] = field(default_factory=list)
    total: int = 0
    concepts: list[Near] = field(default_factory=list)
    families: list[Near] = field(default_factory=list)
    near: list[Near] = field(default_factory=list)


def search_page(site: Site, q: Query_ = "") -> SearchPage:
    """Neurons whose name, concept or family contains the text (whole matches first), or by their address."""
    text = " ".join(q.split())
    if not text:
        return SearchPage(q="")
    if ":" in text:
        try:
            columns, unit = find_unit(site, text)
        except Missing as error:
            return SearchPage(q=text, near=error.near)
        return SearchPage(q=text, neurons=neuron_rows(site, columns, [unit]), total=1)
    parts: list[Part] = []
    families: set[str] = set()
    for layer in site.atlas.layers if site.atlas.analysed else ():
        columns = site.opened.columns(layer)
        rank = np.full(columns.units, 9)
        for place, column in enumerate((columns.name, columns.concept, columns.family)):
            match = np.array([_match(text, one) for one in column.texts])
            rank = np.minimum(rank, match[column.codes] * 3 + place)
            if place == 2:
                families |= {one for one, m in zip(column.texts, match, strict=True) if m < 3}
        own = np.flatnonzero(rank < 9)
        best = by_multimodality(columns, own)
        parts.append(Part(layer, own, (rank[own], *best.keys)))
    total = sum(len(part.units) for part in parts)
    known = [one for one in site.opened.probes.concept.texts if one]
    concepts = sorted((m, one) for one in known if (m := _match(text, one)) < 3)
    close = [] if total or concepts or families else _near(site, text, known)
    return SearchPage(
        q=text,
        neurons=rows_of(site, ranked(parts, 0, NEURONS)),
        total=total,
        concepts=[Near(one, site.links.concept(one)) for _, one in concepts[:OTHERS]],
        families=[Near(one, site.links.family(one)) for one in sorted(families)[:OTHERS]],
        near=close,
    )


def _match(text: str, one: str) -> int:
    """0 the same, 1 at the start of a word, 2 inside, 3 not at all; letter case does not matter."""
    text, one = text.casefold(), one.casefold()
    if not one or text not in one:
        return 3
    if text == one:
        return 0
    return 1 if f" {one}".find(f" {text}") >= 0 else 2


def _near(site: Site, text: str, known: list[str]) -> list[Near]:
    import difflib

    close = difflib.get_close_matches(text, known, n=6, cutoff=0.5)
    return [Near(name, site.links.concept(name)) for name in close]


SEARCH = Page(path="/search", template="search.html", view=search_page)
