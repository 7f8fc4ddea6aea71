"""`/families`: what kinds of things the neurons are about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synesthete.report.columns import Part, by_multimodality, ranked
from synesthete.report.neuron import NeuronRow, rows_of
from synesthete.server.library import Site
from synesthete.server.page import Page

FIRST = 6


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
    made = []
    for family, (neurons, multimodal) in sorted(
        counts.items(), key=lambda one: (-one[1][0], one[0])
    ):
        best = rows_of(site, ranked(units_of_family(site, family), 0, FIRST))
        made.append(
            FamilyRow(
                family=family,
                path=site.links.family(family),
                neurons=neurons,
                multimodal=multimodal,
                best=best,
            )
        )
    return FamiliesPage("families" in site.atlas.manifest, without, made)


FAMILIES = Page("/families", "families.html", families_page, label="Families")
