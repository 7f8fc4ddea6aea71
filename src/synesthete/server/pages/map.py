"""`/map`: all neurons of a layer on a plane, near each other where they answer to the same images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from fastapi import Query
from markupsafe import Markup

from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.render import json_data


@dataclass(frozen=True, kw_only=True)
class Points:
    """The neurons on the map as columns, a place in each for every neuron: a layer may have 100,000.

    Attributes
    ----------
    unit
        Its unit.
    x, y
        Where it lies.
    heading, family
        Which of `texts` is its heading (its tested name or its concept), and which of `families` it is of.
    multimodal
        The places of multimodal neurons.
    texts, families
        Each text once; the first family is "", for none.
    """

    unit: list[int]
    x: list[float]
    y: list[float]
    heading: list[int]
    family: list[int]
    multimodal: list[int]
    texts: list[str]
    families: list[str]

    @cached_property
    def data(self) -> Markup:
        """As JSON inside a page."""
        return json_data(vars(self))


@dataclass(frozen=True)
class MapPage:
    """A layer's neurons; no points where no layout was computed."""

    layer: str
    layers: list[str]
    points: Points


def map_page(
    site: Site, layer: Annotated[str, Query(max_length=300, description="A layer.")] = ""
) -> MapPage:
    """All neurons of a layer on a plane (`synesthete map` computes where)."""
    name = layer or site.atlas.layers[0]
    site.opened.columns(name)
    points = site.opened.computed(("map", name), lambda: _points(site, name))
    return MapPage(name, site.atlas.layers, points)


def _points(site: Site, layer: str) -> Points:
    table = site.atlas.unit_table(layer, "layout")
    if table is None:
        return Points(
            unit=[], x=[], y=[], heading=[], family=[], multimodal=[], texts=[], families=[""]
        )
    columns, unit = site.opened.columns(layer), table["unit"].to_numpy()
    x, y = (np.round(table[axis].to_numpy(), 2).tolist() for axis in ("x", "y"))
    return Points(
        unit=unit.tolist(),
        x=x,
        y=y,
        heading=columns.heading.codes[unit].tolist(),
        family=columns.family.codes[unit].tolist(),
        multimodal=np.flatnonzero(columns.multimodal[unit]).tolist(),
        texts=list(columns.heading.texts),
        families=list(columns.family.texts),
    )


MAP = Page(path="/map", template="map.html", view=map_page, label="Map")
