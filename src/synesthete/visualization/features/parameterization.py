"""Pictures as Fourier spectra in decorrelated colours: whole spectra, or phases alone."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from synesthete.errors import SynestheteError
from synesthete.visualization.features.natural import Natural

Kind = Literal["spectrum", "phase"]
START = 0.01
# How far one unit of the numbers moves a picture.
REACH = 0.25


def check_kind(kind: str) -> Kind:
    """Return `kind`, or say which ones there are."""
    for known in get_args(Kind):
        if kind == known:
            return known  # type: ignore[no-any-return]
    raise SynestheteError(f"no such parameterisation {kind!r}", hint="expected spectrum or phase")


class Spectra:
    """Some pictures as numbers that an optimiser moves.

    With `spectrum`, a picture is the inverse Fourier transform of free coefficients, scaled by 1/f so that a step moves
    all wavelengths alike (Olah et al. 2017, "preconditioning"); with `phase`, the magnitudes are those of natural
    pictures and only the phases are free (Fel et al. 2023, MACO, arXiv 2306.06805). Either way the
    channels are decorrelated colours.

    Parameters
    ----------
    side
        Of the square pictures, in pixels.
    natural
        Colours and magnitudes of natural pictures.
    kind
        `spectrum` or `phase`.
    decay
        Exponent of the fall of `spectrum` with frequency.
    device
        Where.
    contrast
        How far each channel of a `spectrum` may differ from the mean colour: this times as far as natural pictures do. Without a
        bound an optimiser makes everything black or white, since nothing else holds it back; 0 is without.
    """

    def __init__(
        self,
        side: int,
        natural: Natural,
        kind: Kind,
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
        """The numbers of one new picture: faint noise, or random phases."""
        if self.kind == "phase":
            return torch.rand(self.shape, generator=generator) * (2 * torch.pi)
        return torch.randn(self.shape, generator=generator) * START

    def pictures(self, numbers: torch.Tensor) -> torch.Tensor:
        """`[slots, 3, side, side]`, values 0 to 1."""
        channels = self.channels(numbers)
        return self.coloured(channels, self.share(channels))

    def channels(self, numbers: torch.Tensor) -> torch.Tensor:
        """Independent channels `[slots, 3, side, side]`, before they are held within their contrast and become colours."""
        if self.kind == "phase":
            spectrum = torch.polar(self._magnitude.expand_as(numbers), numbers)
        else:
            spectrum = torch.view_as_complex(numbers * self._scale)
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
        """Colours, 0 to 1, of channels `[slots, 3, height, width]`, of whole pictures or of views of them."""
        mixed = share[..., None] * self._colour
        by_place = channels.flatten(2).transpose(1, 2) @ mixed + self._centre
        # Colours lie beside each other in memory, as convolutions like them.
        return torch.sigmoid(by_place).transpose(1, 2).reshape(channels.shape)


def _size(magnitude: npt.NDArray[np.float32], side: int) -> float:
    """Root mean square of natural pictures' independent channels, from the magnitudes of their half spectra."""
    power = magnitude.astype(np.float64) ** 2
    once = power[..., 0].sum() + (power[..., -1].sum() if side % 2 == 0 else 0.0)
    # All other coefficients stand for their mirror images too (Parseval).
    return float(np.sqrt((2 * power.sum() - once) / len(magnitude))) / side**2
