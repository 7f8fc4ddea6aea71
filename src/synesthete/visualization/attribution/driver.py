"""`attribute`: where in its strongest images, or in one's own, a unit of an atlas finds what it answers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from synesthete.analysis.provenance import own_model, own_probes
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError
from synesthete.models.gradients import GradientTower
from synesthete.visualization.attribution.boxes import Box, box_of
from synesthete.visualization.attribution.maps import attribution_maps, enlarged

REGION = (224, 83, 47)


@dataclass(frozen=True)
class Attributed:
    """Where in one picture.

    Attributes
    ----------
    image
        Its id in the atlas; -1 for one's own.
    activation
        The unit's, on the unmodified model.
    box
        Around what counts most; None where nothing counts.
    values
        The map, `[rows, columns]`.
    picture
        What the model sees.
    """

    image: int
    activation: float
    box: Box | None
    values: npt.NDArray[np.float32]
    picture: Image.Image


def attribute(
    atlas: Atlas,
    address: str,
    *,
    pictures: Sequence[Image.Image] | None = None,
    limit: int = 8,
    method: str = "gradient-activation",
    probes: str | Path | None = None,
) -> list[Attributed]:
    """Where in pictures a unit finds what it answers to.

    Parameters
    ----------
    pictures
        Of one's own; without them the unit's strongest images.
    limit
        At most so many of those.
    method
        One of `METHODS`.
    probes
        Where the atlas's probe set is, when its name does not say it.

    Raises
    ------
    SynestheteError
        No such unit or method, no pictures, or another model than the atlas's.
    """
    layer, unit = atlas.locate(address)
    model = own_model(atlas)
    reduction = str(atlas.manifest["reduction"])
    if pictures is None:
        found = atlas.exemplars(layer).top(unit, limit=limit)
        known = own_probes(atlas, probes)
        ids = [int(image) for image in found.ids]
        pictures = [known.image(image) for image in ids]
    else:
        ids = [-1] * len(pictures)
    if not pictures:
        raise SynestheteError(f"there are no pictures to show {address}")
    pixels = torch.stack([model.preprocess(picture) for picture in pictures])
    activations = model.read(pixels, [layer], reduction).activations[layer][:, unit]
    maps = attribution_maps(
        GradientTower(model), pixels, layer, unit, method=method, reduction=reduction
    )
    return [
        Attributed(image, float(value), box_of(values), values, model.geometry(picture))
        for image, value, values, picture in zip(ids, activations, maps, pictures, strict=True)
    ]


def drawn(found: Sequence[Attributed]) -> Image.Image:
    """Pictures side by side: what the model sees, what counts kept bright, and the box."""
    side = found[0].picture.width
    sheet = Image.new("RGB", (len(found) * (side + 4) - 4, side), "white")
    for place, one in enumerate(found):
        grown = enlarged(one.values[None].clip(min=0), side)[0]
        bright = 0.25 + 0.75 * grown / max(float(grown.max()), 1e-12)
        shown = np.asarray(one.picture, np.float32) * bright[..., None]
        picture = Image.fromarray(shown.clip(0, 255).astype(np.uint8))
        if one.box is not None:
            left, top = one.box.left * side, one.box.top * side
            right, bottom = left + one.box.width * side, top + one.box.height * side
            ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), outline=REGION)
        sheet.paste(picture, (place * (side + 4), 0))
    return sheet
