"""`/layer/LAYER`: the grid of a layer's neurons, with filters and orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from synesthete.report.columns import Sort
from synesthete.report.layer import (
    Filters,
    LayerReport,
    Pictures,
    chosen,
    layer_neurons,
    layer_report,
)
from synesthete.report.neuron import NeuronRow
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.paging import PageNumber, Paging, paging

SIZE = 48
Text = Annotated[str, Query(max_length=200)]
# A form sends a field that was left empty as an empty text.
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Literal[""]


@dataclass(frozen=True, kw_only=True)
class LayerPage(LayerReport):
    """A layer with the neurons that were asked for."""

    filters: Filters
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
    filters = Filters(
        family=family,
        profile=profile,
        concept=concept,
        confidence=confidence or 0.0,
        multimodal=multimodal,
        sort=sort,
        pictures=pictures,
    )
    units = chosen(site, layer, filters)
    where = paging(page, len(units), SIZE)
    return LayerPage(
        **vars(layer_report(site, layer)),
        filters=filters,
        paging=where,
        neurons=layer_neurons(site, layer, units[max(where.first - 1, 0) : where.last], pictures),
    )


LAYER = Page("/layer/{layer:path}", "layer.html", layer_page)
