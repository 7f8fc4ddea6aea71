"""The objective: a target's response to randomly transformed views of an image, steered towards a facet, less regularisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.nn import functional

from synesthete.models.activations import Responses
from synesthete.models.gradients import GradientTower
from synesthete.visualization.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What each image of a batch maximises.

    Attributes
    ----------
    layer
        Where the targets are; empty for the embedding.
    reduction
        `max`, `mean` or `cls`: how positions count.
    directions
        `[slots, units]`: the target as a direction among the layer's units, scaled so that real images give a standard
        deviation of 1; negative to be minimised.
    probe_layer
        Where the facets' probes are; empty when there are none.
    probes
        `[facets, units, rows, columns]`: weights of the probes.
    facet
        `[slots]`: which probe, -1 for none.
    strength
        `[slots]`.
    least
        Whether directions are negated, to minimise responses.
    """

    layer: str
    reduction: str
    directions: torch.Tensor
    probe_layer: str
    probes: torch.Tensor
    facet: torch.Tensor
    strength: torch.Tensor
    least: bool = False


@dataclass(frozen=True)
class Scores:
    """Of each image `[slots]`: what is maximised, and its parts."""

    total: torch.Tensor
    target: torch.Tensor
    facet: torch.Tensor


def score(
    tower: GradientTower,
    views: torch.Tensor,
    maps: torch.Tensor,
    objective: Objective,
    settings: Settings,
) -> Scores:
    """The objective of Goh et al. (2021), f(g(x)) + wᵀ(g(x) ⊙ ∇f(g(x))).

    `g` is the response at the facets' layer, `f` the target's response given it, `w` a probe that tells a facet's
    images from others. In the released code the gradient is cut off below zero and held; as published it is neither,
    and is differentiated through.

    Parameters
    ----------
    views
        `[slots, 3, height, width]`, values 0 to 1.
    maps
        `[slots, 2, 3]`: where in their images the views lie, so that the probe's weights are of the same places.
    """
    faceted = bool(objective.probe_layer) and bool((objective.strength > 0).any())
    at = (objective.probe_layer,) if faceted else ()
    half = torch.autocast(views.device.type, dtype=torch.bfloat16)
    with half if settings.precision == "bf16" else nullcontext():
        layers = (objective.layer,) if objective.layer else ()
        found = tower.run(tower.normalised(views), layers, at=at, embed=not objective.layer)
    if found.embedding is not None:
        target = (found.embedding.float() * objective.directions).sum(1)
    else:
        target = _response(found.responses[objective.layer], objective, settings.focus)
    if not faceted:
        return Scores(target, target, torch.zeros_like(target))
    raw = found.raw[objective.probe_layer]
    published = settings.variant == "published"
    (slope,) = torch.autograd.grad(target.sum(), raw, create_graph=published)
    if not published:
        # Everything the target depends on passes through `raw`, where its slope is known now: the way from there to the
        # target need not be gone back a second time.
        target = _with_slope(target, raw, slope)
        slope = slope.relu()
    arranged = tower.taps[objective.probe_layer].arranged.responses(
        raw * slope, objective.probe_layer
    )
    rows, columns = arranged.grid
    weights = (
        look(objective.probes[objective.facet.clamp(min=0)], maps, (rows, columns))
        .flatten(2)
        .transpose(1, 2)
    )
    share = (arranged.patches.float() * weights).sum((1, 2))
    facet = torch.where(objective.facet >= 0, share, torch.zeros_like(share))
    return Scores(target + objective.strength * facet, target, facet)


