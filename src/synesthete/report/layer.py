"""Everything known of a layer, gathered once: its counts with their controls, what to filter by, and its neurons in an order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from synesthete._core.arrays import Bool, Int64
from synesthete.report.columns import Columns, Sort, ordered
from synesthete.report.counts import Counts, Rule, layer_counts, rule_of
from synesthete.report.images import plain_visualizations
from synesthete.report.neuron import NeuronRow, neuron_rows
from synesthete.report.source import Source

NONE = "none"
Show = Literal["exemplars", "visualizations"]


@dataclass(frozen=True)
class Choice:
    """A value of a filter, and how many neurons it leaves."""

    value: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which neurons, in which order; empty means all.

    Attributes
    ----------
    family, concept
        Names; `none` for neurons without.
    profile
        The modalities that pass, joined by `+`.
    confidence
        The least of the name.
    show
        With `visualizations`, neurons that have a feature visualization show that.
    """

    family: str = ""
    profile: str = ""
    concept: str = ""
    confidence: float = 0.0
    multimodal: bool = False
    sort: Sort = "multimodality"
    show: Show = "exemplars"


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """A layer.

    Attributes
    ----------
    visualized
        How many neurons have a feature visualization that excites them.
    families, profiles
        Values of the filters with their counts among all neurons of the layer; a profile is the modalities
        that pass, joined by `+`.
    """

    layer: str
    path: str
    units: int
    visualized: int
    counts: Counts | None
    rule: Rule | None
    families: list[Choice]
    profiles: list[Choice]
    modalities: list[str]


def layer_report(source: Source, layer: str) -> LayerReport:
    """What is known of a layer as a whole.

    Raises
    ------
    Missing
        There is no such layer.
    """
    columns = source.opened.columns(layer)
    families, profiles = source.opened.computed(
        ("choices", layer), lambda: (_families(columns), _profiles(columns))
    )
    return LayerReport(
        layer=layer,
        path=source.links.layer(layer),
        units=columns.units,
        visualized=len(plain_visualizations(source, layer)),
        counts=layer_counts(source, layer),
        rule=rule_of(source.atlas),
        families=families,
        profiles=profiles,
        modalities=list(columns.modalities),
    )


def chosen(source: Source, layer: str, filters: Filters) -> Int64:
    """The units of a layer that pass the filters, in their order."""
    order = in_order(source, layer, filters.sort)
    found: Int64 = order[_kept(source.opened.columns(layer), filters)[order]]
    return found


def in_order(source: Source, layer: str, sort: Sort) -> Int64:
    """All units of a layer in an order; sorted once."""
    columns = source.opened.columns(layer)
    return source.opened.computed(
        ("order", layer, sort), lambda: ordered(columns, np.arange(columns.units), sort)
    )


def layer_neurons(
    source: Source, layer: str, units: Int64, show: Show = "exemplars"
) -> list[NeuronRow]:
    """Some of its neurons as rows of a list."""
    rows = neuron_rows(source, source.opened.columns(layer), units)
    if show == "exemplars":
        return rows
    paths = plain_visualizations(source, layer)
    return [replace(row, image=paths.get(row.unit, row.image)) for row in rows]


def _kept(columns: Columns, filters: Filters) -> Bool:
    """`[units]`: which pass the filters."""
    kept: Bool = np.ones(columns.units, bool)
    for wanted, column in ((filters.family, columns.family), (filters.concept, columns.concept)):
        if wanted:
            kept &= column.codes == 0 if wanted == NONE else column.rows(wanted)
    if filters.profile:
        names = set() if filters.profile == NONE else set(filters.profile.split("+"))
        mask = np.array([[name in names] for name in columns.modalities])
        known = names <= set(columns.modalities)
        kept &= (columns.passes == mask).all(axis=0) if known else False
    if filters.confidence:
        kept &= np.nan_to_num(columns.confidence, nan=-1.0) >= filters.confidence
    if filters.multimodal:
        kept &= columns.multimodal
    return kept


def _families(columns: Columns) -> list[Choice]:
    found = [Choice(name, count) for name, count in columns.family.counts().items()]
    without = int((columns.family.codes == 0).sum())
    return [*found, Choice(NONE, without)] if without else found


def _profiles(columns: Columns) -> list[Choice]:
    weights = 1 << np.arange(len(columns.modalities))
    values, counts = np.unique(weights @ columns.passes, return_counts=True)
    found = []
    for value, count in sorted(
        zip(values.tolist(), counts.tolist(), strict=True),
        key=lambda one: (-one[0].bit_count(), one[0]),
    ):
        names = [name for i, name in enumerate(columns.modalities) if value >> i & 1]
        found.append(Choice("+".join(names) or NONE, count))
    return found
