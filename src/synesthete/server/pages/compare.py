"""`/compare?a=…&b=…&other=…`: two neurons side by side, of one atlas or of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import Query

from synesthete.report.images import Shown, exemplars
from synesthete.report.neuron import Distribution, NeuronRow, activations, distribution, neuron_row
from synesthete.report.source import find_unit
from synesthete.server.library import Site
from synesthete.server.page import Page

SHOWN = 12
Other = Annotated[
    str, Query(max_length=200, description="Name of another atlas that is served, for the second.")
]
Address = Annotated[str, Query(max_length=400, description="Address of a neuron, layer:unit.")]


@dataclass(frozen=True)
class Side:
    """One of the two."""

    neuron: NeuronRow
    exemplars: list[Shown]
    distribution: Distribution


@dataclass(frozen=True, kw_only=True)
class ComparePage:
    """Two neurons.

    Attributes
    ----------
    other, atlases
        The atlas of the second neuron (empty: of the first), and those to choose from.
    correlation
        Of their activations over the probe images; null where no matrix was kept, or the images differ.
    shared
        How many of the strongest images they have in common.
    """

    a: str
    b: str
    other: str
    atlases: list[str]
    sides: list[Side]
    correlation: float | None
    shared: int | None


def compare_page(site: Site, a: Address = "", b: Address = "", other: Other = "") -> ComparePage:
    """Two neurons side by side, of one atlas or of two, and how alike their activations are."""
    a, b, second = a.strip(), b.strip(), site.of(other.strip())
    atlases = [name for name, _ in site.others]
    if not (a and b):
        return ComparePage(
            a=a, b=b, other=other, atlases=atlases, sides=[], correlation=None, shared=None
        )
    sides, values = [], []
    for here, address in ((site, a), (second, b)):
        side, of_images = _side(here, address)
        sides.append(side)
        values.append(of_images)
    same = (
        site.atlas.manifest["probes"]["fingerprint"]
        == second.atlas.manifest["probes"]["fingerprint"]
    )
    top = [_strongest(here, address) for here, address in ((site, a), (second, b))]
    return ComparePage(
        a=a,
        b=b,
        other=other,
        atlases=atlases,
        sides=sides,
        correlation=_correlation(site, values) if same else None,
        shared=len(top[0] & top[1]) if same else None,
    )


def _side(site: Site, address: str) -> tuple[Side, np.ndarray | None]:
    columns, unit = find_unit(site, address)
    row = neuron_row(site, columns, unit)
    top = site.atlas.exemplars(columns.layer).top(unit, None, limit=SHOWN)
    shown = exemplars(site, top, columns.layer, row.concept)
    side = Side(row, shown, distribution(site, columns, unit))
    return side, activations(site, columns, unit)


def _strongest(site: Site, address: str) -> set[int]:
    columns, unit = find_unit(site, address)
    return set(site.atlas.exemplars(columns.layer).top(unit, None, limit=SHOWN).ids.tolist())


def _correlation(site: Site, values: list[np.ndarray | None]) -> float | None:
    if values[0] is None or values[1] is None:
        return None
    rows = site.opened.probes.readable & np.isfinite(values[0]) & np.isfinite(values[1])
    first, second = values[0][rows], values[1][rows]
    if not (len(first) > 1 and first.std() and second.std()):
        return None
    return float(np.corrcoef(first, second)[0, 1])


COMPARE = Page("/compare", "compare.html", compare_page, label="Compare", exported=False)