def _with_slope(value: torch.Tensor, raw: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """`value` `[slots]`, as a function of `raw` alone that has this slope there."""
    linear = (raw * slope).float().flatten(1).sum(1)
    return linear + (value - linear).detach()


def _response(responses: Responses, objective: Objective, focus: float) -> torch.Tensor:
    if objective.reduction == "cls" and responses.cls is not None:
        found: torch.Tensor = (responses.cls.float() * objective.directions).sum(1)
        return found
    by_place = torch.einsum("npu,nu->np", responses.patches.float(), objective.directions)
    if objective.reduction == "mean":
        return by_place.mean(1)
    # The strongest positions count most: they make the maximum, whether that is to be raised or to be lowered.
    share = torch.softmax((-focus if objective.least else focus) * by_place.detach(), dim=1)
    return (share * by_place).sum(1)


def penalty(images: torch.Tensor, groups: Sequence[str], settings: Settings) -> torch.Tensor:
    """What regularisers subtract from each image's score, `[slots]`.

    Parameters
    ----------
    images
        `[slots, 3, side, side]`, values 0 to 1.
    groups
        Images of the same group are pushed apart.
    """
    lost = images.new_zeros(len(images))
    if settings.total_variation:
        across = (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))
        down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean((1, 2, 3))
        lost = lost + settings.total_variation * (across + down)
    if settings.grey:
        lost = lost + settings.grey * ((images - 0.5) ** 2).mean((1, 2, 3))
    if settings.diversity and len(set(groups)) < len(groups):
        same = torch.tensor([[a == b for b in groups] for a in groups], device=images.device)
        same = same & ~torch.eye(len(groups), dtype=torch.bool, device=images.device)
        small = functional.avg_pool2d(images, 4).flatten(1)
        directions = functional.normalize(small - small.mean(1, keepdim=True), dim=1)
        lost = lost + settings.diversity * ((directions @ directions.T) * same).sum(1)
    return lost


def octaves(side: int, size: int) -> int:
    """How many times an image is twice as large as a model's resolution.

    Examples
    --------
    >>> octaves(128, 0), octaves(128, 256), octaves(224, 512)
    (0, 1, 1)
    """
    return max(0, round(math.log2(size / side))) if size else 0


MOST_PARTS = 80  # steps that look at parts


@dataclass(frozen=True)
class Robustness:
    """How far views may differ from the image.

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
    """Random numbers of one image for all steps, `[steps, 4]` uniform in -1 to 1: rotation, scale, right, down."""
    return torch.rand((steps, 4), generator=generator) * 2 - 1


def transforms(draws: torch.Tensor, part: float, robustness: Robustness) -> torch.Tensor:
    """Affine maps from a view's coordinates to the image's, `[slots, 2, 3]` (-1 to 1 is the side).

    Parameters
    ----------
    draws
        `[slots, 4]` in -1 to 1.
    part
        Side of the view by the image's; 1 for whole views. Smaller ones lie anywhere in the image.
    robustness
        Largest rotation, scale and shift.

    Examples
    --------
    >>> still = transforms(torch.zeros(1, 4), 1.0, Robustness())
    >>> torch.equal(still, torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]))
    True
    """
    angle = draws[:, 0] * (robustness.degrees * torch.pi / 180)
    size = part * (1 + robustness.scale * draws[:, 1])
    room = (1 - part) + 2 * robustness.shift
    cosine, sine = size * torch.cos(angle), size * torch.sin(angle)
    right, down = room * draws[:, 2], room * draws[:, 3]
    rows = (torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1))
    return torch.stack(rows, 1)


def look(images: torch.Tensor, maps: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Sample images, or maps of weights, `[slots, channels, height, width]`, through affine maps to a `shape`."""
    grid = functional.affine_grid(
        maps.to(images.dtype), [len(images), 1, *shape], align_corners=False
    )
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def schedule(side: int, steps: int, share: float, *, stride: int = 32) -> list[int]:
    """Side of the view at each step, in pixels: quarters of the image first, then all of it.

    Parameters
    ----------
    side
        Of the image.
    steps
        How many.
    share
        Of the steps that look at quarters; 0 for a tower that takes images of one size only. A quarter costs a
        convolutional tower a quarter of the work. At most 80, since early stopping looks at whole views only.
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
    parts = min(round(steps * share), MOST_PARTS) if half < side else 0
    return [half] * parts + [side] * (steps - parts)
