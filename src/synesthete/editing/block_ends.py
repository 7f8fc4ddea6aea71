"""Whether a block of another library ends in its last linear layer or norm, or in the sum of that and the stream: tried with noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from synesthete.models.hooks import Tap


def takes_at_end(network: nn.Module, site: Tap, run: Callable[[], object]) -> bool:
    """Whether a block gives what is added to three units of its `writer`, up and down, and a double where it is all that it gives.

    A bias then takes an edit exactly. Not where anything stands between: a non-linearity, a layer scale, a sum made in place.

    Parameters
    ----------
    network
        The network, whose modules `site.writer` names.
    site
        The block.
    run
        A forward pass that calls the block; it is given noise on top of what that gives it.
    """
    writer, found = network.get_submodule(site.writer), list[bool]()

    def before(block: nn.Module, args: Any, kwargs: Any) -> None:
        if not found:
            found.append(False)  # and the passes within do not try again
            found[0] = _takes(block, args, kwargs, writer, whole=site.whole)

    hook = site.window.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with torch.no_grad():
            run()
    finally:
        hook.remove()
    return any(found)


def _takes(block: nn.Module, args: Any, kwargs: Any, writer: nn.Module, *, whole: bool) -> bool:
    axis = 1 if isinstance(writer, nn.BatchNorm2d) else -1
    chance = torch.Generator().manual_seed(0)
    tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
    given = next((one for one in tensors if one.is_floating_point()), None)
    if given is None:
        return False
    noisy = given + torch.randn(given.shape, generator=chance).to(given)

    def passed(change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor | None:
        def own(one: Any) -> Any:  # since blocks write into what they are given
            same = noisy if one is given else one
            return same.clone() if isinstance(same, torch.Tensor) else same

        hook = writer.register_forward_hook(lambda module, given, gave: change(gave))
        try:
            gave = block(*map(own, args), **{key: own(one) for key, one in kwargs.items()})
        finally:
            hook.remove()
        first = gave[0] if isinstance(gave, tuple) and gave else gave
        return first if isinstance(first, torch.Tensor) else None

    plain = passed(torch.clone)
    units = next(writer.parameters()).shape[0]
    if plain is None or units < 3 or plain.shape[axis] != units or not plain.isfinite().all():
        return False
    amount = 4.0 * (1.0 + float(plain.abs().max()))

    def moved(values: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        rows = values.movedim(axis, 0)  # a view
        rows[0] += amount
        rows[1] -= amount
        if whole:
            rows[2] *= 2.0
        return values

    found = passed(moved)
    assert found is not None
    return torch.allclose(found, moved(plain), rtol=0.0, atol=1e-4 * amount)
