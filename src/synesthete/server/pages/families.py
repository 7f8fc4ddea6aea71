"""`/families` and `/family/NAME`: what kinds of things the neurons are about, and the neurons of one kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synesthete.errors import near
from synesthete.report.columns import Part, by_multimodality, ranked
from synesthete.report.neuron import NeuronRow, rows_of
from synesthete.report.source import Missing, Near
from synesthete.server.library import Site
from synesthete.server.page import Page, PageNumber, Paging, paging

BEST, SIZE = 6, 48


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """A family: how many neurons, how many of them multimodal, and its best."""

    family: str
    path: str
    neurons: int
    multimodal: int
    best: list[NeuronRow]


@dataclass(frozen=True)
class FamiliesPage:
    """Families, the largest first; `assigned` tells whether `synesthete families` has run, else they are the probe set's."""

    assigned: bool
    without: int
    families: list[FamilyRow]


def units_of_family(site: Site, family: str) -> list[Part]:
    """A family's neurons, the most multimodal first."""
    layers = [site.opened.columns(layer) for layer in site.atlas.layers]
    return [
        by_multimodality(columns, np.flatnonzero(columns.family.rows(family))) for columns in layers
    ]


def families_page(site: Site) -> FamiliesPage:
    """The families of the neurons, each with its most multimodal ones."""
    return site.opened.computed(("families", site.links), lambda: _families(site))


def _families(site: Site) -> FamiliesPage:
    counts: dict[str, list[int]] = {}
    without = 0
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        without += int((columns.family.codes == 0).sum())
        for place, rows in enumerate((np.ones(columns.units, bool), columns.multimodal)):
            for family, count in columns.family.counts(rows).items():
                counts.setdefault(family, [0, 0])[place] += count
    families = []
    by_size = sorted(counts.items(), key=lambda item: (-item[1][0], item[0]))
    for family, (neurons, multimodal) in by_size:
        best = rows_of(site, ranked(units_of_family(site, family), 0, BEST))
        row = FamilyRow(
            family=family,
            path=site.links.family(family),
            neurons=neurons,
            multimodal=multimodal,
            best=best,
        )
        families.append(row)
    return FamiliesPage("families" in site.atlas.manifest, without, families)


FAMILIES = Page(path="/families", template="families.html", view=families_page, label="Families")


@dataclass(frozen=True)
class FamilyPage:
    """Neurons of a family, the most multimodal first."""

    family: str
    multimodal: int
    paging: Paging
    neurons: list[NeuronRow]


def family_page(site: Site, family: str, page: PageNumber = 1) -> FamilyPage:
    """The neurons of a family."""
    known = {
        name.casefold(): name
        for layer in site.atlas.layers
        for name in site.opened.columns(layer).family.texts
        if name
    }
    name = known.get(family.strip().casefold())
    if name is None:
        raise Missing(
            f"there is no family {family[:200]!r}",
            hint=near(family[:200], known.values()),
            near=[Near(one, site.links.family(one)) for one in sorted(known.values())],
        )
    parts = units_of_family(site, name)
    where = paging(page, sum(len(part.units) for part in parts), SIZE)
    multimodal = sum(
        int(site.opened.columns(part.layer).multimodal[part.units].sum()) for part in parts
    )
    shown = ranked(parts, max(where.first - 1, 0), where.last)
    return FamilyPage(name, multimodal, where, rows_of(site, shown))


FAMILY = Page(path="/family/{family:path}", template="family.html", view=family_page)
