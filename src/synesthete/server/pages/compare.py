"""`/compare?a=…&b=…`: two neurons side by side, of one atlas or of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import Query

from synesthete.server.distribution import Distribution, column, distribution
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.rows import NeuronRow, Shown, exemplars, neuron_row
from synesthete.server.units import find_unit

SHOWN = 12
Address = Annotated[str, Query(max_length=400, description="Address of a neuron, layer:unit.")]


@dataclass(frozen=True)
class Side:
    """One of the two."""

    neuron: NeuronRow
    exemplars: list[Shown]
    distribution: Distribution


@dataclass(frozen=True)
class ComparePage:
    """Two neurons.

    Attributes
    ----------
    correlation
        Of their activations over the probe images; null where no matrix was kept.
    shared
        How many of the strongest images they have in common.
    """

    a: str
    b: str
    sides: list[Side]
    correlation: float | None
    shared: int | None


def compare_page(site: Site, a: Address = "", b: Address = "") -> ComparePage:
    """Two neurons side by side, and how alike their activations are."""
    a, b = a.strip(), b.strip()
    if not (a and b):
        return ComparePage(a, b, [], None, None)
    sides, values = [], []
    for address in (a, b):
        columns, unit = find_unit(site, address)
        row, neuron = neuron_row(site, columns, unit), columns.neuron(unit)
        kept, entry = site.atlas.exemplars(columns.layer), site.atlas.layer(columns.layer)
        grid = (int(entry["grid"][0]), int(entry["grid"][1])) if entry.get("grid") else None
        activations = column(site, neuron)
        top = kept.top(unit, None, limit=SHOWN)
        sides.append(
            Side(
                row,
                exemplars(site, top, row.concept, grid),
                distribution(site, neuron, activations),
            )
        )
        values.append(activations)
    shared = len({one.id for one in sides[0].exemplars} & {one.id for one in sides[1].exemplars})
    return ComparePage(a, b, sides, _correlation(site, values), shared)


def _correlation(site: Site, values: list[np.ndarray | None]) -> float | None:
    if values[0] is None or values[1] is None:
        return None
    rows = site.opened.probes.readable & np.isfinite(values[0]) & np.isfinite(values[1])
    first, second = values[0][rows], values[1][rows]
    if not (len(first) > 1 and first.std() and second.std()):
        return None
    return float(np.corrcoef(first, second)[0, 1])


COMPARE = Page("/compare", "compare.html", compare_page, exported=False)
