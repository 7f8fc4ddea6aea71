"""`/neurons`: all layers with their counts, each with its best neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synesthete.report.columns import ordered
from synesthete.report.counts import Counts, Rule, layer_counts, rule_of
from synesthete.report.neuron import NeuronRow, neuron_rows
from synesthete.server.library import Site
from synesthete.server.page import Page

FIRST = 12


@dataclass(frozen=True, kw_only=True)
class LayerPart:
    """A layer and its most multimodal neurons."""

    layer: str
    path: str
    units: int
    counts: Counts | None
    neurons: list[NeuronRow]


@dataclass(frozen=True)
class NeuronsPage:
    """Every layer that was read."""

    rule: Rule | None
    layers: list[LayerPart]


def neurons_page(site: Site) -> NeuronsPage:
    """Every layer with its counts and its most multimodal neurons."""
    parts = []
    for name in site.atlas.layers:
        columns = site.opened.columns(name)
        units = ordered(columns, np.arange(columns.units), "multimodality")[:FIRST]
        rows = neuron_rows(site, columns, units)
        parts.append(
            LayerPart(
                layer=name,
                path=site.links.layer(name),
                units=columns.units,
                counts=layer_counts(site, name),
                neurons=rows,
            )
        )
    return NeuronsPage(rule_of(site.atlas), parts)


NEURONS = Page("/neurons", "neurons.html", neurons_page, label="Neurons")
