"""`/image/ID` and `/licences`: one image of the probe set, whose images they are, and images as WebP files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from synesthete.analysis.provenance import can_show
from synesthete.report.images import Shown, WebP, images, strongest, visualization_rows
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.report.source import Missing, find_unit
from synesthete.server.library import Site
from synesthete.server.page import Page, PageNumber, Paging, image_routes, paging

EXCITED, SIZE = 24, 120
LISTED = 2_000  # of a static site: without their images


@dataclass(frozen=True)
class Excited:
    """A neuron, its activation for the image, and that in standard deviations from its mean."""

    neuron: NeuronRow
    activation: float
    z: float


@dataclass(frozen=True, kw_only=True)
class ImagePage:
    """An image.

    Attributes
    ----------
    family, author, source, licence
        Of the image; empty where the probe set does not say.
    excited
        The neurons furthest above their mean; null where the atlas keeps no activation of single images.
    can_explain
        Whether the image itself is available, so that the model's answer for it can be explained.
    """

    image: Shown
    family: str
    author: str
    source: str
    licence: str
    concept_path: str | None
    excited: list[Excited] | None
    can_explain: bool


def image_page(site: Site, key: str) -> ImagePage:
    """One image by its opaque id: origin and licence, and the neurons that it excites most."""
    number = site.opened.ids.number(key)
    probes = site.opened.probes
    if number is None or not probes.readable[number]:
        raise Missing("there is no such image", hint="images are reached from neurons and concepts")
    row = probes.rows([number])[0]
    shown = images(site, [number])[0]
    return ImagePage(
        image=shown,
        family=row.get("family") or "",
        author=row.get("author") or "",
        source=row.get("source") or "",
        licence=row.get("licence") or "",
        concept_path=site.links.concept(shown.concept) if shown.concept else None,
        excited=excited(site, number),
        can_explain=can_show(site.atlas),
    )


def excited(site: Site, number: int, limit: int = EXCITED) -> list[Excited] | None:
    """The neurons furthest above their mean for an image, in standard deviations; None where no activation of single images is kept."""
    if not (site.atlas.manifest["dense"] and site.atlas.analysed):
        return None
    found: list[tuple[float, str, int, float]] = []
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        values = np.asarray(site.atlas.activations(layer)[number], np.float64)
        z = columns.z_scores(values)
        for unit in np.argsort(-z, kind="stable")[:limit]:
            if z[unit] > 0:
                found.append((-float(z[unit]), layer, int(unit), float(values[unit])))
    return [
        Excited(neuron_row(site, site.opened.columns(layer), unit), value, -z)
        for z, layer, unit, value in sorted(found)[:limit]
    ]


@dataclass(frozen=True)
class Credits:
    """Images of one artist and licence."""

    licence: str
    modality: str
    artist: str
    images: int


@dataclass(frozen=True)
class Credit:
    """One image, its author, source and licence."""

    image: Shown
    author: str
    source: str
    licence: str


@dataclass(frozen=True)
class LicencesPage:
    """All sources, and image by image."""

    sources: list[Credits]
    paging: Paging
    credits: list[Credit]


def licences_page(site: Site, page: PageNumber = 1) -> LicencesPage:
    """Source, licence and author of every probe image."""
    probes = site.opened.probes
    readable = [int(i) for i in probes.readable.nonzero()[0]]
    sources = site.opened.computed("sources", lambda: _sources(site, readable))
    where = paging(page, len(readable), SIZE if site.links.live else LISTED)
    rows = readable[max(where.first - 1, 0) : where.last]
    facts = probes.rows(rows)
    credits = [
        Credit(shown, row.get("author") or "", row.get("source") or "", row.get("licence") or "")
        for shown, row in zip(images(site, rows), facts, strict=True)
    ]
    return LicencesPage(sources, where, credits)


def _sources(site: Site, rows: list[int]) -> list[Credits]:
    table = site.opened.probes.table.take(rows)
    keys = ["licence", "modality", "artist"]
    grouped = table.group_by(keys).aggregate([([], "count_all")]).to_pylist()
    sources = [
        Credits(
            licence=row["licence"] or "",
            modality=row["modality"] or "",
            artist=row["artist"] or "",
            images=int(row["count_all"]),
        )
        for row in grouped
    ]
    return sorted(sources, key=lambda one: (one.modality, -one.images, one.artist, one.licence))


def tile(site: Site, key: str) -> WebP:
    """The thumbnail of an image (WebP), by its opaque id."""
    number = site.opened.ids.number(key)
    if number is None or not site.opened.probes.readable[number]:
        raise Missing("there is no such image")
    return site.opened.thumbnails.tile(number)


def mosaic(site: Site, address: str) -> WebP:
    """A neuron's strongest image of what it is called in each modality (WebP); of all images where it is called nothing."""
    return site.opened.thumbnails.mosaic(in_mosaic(site, address))


def in_mosaic(site: Site, address: str) -> list[int | None]:
    """The images of a neuron's mosaic, one a modality."""
    columns, unit = find_unit(site, address)
    kept = site.atlas.exemplars(columns.layer)
    chosen: list[int | None] = []
    for name in columns.modalities:
        own = strongest(site, columns, unit, name)
        if own is None and not columns.heading[unit] and name in kept.groups:
            own = next((int(i) for i in kept.top(unit, name).ids.tolist()), None)
        chosen.append(own)
    return chosen


def visualization(site: Site, address: str, name: str) -> WebP:
    """A feature visualization of a neuron (WebP), by its facet."""
    columns, unit = find_unit(site, address)
    for row in visualization_rows(site, columns.layer).get(unit, []):
        if PurePosixPath(row.file).stem == name and (site.atlas.path / row.file).exists():
            return WebP(site.atlas.visualization(row), f'"{row.sha256[:24]}"')
    raise Missing(f"{address} has no visualization {name!r}")


IMAGE = Page(path="/image/{key}", template="image.html", view=image_page, exported=False)
LICENCES = Page(path="/licences", template="licences.html", view=licences_page)
router = image_routes(
    ("/image/{key}.webp", tile, "thumbnail"),
    ("/neuron/{address:path}.webp", mosaic, "mosaic"),
    ("/visualization/{address:path}/{name}.webp", visualization, "visualization"),
)
