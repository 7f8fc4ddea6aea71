"""`/map`: all neurons of a layer on a plane, near each other where they answer to the same images."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from fastapi import Query
from markupsafe import Markup

from synesthete._core.arrays import Float64, Int64
from synesthete.analysis.regions import Region, label_regions
from synesthete.report.columns import Columns
from synesthete.report.images import File
from synesthete.report.source import Missing
from synesthete.server.library import Site
from synesthete.server.page import Page, file_routes
from synesthete.server.pages.families import unit_kinds

STEPS = 65_535  # of a place along each side, from the lowest to the highest
DRAWN = 20_000  # dots that a page without script draws, at most
VERDICTS = ("concept cell", "multimodal", "selective", "none", "untested")
COLOURS = 10  # families with a colour of their own; as many as `static/map.js` has
SIZE, MARGIN = 1_000, 24
Layer = Annotated[str, Query(max_length=300, description="A layer.")]


@dataclass(frozen=True, kw_only=True)
class Points:
    """The neurons on the map as columns, a place in each for every neuron: a layer may have 100,000.

    Attributes
    ----------
    unit
        Its unit.
    x, y
        Where it lies, from 0 to 65,535.
    heading, family, kind
        Which of `texts` is its heading (its tested name or its concept), and which of `families` and `kinds` it is of.
    verdict
        Which of `verdicts`.
    modality
        Of `modalities` the one that it passes in with the highest average precision, counted from 1; 0 for none.
    texts, families, kinds, verdicts, modalities
        Each text once; the first text, family and kind are "", for none. Families come by size, and so do kinds: what the
        probe set's families say that a neuron's name is.
    """

    unit: list[int]
    x: list[int]
    y: list[int]
    heading: list[int]
    family: list[int]
    kind: list[int]
    verdict: list[int]
    modality: list[int]
    texts: list[str]
    families: list[str]
    kinds: list[str]
    verdicts: list[str]
    modalities: list[str]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The map as SVG without script: a path for each colour, of dots as lines of no length."""

    size: int
    paths: list[tuple[str, str]]
    dots: int


