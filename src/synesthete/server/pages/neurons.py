"""`/neurons`: all layers with their counts, each with its best neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synesthete.server.counts import Counts, Rule, layer_counts, rule
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.pages.layer import ordered
from synesthete.server.rows import NeuronRow, neuron_rows

FIRST = 12


@dataclass(frozen=True)
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
            LayerPart(name, site.links.layer(name), columns.units, layer_counts(site, name), rows)
        )
    return NeuronsPage(rule(site), parts)


NEURONS = Page("/neurons", "neurons.html", neurons_page, label="Neurons")
