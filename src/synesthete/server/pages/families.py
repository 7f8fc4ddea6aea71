"""`/families`: what kinds of things the neurons are about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.rows import NeuronRow, neuron_rows

FIRST = 6


@dataclass(frozen=True)
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


def units_of_family(site: Site, family: str) -> list[tuple[str, int]]:
    """Layer and unit of a family's neurons, the most multimodal first."""
    found: list[tuple[float, str, int]] = []
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        own = np.flatnonzero(columns.family.rows(family))
        score = np.nan_to_num(columns.multimodality[own], nan=-1.0)
        found += [(-float(s), layer, int(u)) for s, u in zip(score, own, strict=True)]
    return [(layer, unit) for _, layer, unit in sorted(found)]


def families_page(site: Site) -> FamiliesPage:
    """The families of the neurons, each with its most multimodal ones."""
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
        best = [
            neuron_rows(site, site.opened.columns(layer), [unit])[0]
            for layer, unit in units_of_family(site, family)[:FIRST]
        ]
        made.append(FamilyRow(family, site.links.family(family), neurons, multimodal, best))
    return FamiliesPage("families" in site.atlas.manifest, without, made)


FAMILIES = Page("/families", "families.html", families_page, label="Families")
