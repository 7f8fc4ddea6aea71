"""Attention rollout: what the attention of all blocks up to a layer carries from the patches to one place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models.gradients import GradientTower


def rollout(
    tower: GradientTower, pixels: torch.Tensor, layer: str, place: torch.Tensor
) -> npt.NDArray[np.float32]:
    """How much of each patch reaches a place of a layer (Abnar & Zuidema 2020).

    Every block passes on half of what was there and half of what its attention gathers, heads averaged.

    Parameters
    ----------
    place
        `[batch]`: patch whose sources are asked for.

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
