"""`/family/NAME`: the neurons of a family."""

from __future__ import annotations

from dataclasses import dataclass

from synesthete.errors import near
from synesthete.report.columns import ranked
from synesthete.report.neuron import NeuronRow, rows_of
from synesthete.server.errors import Missing, Near
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.pages.families import units_of_family
from synesthete.server.paging import PageNumber, Paging, paging

SIZE = 48


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


FAMILY = Page("/family/{family:path}", "family.html", family_page)
