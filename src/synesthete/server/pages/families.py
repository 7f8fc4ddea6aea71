"""`/families` and `/family/NAME`: what kinds of things the neurons are about, and the neurons of one kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import Query

from synesthete.errors import near
from synesthete.report.columns import Part, by_multimodality, ranked
from synesthete.report.neuron import NeuronRow, rows_of
from synesthete.report.source import Missing, Near
from synesthete.server.library import Site
from synesthete.server.page import Page, PageNumber, Paging, paging

BEST, SIZE = 6, 48


@dataclass(frozen=True)
class Kind:
    """A kind within a family, how many neurons are of it, and the page's path."""

    kind: str
    neurons: int
    path: str


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """A family: how many neurons, how many of them multimodal, its best, and what kinds of things they are called after.

    Attributes
    ----------
    kinds
        Families of the probe set that the neurons' names (their concepts where they have none) are of, most first; one alone is left out.
    """

    family: str
    path: str
    neurons: int
    multimodal: int
    best: list[NeuronRow]
    kinds: list[Kind]


@dataclass(frozen=True)
class FamiliesPage:
    """Families, the largest first; `assigned` tells whether `synesthete families` has run, else they are the probe set's."""

    assigned: bool
    without: int
    families: list[FamilyRow]


def units_of_family(site: Site, family: str, kind: str = "") -> list[Part]:
    """A family's neurons, the most multimodal first; of one kind where that is given."""
    parts = []
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        units = np.flatnonzero(columns.family.rows(family))
        if kind:
            kinds = unit_kinds(site, layer)
            units = units[[kinds[unit] == kind for unit in units.tolist()]]
        parts.append(by_multimodality(columns, units))
    return parts


def unit_kinds(site: Site, layer: str) -> list[str]:
    """Of each unit the probe set's family of its name, or of its concept; "" where that has none."""

    def compute() -> list[str]:
        from synesthete.analysis.naming.name import probe_families

        known, columns = probe_families(site.atlas), site.opened.columns(layer)
        of_name, of_concept = (
            [known.get(text, "") for text in column.texts]
            for column in (columns.name, columns.concept)
        )
        codes = zip(columns.name.codes.tolist(), columns.concept.codes.tolist(), strict=True)
        return [of_name[name] if name else of_concept[concept] for name, concept in codes]

    return site.opened.computed(("kinds", layer), compute)


def _kinds_of(site: Site, family: str) -> list[Kind]:
    counts: Counter[str] = Counter()
    for layer in site.atlas.layers:
        kinds = unit_kinds(site, layer)
        rows = np.flatnonzero(site.opened.columns(layer).family.rows(family))
        counts.update(kinds[unit] for unit in rows.tolist() if kinds[unit])
    if len(counts) < 2:
        return []
    by_size = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Kind(kind, many, site.links.family(family, kind=kind)) for kind, many in by_size]


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
            kinds=_kinds_of(site, family),
        )
        families.append(row)
    return FamiliesPage("families" in site.atlas.manifest, without, families)


FAMILIES = Page(path="/families", template="families.html", view=families_page, label="Families")


@dataclass(frozen=True)
class FamilyPage:
    """Neurons of a family, or of one `kind` of it, the most multimodal first."""

    family: str
    multimodal: int
    paging: Paging
    neurons: list[NeuronRow]
    kind: str
    kinds: list[Kind]


def family_page(
    site: Site,
    family: str,
    kind: Annotated[
        str, Query(max_length=200, description="A family of the probe set within it.")
    ] = "",
    page: PageNumber = 1,
) -> FamilyPage:
    """The neurons of a family, all or of one kind: those called after something of that family of the probe set."""
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
    kinds = site.opened.computed(("kinds of", name, site.links), lambda: _kinds_of(site, name))
    if kind and kind not in {one.kind for one in kinds}:
        raise Missing(
            f"the family {name!r} has no kind {kind!r}",
            hint=near(kind, [one.kind for one in kinds]),
            near=[Near(one.kind, one.path) for one in kinds],
        )
    parts = units_of_family(site, name, kind)
    where = paging(page, sum(len(part.units) for part in parts), SIZE)
    multimodal = sum(
        int(site.opened.columns(part.layer).multimodal[part.units].sum()) for part in parts
    )
    shown = ranked(parts, max(where.first - 1, 0), where.last)
    return FamilyPage(name, multimodal, where, rows_of(site, shown), kind, kinds)


FAMILY = Page(path="/family/{family:path}", template="family.html", view=family_page)
