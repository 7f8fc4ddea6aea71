"""From a map of how much each place counts to one box around what counts most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synesthete.errors import SynestheteError

LEVEL = 0.5


@dataclass(frozen=True)
class Box:
    """A part of a picture, as shares of its sides.

    Attributes
    ----------
    left, top, width, height
        0 to 1.
    share
        How much of the positive attribution lies in it.
    """

    left: float
    top: float
    width: float
    height: float
    share: float


def box_of(values: npt.NDArray[np.floating], *, level: float = LEVEL) -> Box | None:
    """The box around the place that counts most: the connected region above a share of the maximum.

    Parameters
    ----------
    values
        `[rows, columns]`; only what is positive counts.
    level
        Share of the maximum, above 0 and at most 1.

    Returns
    -------
    None where nothing counts.

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
