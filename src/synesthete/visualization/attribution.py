"""Attribution of a unit's activation to places in its strongest images, or in your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from synesthete._core.arrays import Float32, Floating
from synesthete.analysis.design import image_layer
from synesthete.analysis.provenance import own_model, own_probes
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError
from synesthete.models.gradients import GradientTower
from synesthete.visualization.attribution_maps import attribution_maps, enlarged

REGION = (224, 83, 47)
LEVEL = 0.5


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of an image, as shares of its sides.

    Attributes
    ----------
    left, top, width, height
        0 to 1.
    share
        How much of the positive attribution is in it.
    """

    left: float
    top: float
    width: float
    height: float
    share: float


def box_of(values: Floating, *, level: float = LEVEL) -> Box | None:
    """The box around the place of highest attribution: the connected region above a share of the maximum.

    Parameters
    ----------
    values
        `[rows, columns]`; negative attribution does not count.
    level
        Share of the maximum, above 0 and at most 1.

    Returns
    -------
    None where no attribution is positive.

    Raises
    ------
    SynestheteError
        A level outside that.

    Examples
    --------
    >>> values = np.zeros((4, 8)); values[1:3, 2:4] = 1.0; values[0, 7] = 0.6
    >>> box_of(values)
    Box(left=0.25, top=0.25, width=0.25, height=0.5, share=0.869...)
    """
    if not 0 < level <= 1:
        raise SynestheteError(f"the level of a box is above 0 and at most 1, not {level}")
    positive = np.where(np.isfinite(values), values, 0.0).clip(min=0)
    top = positive.max(initial=0.0)
    if top <= 0:
        return None
    regions, _ = ndimage.label(positive >= level * top)
    mine = regions == regions.flat[int(positive.argmax())]
    rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
    height, width = positive.shape
    inside = positive[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].sum()
    return Box(
        left=float(columns[0] / width),
        top=float(rows[0] / height),
        width=float((columns[-1] + 1 - columns[0]) / width),
        height=float((rows[-1] + 1 - rows[0]) / height),
        share=float(inside / positive.sum()),
    )


@dataclass(frozen=True, kw_only=True)
class Attributed:
    """What an activation is attributed to in one image.

    Attributes
    ----------
    number
        Its number in the atlas; -1 for an image of your own.
    activation
        The unit's, on the unmodified model.
    box
        Around the place of highest attribution; None where nothing has a positive one.
    values
        The map, `[rows, columns]`.
    image
        What the model sees.
    """

    number: int
    activation: float
    box: Box | None
    values: Float32
    image: Image.Image


def attribute(
    atlas: Atlas,
    address: str,
    *,
    images: Sequence[Image.Image] | None = None,
    limit: int = 8,
    method: str = "gradient-activation",
    probes: str | Path | None = None,
) -> list[Attributed]:
    """Attribute a unit's activation to places in images.

    Parameters
    ----------
    images
        Images of your own; without them the unit's strongest images.
    limit
        At most so many of those.
    method
        One of `METHODS`.
    probes
        Where the atlas's probe set is, when its name is not enough.

    Raises
    ------
    SynestheteError
        No such unit or method, no images, or another model than the atlas's.
    """
    layer, unit = atlas.locate(address)
    layer = image_layer(atlas, layer)
    model = own_model(atlas)
    reduction = str(atlas.manifest["reduction"])
    if images is None:
        found = atlas.exemplars(layer).top(unit, limit=limit)
        known = own_probes(atlas, probes)
        ids = [int(number) for number in found.ids]
        images = [known.image(number) for number in ids]
    else:
        ids = [-1] * len(images)
    if not images:
        raise SynestheteError(f"there are no images to show {address}")
    pixels = torch.stack([model.preprocess(image) for image in images])
    activations = model.read(pixels, [layer], reduction).activations[layer][:, unit]
    maps = attribution_maps(
        GradientTower(model), pixels, layer, unit, method=method, reduction=reduction
    )
    return [
        Attributed(
            number=number,
            activation=float(value),
            box=box_of(values),
            values=values,
            image=model.geometry(image),
        )
        for number, value, values, image in zip(ids, activations, maps, images, strict=True)
    ]


def drawn(found: Sequence[Attributed]) -> Image.Image:
    """Images side by side, as the model sees them: places of high attribution kept bright, and the box."""
    side = found[0].image.width
    sheet = Image.new("RGB", (len(found) * (side + 4) - 4, side), "white")
    for place, item in enumerate(found):
        grown = enlarged(item.values[None].clip(min=0), side)[0]
        bright = 0.25 + 0.75 * grown / max(float(grown.max()), 1e-12)
        shown = np.asarray(item.image, np.float32) * bright[..., None]
        image = Image.fromarray(shown.clip(0, 255).astype(np.uint8))
        if item.box is not None:
            left, top = item.box.left * side, item.box.top * side
            right, bottom = left + item.box.width * side, top + item.box.height * side
            ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=REGION)
        sheet.paste(image, (place * (side + 4), 0))
    return sheet
