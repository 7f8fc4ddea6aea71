"""`/image/ID`: one image of the probe set: what it is, whose it is, and the neurons that it excites most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synesthete.report.images import Shown, images
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.server.errors import Missing
from synesthete.server.library import Site
from synesthete.server.own_images import can_show
from synesthete.server.page import Page

FIRED = 24


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
        Whether the image itself is at hand, so that the model can be asked why it takes it for what it does.
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
        excited=_excited(site, number),
        can_explain=can_show(site.atlas),
    )


def _excited(site: Site, number: int) -> list[Excited] | None:
    if not (site.atlas.manifest["dense"] and site.atlas.analysed):
        return None
    found: list[tuple[float, str, int, float]] = []
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        values = np.asarray(site.atlas.activations(layer)[number], np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (values - columns.mean) / columns.std
        z[~np.isfinite(z) | columns.dead] = -np.inf
        for unit in np.argsort(-z, kind="stable")[:FIRED]:
            if z[unit] > 0:
                found.append((-float(z[unit]), layer, int(unit), float(values[unit])))
    return [
        Excited(neuron_row(site, site.opened.columns(layer), unit), value, -z)
        for z, layer, unit, value in sorted(found)[:FIRED]
    ]


IMAGE = Page("/image/{key}", "image.html", image_page, exported=False)
