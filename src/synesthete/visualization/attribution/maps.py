"""How much each place of a picture counts for a unit's activation, by four methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from synesthete.errors import SynestheteError
from synesthete.models.activations import Responses, check_reduction, reduce
from synesthete.models.gradients import GradientTower
from synesthete.visualization.attribution.rollout import rollout

Float32 = npt.NDArray[np.float32]
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
    """How much each place of each picture counts for a unit's activation.

    Parameters
    ----------
    pixels
        Normalised, `[batch, 3, side, side]`.
    method
        `gradient-activation`: response times gradient at an earlier block, summed over its units (Selvaraju et al. 2017 without the
        pooling); adds up to the activation where the network between is linear and has no bias. `integrated-gradients`
        (Sundararajan et al. 2017, arXiv 1703.01365; Captum's): from the mean colour to the picture, summed over colours;
        adds up to the difference of the activations. `response`: the unit's own response map after a ReLU. `rollout`
        (Abnar & Zuidema 2020, arXiv 2005.00928): which patches the attention up to the layer carries to where the unit is strongest.
    reduction
        What the unit's activation is: `max`, `mean` or `cls`.
    points
        Of the integral.

    Returns
    -------
    `[batch, rows, columns]`: of the picture's size for `integrated-gradients`, else of the size of the map.

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
    # Zero is the mean colour once pictures are normalised.
    found = method.attribute(
        pixels, baselines=torch.zeros_like(pixels), n_steps=points,
        internal_batch_size=max(AT_ONCE, len(pixels)),
    )  # fmt: skip
    return np.asarray(found.sum(dim=1).detach().cpu().numpy(), np.float32)


def enlarged(values: Float32, side: int) -> Float32:
    """Maps `[batch, rows, columns]` at the size of the picture, for drawing."""
    given = torch.from_numpy(values)[:, None]
    grown = functional.interpolate(given, (side, side), mode="bilinear", align_corners=False)
    return np.asarray(grown[:, 0].numpy(), np.float32)
