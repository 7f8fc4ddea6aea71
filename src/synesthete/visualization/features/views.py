"""How a picture is shown while it is made: turned, scaled and cropped a little differently at every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

LONGEST = 80


@dataclass(frozen=True)
class Robustness:
    """How far views may differ from the picture.

    Attributes
    ----------
    degrees
        Largest rotation either way.
    scale
        Largest relative change of size either way.
    shift
        Largest move of a whole view, as a share of the side.
    """

    degrees: float = 8.0
    scale: float = 0.1
    shift: float = 0.06


def draw(generator: torch.Generator, steps: int) -> torch.Tensor:
    """The chances of one picture for all steps, `[steps, 4]` evenly in -1 to 1: turn, size, right, down."""
    return torch.rand((steps, 4), generator=generator) * 2 - 1


def transforms(chance: torch.Tensor, part: float, robustness: Robustness) -> torch.Tensor:
    """Affine maps from a view's coordinates to the picture's, `[slots, 2, 3]` (-1 to 1 is the side).

    Parameters
    ----------
    chance
        `[slots, 4]` in -1 to 1.
    part
        Side of the view by the picture's; 1 for whole views. Smaller ones lie anywhere in the picture.
    robustness
        How far they may turn, scale and move.

    Examples
    --------
    >>> still = transforms(torch.zeros(1, 4), 1.0, Robustness())
    >>> torch.equal(still, torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]))
    True
    """
    angle = chance[:, 0] * (robustness.degrees * torch.pi / 180)
    size = part * (1 + robustness.scale * chance[:, 1])
    room = (1 - part) + 2 * robustness.shift
    cosine, sine = size * torch.cos(angle), size * torch.sin(angle)
    right, down = room * chance[:, 2], room * chance[:, 3]
    rows = (torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1))
    return torch.stack(rows, 1)


def look(pictures: torch.Tensor, maps: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Sample pictures, or maps of weights, `[slots, channels, height, width]`, through affine maps to a `shape`."""
    grid = functional.affine_grid(
        maps.to(pictures.dtype), [len(pictures), 1, *shape], align_corners=False
    )
    return functional.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def schedule(side: int, steps: int, share: float, *, stride: int = 32) -> list[int]:
    """Side of the view at each step, in pixels: quarters of the picture first, then all of it.

    Parameters
    ----------
    side
        Of the picture.
    steps
        How many.
    share
        Of the steps that look at quarters; 0 for a tower that takes pictures of one size only. A quarter costs a
        convolutional tower a quarter of the work. At most 80, since pictures settle only on whole views.
    stride
        Sides are multiples of this.

    Examples
    --------
    >>> schedule(128, 6, 0.5), schedule(224, 3, 0.0)
    ([64, 64, 64, 128, 128, 128], [224, 224, 224])
    >>> schedule(128, 512, 0.6).count(128)
    432
    """
    half = max(stride, round(side / 2 / stride) * stride)
    parts = min(round(steps * share), LONGEST) if half < side else 0
    return [half] * parts + [side] * (steps - parts)
