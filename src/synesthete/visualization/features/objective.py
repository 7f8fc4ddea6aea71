"""What is maximised: a target's response, and the facet's share in why it responds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.nn import functional

from synesthete.models.gradients import GradientTower
from synesthete.models.reading import Responses
from synesthete.visualization.features.views import look
from synesthete.visualization.settings import Settings


@dataclass(frozen=True)
class Aim:
    """What each picture of a batch is after.

    Attributes
    ----------
    layer
        Where the targets are; empty for the embedding.
    reduction
        `max`, `mean` or `cls`: how positions count.
    directions
        `[slots, units]`: the target as a direction among the layer's units, scaled so that real pictures give a standard
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
        Whether the directions are turned round, to make responses small.
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
    """Of each picture `[slots]`: what is maximised, and its parts."""

    total: torch.Tensor
    target: torch.Tensor
    facet: torch.Tensor


def score(
    tower: GradientTower, views: torch.Tensor, maps: torch.Tensor, aim: Aim, settings: Settings
) -> Scores:
    """The objective of Goh et al. (2021), f(g(x)) + wᵀ(g(x) ⊙ ∇f(g(x))).

    `g` is the response at the facets' layer, `f` the target's response given it, `w` a probe that tells a facet's
    pictures from others. In the released code the gradient is cut off below zero and held; as published it is neither,
    and is differentiated through.

    Parameters
    ----------
    views
        `[slots, 3, height, width]`, values 0 to 1.
    maps
        `[slots, 2, 3]`: where in their pictures the views lie, so that the probe's weights are of the same places.
    """
    faceted = bool(aim.probe_layer) and bool((aim.strength > 0).any())
    at = (aim.probe_layer,) if faceted else ()
    half = torch.autocast(views.device.type, dtype=torch.bfloat16)
    with half if settings.precision == "bf16" else nullcontext():
        layers = (aim.layer,) if aim.layer else ()
        found = tower.run(tower.normalised(views), layers, at=at, embed=not aim.layer)
    if found.embedding is not None:
        target = (found.embedding.float() * aim.directions).sum(1)
    else:
        target = _response(found.responses[aim.layer], aim, settings.focus)
    if not faceted:
        return Scores(target, target, torch.zeros_like(target))
    raw = found.raw[aim.probe_layer]
    published = settings.variant == "published"
    (slope,) = torch.autograd.grad(target.sum(), raw, create_graph=published)
    if not published:
        # Everything the target depends on passes through `raw`, where its slope is known now: the way from there to the
        # target need not be gone back a second time.
        target = _with_slope(target, raw, slope)
        slope = slope.relu()
    arranged = tower.taps[aim.probe_layer].arranged.responses(raw * slope, aim.probe_layer)
    rows, columns = arranged.grid
    weights = (
        look(aim.probes[aim.facet.clamp(min=0)], maps, (rows, columns)).flatten(2).transpose(1, 2)
    )
    share = (arranged.patches.float() * weights).sum((1, 2))
    facet = torch.where(aim.facet >= 0, share, torch.zeros_like(share))
    return Scores(target + aim.strength * facet, target, facet)


def _with_slope(value: torch.Tensor, raw: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """`value` `[slots]`, as a function of `raw` alone that has this slope there."""
    linear = (raw * slope).float().flatten(1).sum(1)
    return linear + (value - linear).detach()


def _response(responses: Responses, aim: Aim, focus: float) -> torch.Tensor:
    if aim.reduction == "cls" and responses.cls is not None:
        found: torch.Tensor = (responses.cls.float() * aim.directions).sum(1)
        return found
    by_place = torch.einsum("npu,nu->np", responses.patches.float(), aim.directions)
    if aim.reduction == "mean":
        return by_place.mean(1)
    # The strongest positions count most: they make the maximum, whether that is to be raised or to be lowered.
    share = torch.softmax((-focus if aim.least else focus) * by_place.detach(), dim=1)
    return (share * by_place).sum(1)


def penalty(pictures: torch.Tensor, groups: Sequence[str], settings: Settings) -> torch.Tensor:
    """What regularisers take away from each picture, `[slots]`.

    Parameters
    ----------
    pictures
        `[slots, 3, side, side]`, values 0 to 1.
    groups
        Pictures of the same group shall differ.
    """
    lost = pictures.new_zeros(len(pictures))
    if settings.total_variation:
        across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean((1, 2, 3))
        down = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean((1, 2, 3))
        lost = lost + settings.total_variation * (across + down)
    if settings.grey:
        lost = lost + settings.grey * ((pictures - 0.5) ** 2).mean((1, 2, 3))
    if settings.diversity and len(set(groups)) < len(groups):
        same = torch.tensor([[a == b for b in groups] for a in groups], device=pictures.device)
        same = same & ~torch.eye(len(groups), dtype=torch.bool, device=pictures.device)
        small = functional.avg_pool2d(pictures, 4).flatten(1)
        directions = functional.normalize(small - small.mean(1, keepdim=True), dim=1)
        lost = lost + settings.diversity * ((directions @ directions.T) * same).sum(1)
    return lost
