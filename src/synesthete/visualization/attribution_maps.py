"""Attribution maps: how much each place of an image contributes to a unit's activation, by four methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from synesthete._core.arrays import Float32
from synesthete.errors import SynestheteError
from synesthete.models.activations import Responses, check_reduction, reduce
from synesthete.models.gradients import GradientTower

METHODS = ("gradient-activation", "integrated-gradients", "response", "rollout")
POINTS, AT_ONCE = 32, 16


def attribution_maps(
    tower: GradientTower,
    pixels: torch.Tensor,
    layer: str,
    unit: int,
    *,
    method: str = "gradient-activation",
    reduction: str = "max",
    points: int = POINTS,
) -> Float32:
    """How much each place of each image contributes to a unit's activation.

    Parameters
    ----------
    pixels
        Normalised, `[batch, 3, side, side]`.
    method
        `gradient-activation`: response times gradient at an earlier block, summed over its units (Selvaraju et al. 2017 without the
        pooling); adds up to the activation where the network between is linear and has no bias. `integrated-gradients`
        (Sundararajan et al. 2017, arXiv 1703.01365; Captum's): from the mean colour to the image, summed over colours;
        adds up to the difference of the activations. `response`: the unit's own response map after a ReLU. `rollout`
        (Abnar & Zuidema 2020, arXiv 2005.00928): which patches the attention up to the layer carries to where the unit is strongest.
    reduction
        What the unit's activation is: `max`, `mean` or `cls`.
    points
        Of the integral.

    Returns
    -------
    `[batch, rows, columns]`: of the image's size for `integrated-gradients`, else of the size of the map.

    Raises
    ------
    SynestheteError
        No such method, layer or unit; a layer without an earlier one; rollout in a tower without attention.
    """
    if method not in METHODS:
        raise SynestheteError(f"no such method {method!r}", hint=f"expected {', '.join(METHODS)}")
    how = check_reduction(reduction)

    def activation(given: torch.Tensor) -> torch.Tensor:
        found = tower.run(given, [layer]).responses[layer]
        _check(found, layer, unit)
        return reduce(found, how, layer)[0][:, unit]

    pixels = pixels.to(tower.device)
    if method == "integrated-gradients":
        return _integrated(activation, pixels, points)
    if method == "gradient-activation":
        return _gradient_activation(tower, pixels, layer, unit, reduction)
    with torch.no_grad():
        found = tower.run(pixels, [layer]).responses[layer]
    _check(found, layer, unit)
    if method == "rollout":
        place = found.patches[..., unit].argmax(dim=1)
        return rollout(tower, pixels, layer, place)
    maps = found.patches[..., unit].relu().reshape(-1, *found.grid)
    return np.asarray(maps.cpu().numpy(), np.float32)


def _check(found: Responses, layer: str, unit: int) -> None:
    units = found.patches.shape[2]
    if not 0 <= unit < units:
        raise SynestheteError(f"{layer} has units 0 to {units - 1}, not {unit}")


def _gradient_activation(
    tower: GradientTower, pixels: torch.Tensor, layer: str, unit: int, reduction: str
) -> Float32:
    before = tower.before(layer)
    given = pixels.detach().requires_grad_()
    found = tower.run(given, [layer], at=[before])
    _check(found.responses[layer], layer, unit)
    activation = reduce(found.responses[layer], check_reduction(reduction), layer)[0][:, unit]
    raw = found.raw[before]
    (slope,) = torch.autograd.grad(activation.sum(), raw)
    arranged = tower.taps[before].arranged.responses((raw * slope).detach(), before)
    by_place = arranged.patches.sum(dim=2).reshape(-1, *arranged.grid)
    return np.asarray(by_place.cpu().numpy(), np.float32)


def _integrated(
    activation: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, points: int
) -> Float32:
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(activation)
    # Zero is the mean colour once images are normalised.
    baselines, at_once = torch.zeros_like(pixels), max(AT_ONCE, len(pixels))
    found = method.attribute(
        pixels, baselines=baselines, n_steps=points, internal_batch_size=at_once
    )
    return np.asarray(found.sum(dim=1).detach().cpu().numpy(), np.float32)


def enlarged(values: Float32, side: int) -> Float32:
    """Maps `[batch, rows, columns]` at the size of the image, for drawing."""
    given = torch.from_numpy(values)[:, None]
    grown = functional.interpolate(given, (side, side), mode="bilinear", align_corners=False)
    return np.asarray(grown[:, 0].numpy(), np.float32)


def rollout(tower: GradientTower, pixels: torch.Tensor, layer: str, place: torch.Tensor) -> Float32:
    """How much of each patch reaches a place of a layer (Abnar & Zuidema 2020).

    Every block passes on half of what was there and half of what its attention gathers, heads averaged.

    Parameters
    ----------
    place
        `[batch]`: patch whose sources are wanted.

    Returns
    -------
    `[batch, rows, columns]`, adding up to at most 1 (the class token has the rest).

    Raises
    ------
    SynestheteError
        A tower whose blocks are not open_clip's own transformer blocks.
    """
    blocks: Any = getattr(getattr(tower.visual, "transformer", None), "resblocks", None)
    tap = tower.taps[layer]
    if blocks is None or not all(isinstance(b.attn, nn.MultiheadAttention) for b in blocks):
        raise SynestheteError(
            "this tower has no attention that can be rolled out", hint="use the method response"
        )
    given: list[torch.Tensor] = []
    handles = [block.attn.register_forward_pre_hook(_keeper(given)) for block in blocks]
    try:
        with torch.no_grad():
            tower.run(pixels, [layer])
    finally:
        for handle in handles:
            handle.remove()
    first = tap.arranged.arrangement == "NLC"
    carried = None
    for block, tokens in zip(blocks, given, strict=False):
        batch_first = tokens if first else tokens.transpose(0, 1)
        weights = attention_weights(block.attn, batch_first)
        step = 0.5 * (weights + torch.eye(weights.shape[1], device=weights.device))
        carried = step if carried is None else step @ carried
    assert carried is not None
    prefix = tap.arranged.prefix
    rows = carried[torch.arange(len(place)), place + prefix]
    grid = tap.arranged.grid or (1, -1)
    return np.asarray(rows[:, prefix:].reshape(-1, *grid).cpu().numpy(), np.float32)


def attention_weights(attention: nn.MultiheadAttention, tokens: torch.Tensor) -> torch.Tensor:
    """Weights of self-attention, the mean over heads, `[batch, to, from]`.

    Parameters
    ----------
    tokens
        What the attention is given, `[batch, tokens, width]`.
    """
    assert attention.in_proj_weight is not None
    projected = nn.functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    query, key, _ = projected.chunk(3, dim=-1)
    shape = (attention.num_heads, query.shape[-1] // attention.num_heads)
    query, key = (p.reshape(*p.shape[:2], *shape).transpose(1, 2) for p in (query, key))
    score = query @ key.transpose(2, 3) / shape[1] ** 0.5
    found: torch.Tensor = score.softmax(dim=-1).mean(dim=1)
    return found


def _keeper(given: list[torch.Tensor]) -> Any:
    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        given.append(args[0])

    return keep
