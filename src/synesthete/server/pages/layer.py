"""`/layer/LAYER`: the grid of a layer's neurons, with filters and orders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from fastapi import Query
from pydantic import Field

from synesthete.server.columns import Columns
from synesthete.server.counts import Counts, Rule, layer_counts, rule
from synesthete.server.library import Site
from synesthete.server.made import plain_pictures
from synesthete.server.page import Page
from synesthete.server.paging import PageNumber, Paging, paging
from synesthete.server.rows import NeuronRow, neuron_rows

SIZE = 48
NONE = "none"
Sort = Literal["multimodality", "confidence", "sparseness", "maximum", "name", "unit"]
Pictures = Literal["images", "made"]
Text = Annotated[str, Query(max_length=200)]
# A form sends a field that was left empty as an empty text.
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Literal[""]


@dataclass(frozen=True)
class Choice:
    """A value of a filter, and how many neurons it leaves."""

    value: str
    count: int


@dataclass(frozen=True)
class Filters:
    """What was asked for; empty means all."""

    family: str
    profile: str
    concept: str
    confidence: float
    multimodal: bool
    sort: Sort
    pictures: Pictures


@dataclass(frozen=True)
class LayerPage:
    """Neurons of a layer.

    Attributes
    ----------
    made
        Of how many neurons there are pictures made from the model alone.
    families, profiles
        Values of the filters with their counts among all neurons of the layer; a profile is the modalities
        that pass, joined by `+`.
    """

    layer: str
    units: int
    made: int
    counts: Counts | None
    rule: Rule | None
    filters: Filters
    families: list[Choice]
    profiles: list[Choice]
    modalities: list[str]
    paging: Paging
    neurons: list[NeuronRow]


def layer_page(
    site: Site,
    layer: str,
    family: Text = "",
    profile: Text = "",
    concept: Text = "",
    confidence: Share = 0.0,
    multimodal: bool = False,
    sort: Sort = "multimodality",
    pictures: Pictures = "images",
    page: PageNumber = 1,
) -> LayerPage:
    """Neurons of a layer, filtered and sorted.

    `family` and `concept` are names (`none` for neurons without); `profile` is the modalities that pass,
    joined by `+`; `confidence` is the least of the name. With `pictures=made`, neurons of which a picture was made show that.
    """
    columns = site.opened.columns(layer)
    filters = Filters(family, profile, concept, confidence or 0.0, multimodal, sort, pictures)
    units = ordered(columns, _kept(site, columns, filters), sort)
    where = paging(page, len(units), SIZE)
    families, profiles = site.opened.computed(
        ("choices", layer), lambda: (_families(columns), _profiles(columns))
    )
    rows = neuron_rows(site, columns, units[max(where.first - 1, 0) : where.last])
    made = plain_pictures(site, columns.layer)
    if pictures == "made":
        rows = [replace(row, picture=made.get(row.unit, row.picture)) for row in rows]
    return LayerPage(
        layer=layer,
        units=columns.units,
        made=len(made),
        counts=layer_counts(site, layer),
        rule=rule(site),
        filters=filters,
        families=families,
        profiles=profiles,
        modalities=list(columns.modalities),
        paging=where,
        neurons=rows,
    )


def _kept(site: Site, columns: Columns, filters: Filters) -> npt.NDArray[np.int64]:
    kept = np.ones(columns.units, bool)
    for asked, column in ((filters.family, columns.family), (filters.concept, columns.concept)):
        if asked:
            kept &= column.codes == 0 if asked == NONE else column.rows(asked)
    if filters.profile:
        wanted = set() if filters.profile == NONE else set(filters.profile.split("+"))
        mask = np.array([[name in wanted] for name in columns.modalities])
        known = wanted <= set(columns.modalities)
        kept &= (columns.passes == mask).all(axis=0) if known else False
    if filters.confidence:
        kept &= np.nan_to_num(columns.confidence, nan=-1.0) >= filters.confidence
    if filters.multimodal:
        kept &= columns.multimodal
    found: npt.NDArray[np.int64] = np.flatnonzero(kept)
    return found


def ordered(columns: Columns, units: npt.NDArray[np.int64], sort: Sort) -> npt.NDArray[np.int64]:
    """Units in an order; what is not known comes last, ties are in the order of the units."""
    if sort == "unit":
        return units
    if sort == "name":
        texts = columns.name.texts
        order = sorted(range(len(texts)), key=lambda i: (not texts[i], texts[i].casefold()))
        rank = np.argsort(order)
        return units[np.argsort(rank[columns.name.codes[units]], kind="stable")]
    values = getattr(columns, sort)[units]
    key = np.where(np.isnan(values), np.inf, -values)
    return units[np.argsort(key, kind="stable")]


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


LAYER = Page("/layer/{layer:path}", "layer.html", layer_page)
