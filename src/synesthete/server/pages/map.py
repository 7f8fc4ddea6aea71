"""`/map`: all neurons of a layer on a plane, near each other where they answer to the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query

from synesthete.server.library import Site
from synesthete.server.page import Page


@dataclass(frozen=True)
class Point:
    """A neuron on the map: where, what it is called, its family, whether it is multimodal, its page and picture."""

    x: float
    y: float
    address: str
    called: str
    family: str
    multimodal: bool
    path: str
    picture: str


@dataclass(frozen=True)
class MapPage:
    """A layer's neurons; no points where no layout was computed."""

    layer: str
    layers: list[str]
    points: list[Point]
    families: list[str]

    @property
    def drawn(self) -> dict[str, list[Any]]:
        """The points as columns with every text once, for the page: a third of the bytes."""
        texts = {
            text: place for place, text in enumerate(dict.fromkeys(p.called for p in self.points))
        }
        families = {text: place for place, text in enumerate(self.families)}
        return {
            "x": [round(p.x, 2) for p in self.points],
            "y": [round(p.y, 2) for p in self.points],
            "unit": [int(p.address.rpartition(":")[2]) for p in self.points],
            "called": [texts[p.called] for p in self.points],
            "family": [families.get(p.family, -1) for p in self.points],
            "multimodal": [place for place, p in enumerate(self.points) if p.multimodal],
            "texts": list(texts),
            "families": self.families,
        }


def map_page(
    site: Site, layer: Annotated[str, Query(max_length=300, description="A layer.")] = ""
) -> MapPage:
    """All neurons of a layer on a plane (`synesthete map` computes where)."""
    name = layer or site.atlas.layers[0]
    columns = site.opened.columns(name)
    table = site.atlas.unit_table(name, "layout")
    points = []
    for row in table.to_pylist() if table is not None else ():
        unit = row["unit"]
        address = columns.address(unit)
        points.append(
            Point(
                row["x"], row["y"], address, columns.called(unit), columns.family[unit],
                bool(columns.multimodal[unit]), site.links.neuron(address), site.links.mosaic(address),
            )
        )  # fmt: skip
    families = [name for name in columns.family.counts() if name]
    return MapPage(name, site.atlas.layers, points, families)


MAP = Page("/map", "map.html", map_page, label="Map")
