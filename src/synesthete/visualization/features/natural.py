"""What natural pictures are like: their colours and the magnitudes of their spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete.errors import SynestheteError

Float32 = npt.NDArray[np.float32]
EDGE = 0.02


@dataclass(frozen=True)
class Natural:
    """Statistics of pictures, on the scale before the sigmoid.

    Attributes
    ----------
    colour
        `[3, 3]`: from independent channels to red, green and blue; the largest column has length 1.
    centre
        `[3]`: the mean picture's colour.
    magnitude
        `[3, side, side / 2 + 1]`: mean magnitudes of the Fourier coefficients of the independent channels.
    """

    colour: Float32
    centre: Float32
    magnitude: Float32


def natural_statistics(pictures: Sequence[Image.Image], side: int) -> Natural:
    """Measure pictures, all scaled to `side` pixels square.

    The colour matrix is the root of the covariance of the colours (Olah et al. 2017, "colour decorrelation").

    Raises
    ------
    SynestheteError
        No picture at all.

    Examples
    --------
    >>> grey = [Image.new("RGB", (8, 8), (v, v, v)) for v in (60, 120, 200)]
    >>> natural_statistics(grey, 8).magnitude.shape
    (3, 8, 5)
    """
    if not pictures:
        raise SynestheteError("no pictures to learn colours from")
    values = np.stack([_logits(picture, side) for picture in pictures])
    centre = values.mean(axis=(0, 2, 3))
    moved = values - centre[:, None, None]
    flat = moved.transpose(1, 0, 2, 3).reshape(3, -1)
    left, size, _ = np.linalg.svd(flat @ flat.T / flat.shape[1] + 1e-6 * np.eye(3))
    # Signs of singular vectors are arbitrary: fixed, so that the same pictures give the same numbers.
    left = left * np.where(left.sum(axis=0) < 0, -1.0, 1.0)
    colour = left * np.sqrt(size)
    colour = colour / np.linalg.norm(colour, axis=0).max()
    channels = np.einsum("dc,ndhw->nchw", np.linalg.inv(colour).T, moved)
    # The window keeps the picture's edges from becoming a bright cross in its spectrum.
    window = np.hanning(side + 2)[1:-1]
    spectrum = np.fft.rfft2(channels * window[:, None] * window[None] * np.sqrt(64 / 9))
    magnitude = np.abs(spectrum).mean(axis=0)
    return Natural(*(part.astype(np.float32) for part in (colour, centre, magnitude)))


def _logits(picture: Image.Image, side: int) -> npt.NDArray[np.float64]:
    small = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    values = np.asarray(small, np.float64).transpose(2, 0, 1) / 255
    values = np.clip(values, EDGE, 1 - EDGE)
    return np.asarray(np.log(values / (1 - values)))
