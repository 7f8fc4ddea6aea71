"""Pictures as Fourier spectra in decorrelated colours: whole spectra, or phases alone."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from synesthete.errors import SynestheteError
from synesthete.visualization.features.natural import Natural

Kind = Literal["spectrum", "phase"]
START = 0.01
# Of a sigmoid: natural pictures keep away from pure black and white by about so much.
CONTRAST = 0.25


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
    """

    def __init__(
        self, side: int, natural: Natural, kind: Kind, decay: float, device: torch.device
    ) -> None:
        self.side, self.kind = side, kind
        self._colour = torch.as_tensor(natural.colour, device=device)
        self._centre = torch.as_tensor(natural.centre, device=device)[:, None, None]
        rows = torch.fft.fftfreq(side, device=device)[:, None]
        columns = torch.fft.rfftfreq(side, device=device)[None]
        frequency = torch.sqrt(rows**2 + columns**2).clamp(min=1 / side)
        self._scale = side * frequency**-decay * CONTRAST
        self._magnitude = torch.as_tensor(natural.magnitude, device=device)
        self.shape = (3, side, side // 2 + 1) + ((2,) if kind == "spectrum" else ())

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """The numbers of one new picture: faint noise, or random phases."""
        if self.kind == "phase":
            return torch.rand(self.shape, generator=generator) * (2 * torch.pi)
        return torch.randn(self.shape, generator=generator) * START

    def pictures(self, numbers: torch.Tensor) -> torch.Tensor:
        """`[slots, 3, side, side]`, values 0 to 1."""
        if self.kind == "phase":
            spectrum = torch.polar(self._magnitude.expand_as(numbers), numbers)
        else:
            spectrum = torch.view_as_complex(numbers) * self._scale
        plain = torch.fft.irfft2(spectrum, s=(self.side, self.side))
        coloured = torch.einsum("nchw,dc->ndhw", plain, self._colour)
        return torch.sigmoid(coloured + self._centre)