@dataclass(frozen=True)
class MapPage:
    """A layer's neurons; no points where no layout was computed.

    Attributes
    ----------
    regions
        Where neurons that have something in common crowd together; places as those of the points.
    silent
        Neurons of the layer that are left out, since their activation is the same for all images.
    """

    layer: str
    layers: list[str]
    points: Points
    regions: list[Region]
    silent: int

    @property
    def dots(self) -> int:
        """How many neurons there are."""
        return len(self.points.unit)

    @cached_property
    def bytes(self) -> bytes:
        """The points as `GET /map.bin` gives them: the length of a JSON header, the header, and the columns.

        Little-endian; the header (texts and regions) is filled with spaces so that the columns begin at a multiple of four:
        `unit` and `heading` uint32, `x`, `y`, `family` and `kind` uint16, `verdict` and `modality` uint8.
        """
        points = self.points
        header = {
            key: getattr(points, key)
            for key in ("texts", "families", "kinds", "verdicts", "modalities")
        }
        text = json.dumps(
            {**header, "count": self.dots, "regions": [asdict(one) for one in self.regions]},
            ensure_ascii=False,
        ).encode()
        text += b" " * (-len(text) % 4)
        columns = [
            np.asarray(getattr(points, name), kind).tobytes()
            for kind, names in (
                ("<u4", ("unit", "heading")),
                ("<u2", ("x", "y", "family", "kind")),
                ("u1", ("verdict", "modality")),
            )
            for name in names
        ]
        return b"".join([struct.pack("<I", len(text)), text, *columns])

    @cached_property
    def file(self) -> File:
        """The bytes as a file."""
        return File.of(self.bytes)

    @cached_property
    def base64(self) -> Markup:
        """The bytes, inside a page that has no server."""
        import base64

        return Markup(base64.b64encode(self.bytes).decode())

    @cached_property
    def drawing(self) -> Drawing:
        """For a browser without script."""
        points, step = self.points, max(1, -(-self.dots // DRAWN))
        x, y = (
            np.round(MARGIN + np.asarray(axis[::step]) * ((SIZE - 2 * MARGIN) / STEPS), 1)
            for axis in (points.x, points.y)
        )
        family = np.minimum(np.asarray(points.family[::step]), COLOURS + 1)
        ringed = np.asarray(points.verdict[::step]) < VERDICTS.index("selective")
        kinds = [("ring", ringed), ("gap", ringed)]
        for code in np.unique(family)[::-1].tolist():
            name = "none" if code in (0, COLOURS + 1) else str(code - 1)
            kinds.append((name, family == code))
        paths = [
            (name, "".join(f"M{x[i]:g} {y[i]:g}h0" for i in np.flatnonzero(own).tolist()))
            for name, own in kinds
        ]
        return Drawing(size=SIZE, paths=paths, dots=len(x))

    @property
    def kinds(self) -> bool:
        """Whether kinds say more than families do, which without `synesthete families` are the same."""
        return len(self.points.kinds) > 1 and self.points.kinds != self.points.families

    @property
    def labels(self) -> list[str]:
        """What the regions of the whole map are labelled, the surest first."""
        return list(dict.fromkeys(one.text for one in self.regions if not one.level))


def map_page(site: Site, layer: Layer = "") -> MapPage:
    """All neurons of a layer on a plane (`synesthete map` computes where)."""
    name = layer or site.atlas.layers[0]
    site.opened.columns(name)
    return site.opened.computed(("map", name), lambda: _map(site, name))


def map_file(site: Site, layer: Layer = "") -> File:
    """The neurons of a layer's map as binary columns (docs/microscope.md has the format)."""
    found = map_page(site, layer)
    if not found.dots:
        raise Missing(f"where the neurons of {found.layer} lie was not computed yet")
    return found.file


def _map(site: Site, layer: str) -> MapPage:
    table = site.atlas.unit_table(layer, "layout")
    columns = site.opened.columns(layer)
    if table is None:
        unit, x, y = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    else:
        unit, x, y = (table[name].to_numpy() for name in ("unit", "x", "y"))
    x, y = _along(x), _along(y)
    sizes = columns.family.counts()
    families = ["", *sizes]
    place = np.asarray(
        [families.index(text) if text in sizes else 0 for text in columns.family.texts]
    )
    verdicts = np.asarray(
        [VERDICTS.index(text) if text in VERDICTS else 4 for text in columns.verdict.texts]
    )
    of_units = unit_kinds(site, layer)
    counts = Counter(of_units[one] for one in unit.tolist() if of_units[one])
    kinds = ["", *sorted(counts, key=lambda one: (-counts[one], one))]
    kind_code = {kind: code for code, kind in enumerate(kinds)}
    points = Points(
        unit=unit.tolist(),
        x=x.astype(int).tolist(),
        y=y.astype(int).tolist(),
        heading=columns.heading.codes[unit].tolist(),
        family=place[columns.family.codes[unit]].tolist(),
        kind=[kind_code[of_units[one]] for one in unit.tolist()],
        verdict=verdicts[columns.verdict.codes[unit]].tolist(),
        modality=_modality(columns)[unit].tolist(),
        texts=list(columns.heading.texts),
        families=families,
        kinds=kinds,
        verdicts=list(VERDICTS),
        modalities=list(columns.modalities),
    )
    regions = label_regions(x, y, _groups(site, columns, unit))
    return MapPage(layer, site.atlas.layers, points, regions, columns.units - len(unit))


def _along(values: Float64) -> Float64:
    """Places from 0 to `STEPS`; all in the middle where they do not differ."""
    if not len(values):
        return values
    low, high = float(values.min()), float(values.max())
    return (
        np.round((values - low) / (high - low) * STEPS)
        if high > low
        else np.full(len(values), STEPS // 2)
    )


def _modality(columns: Columns) -> Int64:
    """`[units]`: the modality that each passes in with the highest average precision, counted from 1; 0 for none."""
    precision = np.where(columns.passes, np.nan_to_num(columns.ap, nan=-1.0), -1.0)
    return np.where(columns.passes.any(axis=0), precision.argmax(axis=0) + 1, 0)


def _groups(site: Site, columns: Columns, unit: Int64) -> Iterator[tuple[str, list[int]]]:
    """What neurons may have in common: a family, a heading, and what their concepts are kinds of in WordNet; each text once."""
    from synesthete.analysis.naming.hypernyms import hypernyms
    from synesthete.analysis.naming.name import probe_families

    groups: dict[str, set[int]] = {}
    for column in (columns.family, columns.heading):
        for dot, code in enumerate(column.codes[unit].tolist()):
            if code:
                groups.setdefault(column.texts[code], set()).add(dot)
    concepts = site.atlas.concepts
    # Only of units that answer to their concept: of others it is a best match and says little.
    good = np.asarray(columns.passes.any(axis=0))[unit]
    of = columns.concept.codes[unit]
    for concept, above in zip(
        concepts, hypernyms(concepts, probe_families(site.atlas)), strict=True
    ):
        code = columns.concept.code(concept)
        dots = np.flatnonzero((of == code) & good).tolist() if code and above else []
        for one in above if dots else ():
            groups.setdefault(one.name, set()).update(dots)
    for text, members in groups.items():
        yield text, sorted(members)


MAP = Page(path="/map", template="map.html", view=map_page, label="Map")
router = file_routes(("/map.bin", map_file, "map points"), media_type="application/octet-stream")
