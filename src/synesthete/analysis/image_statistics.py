"""Simple statistics of the probe images, and activations without what those explain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float64, Floating, Int64
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import is_constant
from synesthete.atlas import Atlas
from synesthete.atlas.thumbnails import whole

STATISTICS = (
    "ink",
    "area",
    "edges",
    "red",
    "green",
    "blue",
    "contrast",
    "saturation",
    "centre x",
    "centre y",
    "spread x",
    "spread y",
)
# Pixels of a thumbnail, each way, that are taken together: a tenth of the processor time.
REDUCED = 3
# A pixel belongs to the object when it differs by as much from the border's colour, of 1.
DIFFERENT = 0.15
# Times the number of images: what depends on other statistics gets no weight instead of any.
RIDGE = 1e-6


def image_statistics(atlas: Atlas, rows: Int64) -> Float64 | None:
    """`STATISTICS` of images, from their thumbnails: what the model saw of them, scaled to 32 × 32 pixels.

    Ink is the mean difference of a pixel from the border's median colour, area the share of pixels that differ clearly; edges are the
    mean gradient of luminance, contrast its standard deviation; centre and spread (mean and standard deviation of the place) are those
    of the ink.

    Parameters
    ----------
    rows
        Image numbers, `[images]`.

    Returns
    -------
    array `[images, 12]`, or None where not every image has a thumbnail (more than 50,000 images)
    """
    if atlas.manifest["thumbnails"]["scope"] != "all":
        return None
    found = np.empty((len(rows), len(STATISTICS)))
    positions = [atlas.thumbnail_position(int(image)) for image in rows]
    names = np.array([position.sprite for position in positions])
    for name in dict.fromkeys(names.tolist()):
        places = np.flatnonzero(names == name)
        sheet = np.asarray(whole(atlas.sprite(name), name).reduce(REDUCED), np.float32) / 255
        tiles = []
        for place in places:
            one = positions[place]
            left, top, size = (length // REDUCED for length in (one.left, one.top, one.size))
            tiles.append(sheet[top : top + size, left : left + size])
        found[places] = statistics_of(np.stack(tiles))
    return found


def statistics_of(images: npt.NDArray[np.float32]) -> Float64:
    """`STATISTICS` of square RGB images `[images, side, side, 3]` from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.ones((1, 10, 10, 3), np.float32)
    >>> image[0, 2:4, 6:8] = 0
    >>> dict(zip(STATISTICS, statistics_of(image)[0].round(2).tolist()))["centre x"]  # of 0 to 1
    0.7
    """
    side = images.shape[1]
    border = np.concatenate(
        [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1
    )
    ink = np.abs(images - np.median(border, axis=1)[:, None, None]).max(axis=3)
    grey = images @ np.array([0.299, 0.587, 0.114], np.float32)
    down, right = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    # An empty image has its ink in the middle, and everywhere.
    weight = ink.astype(np.float64) + 1e-9
    total = weight.sum(axis=(1, 2))
    at = (np.arange(side) + 0.5) / side
    places = []
    for along in (weight.sum(axis=1), weight.sum(axis=2)):
        centre = along @ at / total
        spread = np.sqrt(np.maximum(along @ at**2 / total - centre**2, 0.0))
        places.append((centre, spread))
    (x, spread_x), (y, spread_y) = places
    columns = [
        ink.mean(axis=(1, 2)),
        (ink > DIFFERENT).mean(axis=(1, 2)),
        np.hypot(down, right).mean(axis=(1, 2)),
        *images.mean(axis=(1, 2)).T,
        grey.std(axis=(1, 2)),
        (images.max(axis=3) - images.min(axis=3)).mean(axis=(1, 2)),
        *(x, y, spread_x, spread_y),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def without_statistics(
    activations: Floating, statistics: Float64, design: Design
) -> npt.NDArray[np.float16]:
    """Activations less what the image statistics explain of them within each modality, by linear regression over its images.

    Parameters
    ----------
    activations
        `[images, units]`.
    statistics
        `[images, statistics]`.

    Returns
    -------
    array `[images, units]`
        Residuals, in standard deviations of the unit; 0 for a unit that is constant in a modality, NaN where the activation is.
    """
    values = np.asarray(activations, np.float32)
    missing = np.isnan(values)
    values = np.where(missing, 0.0, values)
    dead = is_constant(activations)
    values /= np.where(dead, 1.0, values.std(axis=0))
    found = np.zeros(values.shape, np.float16)
    for modality in range(len(design.modalities)):
        rows = design.images(modality)
        known = statistics[rows]
        spread = known.std(axis=0)
        known = (known - known.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        y = values[rows]
        constant = is_constant(y) | dead
        y -= y.mean(axis=0)
        square = known.T @ known + RIDGE * len(rows) * np.eye(known.shape[1])
        weights = np.linalg.solve(square, known.T @ y).astype(np.float32)
        y -= known.astype(np.float32) @ weights
        y[:, constant] = 0.0
        found[rows] = np.clip(y, -65504, 65504)
    found[missing] = np.nan
    return found
