"""Parameterisation: images as Fourier spectra (whole, or phases alone) in decorrelated colours, after statistics of natural images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from synesthete._core.arrays import Float32, Float64
from synesthete.errors import SynestheteError

START = 0.01
REACH = 0.25  # how far one unit of a parameter moves an image


class Spectra:
    """A batch of images as parameters of an optimiser.

    With `spectrum`, an image is the inverse Fourier transform of free coefficients, scaled by 1/f so that a step moves
    all wavelengths alike (Olah et al. 2017, "preconditioning"); with `phase`, the magnitudes are those of natural
    images and only the phases are free (Fel et al. 2023, MACO, arXiv 2306.06805). Either way the
    channels are decorrelated colours.

    Parameters
    ----------
    side
        Of the square images, in pixels.
    natural
        Colours and magnitudes of natural images.
    kind
        `spectrum` or `phase`.
    decay
        Exponent of the fall of `spectrum` with frequency.
    device
        Where.
    contrast
        How far each channel of a `spectrum` may differ from the mean colour: this times as far as natural images do. Without a
        bound (0) an optimiser makes everything black or white.
    """

    def __init__(
        self,
        side: int,
        natural: Natural,
        kind: str,
        decay: float,
        device: torch.device,
        contrast: float = 0.0,
    ) -> None:
        self.side, self.kind = side, kind
        self._colour = torch.as_tensor(natural.colour.T.copy(), device=device)
        self._centre = torch.as_tensor(natural.centre, device=device)
        rows = torch.fft.fftfreq(side, device=device)[:, None]
        columns = torch.fft.rfftfreq(side, device=device)[None]
        frequency = torch.sqrt(rows**2 + columns**2).clamp(min=1 / side)
        scale = side * frequency**-decay * REACH
        self._scale = scale[..., None].repeat(1, 1, 2)  # Of real and imaginary parts.
        self._magnitude = torch.as_tensor(natural.magnitude, device=device)
        self._most = contrast * _size(natural.magnitude, side) if kind == "spectrum" else 0.0
        self.shape = (3, side, side // 2 + 1) + ((2,) if kind == "spectrum" else ())

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """Initial parameters of one image: faint noise, or random phases."""
        if self.kind == "phase":
            return torch.rand(self.shape, generator=generator) * (2 * torch.pi)
        return torch.randn(self.shape, generator=generator) * START

    def images(self, parameters: torch.Tensor) -> torch.Tensor:
        """`[slots, 3, side, side]`, values 0 to 1."""
        channels = self.channels(parameters)
        return self.coloured(channels, self.share(channels))

    def channels(self, parameters: torch.Tensor) -> torch.Tensor:
        """Independent channels `[slots, 3, side, side]`, before their contrast is bounded and they become colours."""
        if self.kind == "phase":
            spectrum = torch.polar(self._magnitude.expand_as(parameters), parameters)
        else:
            spectrum = torch.view_as_complex(parameters * self._scale)
        found: torch.Tensor = torch.fft.irfft2(spectrum, s=(self.side, self.side))
        return found

    def share(self, channels: torch.Tensor) -> torch.Tensor:
        """What each channel is multiplied by to stay within the contrast, `[slots, 3]`: nearly 1 for a faint one."""
        if not self._most:
            return channels.new_ones(channels.shape[:2])
        size = torch.linalg.vector_norm(channels, dim=(2, 3)) / (self.side * self._most)
        found: torch.Tensor = (1 + size.square()).rsqrt()
        return found

    def coloured(self, channels: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Colours, 0 to 1, of channels `[slots, 3, height, width]`, of whole images or of views of them."""
        mixed = share[..., None] * self._colour
        by_place = channels.flatten(2).transpose(1, 2) @ mixed + self._centre
        # Colours lie beside each other in memory, as convolutions like them.
        return torch.sigmoid(by_place).transpose(1, 2).reshape(channels.shape)


def _size(magnitude: Float32, side: int) -> float:
    """Root mean square of natural images' independent channels, from the magnitudes of their half spectra."""
    power = magnitude.astype(np.float64) ** 2
    once = power[..., 0].sum() + (power[..., -1].sum() if side % 2 == 0 else 0.0)
    # All other coefficients stand for their mirror images too (Parseval).
    return float(np.sqrt((2 * power.sum() - once) / len(magnitude))) / side**2


EDGE = 0.02


@dataclass(frozen=True)
class Natural:
    """Statistics of images, on the scale before the sigmoid.

    Attributes
    ----------
    colour
        `[3, 3]`: from independent channels to red, green and blue; the largest column has length 1.
    centre
        `[3]`: the mean image's colour.
    magnitude
        `[3, side, side / 2 + 1]`: mean magnitudes of the Fourier coefficients of the independent channels.
    """

    colour: Float32
    centre: Float32
    magnitude: Float32


def natural_statistics(images: Sequence[Image.Image], side: int) -> Natural:
    """Measure images, all scaled to `side` pixels square.

    The colour matrix is the root of the covariance of the colours (Olah et al. 2017, "colour decorrelation").

    Raises
    ------
    SynestheteError
        No image at all.

    Examples
    --------
    >>> grey = [Image.new("RGB", (8, 8), (v, v, v)) for v in (60, 120, 200)]
    >>> natural_statistics(grey, 8).magnitude.shape
    (3, 8, 5)
    """
    if not images:
        raise SynestheteError("no images to estimate colours from")
    values = np.stack([_logits(image, side) for image in images])
    centre = values.mean(axis=(0, 2, 3))
    moved = values - centre[:, None, None]
    flat = moved.transpose(1, 0, 2, 3).reshape(3, -1)
    left, size, _ = np.linalg.svd(flat @ flat.T / flat.shape[1] + 1e-6 * np.eye(3))
    # Signs of singular vectors are arbitrary: fixed, so that the same images give the same numbers.
    left = left * np.where(left.sum(axis=0) < 0, -1.0, 1.0)
    colour = left * np.sqrt(size)
    colour = colour / np.linalg.norm(colour, axis=0).max()
    channels = np.einsum("dc,ndhw->nchw", np.linalg.inv(colour).T, moved)
    # The window keeps the image's edges from becoming a bright cross in its spectrum.
    window = np.hanning(side + 2)[1:-1]
    spectrum = np.fft.rfft2(channels * window[:, None] * window[None] * np.sqrt(64 / 9))
    magnitude = np.abs(spectrum).mean(axis=0)
    return Natural(*(part.astype(np.float32) for part in (colour, centre, magnitude)))


def _logits(image: Image.Image, side: int) -> Float64:
    small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    values = np.asarray(small, np.float64).transpose(2, 0, 1) / 255
    values = np.clip(values, EDGE, 1 - EDGE)
    return np.asarray(np.log(values / (1 - values)))
