"""`/neurons`, `/layer/LAYER`, `/neuron/ADDRESS`: all layers with their best neurons, the grid of a layer, one neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from synesthete.report.card import card_page, draw
from synesthete.report.columns import Sort
from synesthete.report.counts import Counts, Rule, layer_counts, rule_of
from synesthete.report.images import File
from synesthete.report.layer import (
    Filters,
    LayerReport,
    Show,
    chosen,
    in_order,
    layer_neurons,
    layer_report,
)
from synesthete.report.neuron import NeuronReport, NeuronRow, neuron_report, neuron_rows
from synesthete.report.source import find_unit
from synesthete.server.jobs import Job
from synesthete.server.library import Site
from synesthete.server.page import Moved, Page, PageNumber, Paging, Post, file_routes, paging
from synesthete.server.pages.on_demand import Kind, compute, offers, with_texts

BEST, SIZE = 12, 48
Text = Annotated[str, Query(max_length=200)]
# A form sends a field that was left empty as an empty text.
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Literal[""]


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
        units = in_order(site, name, "multimodality")[:BEST]
        rows = neuron_rows(site, columns, units)
        part = LayerPart(
            layer=name,
            path=site.links.layer(name),
            units=columns.units,
            counts=layer_counts(site, name),
            neurons=rows,
        )
        parts.append(part)
    return NeuronsPage(rule_of(site.atlas), parts)


NEURONS = Page(path="/neurons", template="neurons.html", view=neurons_page, label="Neurons")


@dataclass(frozen=True, kw_only=True)
class LayerPage(LayerReport):
    """A layer with the neurons that pass the filters."""

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
    show: Show = "exemplars",
    page: PageNumber = 1,
) -> LayerPage:
    """Neurons of a layer, filtered and sorted.

    `family` and `concept` are names (`none` for neurons without); `profile` is the modalities that pass,
    joined by `+`; `confidence` is the least of the name. With
    `show=visualizations`, neurons that have a feature visualization show that.
    """
    filters = Filters(
        family=family,
        profile=profile,
        concept=concept,
        confidence=confidence or 0.0,
        multimodal=multimodal,
        sort=sort,
        show=show,
    )
    units = chosen(site, layer, filters)
    where = paging(page, len(units), SIZE)
    return LayerPage(
        **vars(layer_report(site, layer)),
        filters=filters,
        paging=where,
        neurons=layer_neurons(site, layer, units[max(where.first - 1, 0) : where.last], show),
    )


LAYER = Page(path="/layer/{layer:path}", template="layer.html", view=layer_page)


@dataclass(frozen=True, kw_only=True)
class NeuronPage(NeuronReport):
    """A neuron.

    Attributes
    ----------
    on_demand
        What is missing of it and can be computed here, and how far that is.
    with_texts
        The command that records an atlas which says what reads the same in texts; empty where this one has texts, or the model reads none.
    """

    on_demand: dict[Kind, Job]
    with_texts: str

    @property
    def awaited(self) -> bool:
        """Whether something is being computed for it."""
        return any(job.active for job in self.on_demand.values())


def neuron_page(site: Site, address: str) -> NeuronPage:
    """One neuron: name, multimodality by modality, images at every level, what is like it, the controls."""
    report = neuron_report(site, address)
    if report.neuron.address != address:
        raise Moved(site.links.neuron(report.neuron.address))
    return NeuronPage(
        **vars(report),
        on_demand=offers(site, *find_unit(site, address)),
        with_texts=with_texts(site, report.layer),
    )


NEURON = Page(
    path="/neuron/{address:path}",
    template="neuron.html",
    view=neuron_page,
    post=Post(
        submit=compute,
        name="compute",
        status=202,
        redirect=lambda site, started: site.links.neuron(started.address),
        path="/compute",  # not its own, behind which images lie, too
    ),
)


def card(site: Site, address: str) -> File:
    """A neuron's card: one HTML file that loads nothing, to save, send or embed (`synesthete show` writes the same)."""
    report = neuron_report(site, address, towers=False)
    page = card_page(report, draw(report, site.atlas.thumbnail)).encode()
    return File.of(page)


# Saved and not shown: its style stands in the file, which the policy of the pages does not let run here.
router = file_routes(
    ("/neuron/{address:path}.card.html", card, "card"),
    media_type="text/html",
    headers={"Content-Disposition": "attachment"},
)
