"""Attention heads: what each of them hands to the output projection, and how to change it while a model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle

from synesthete.errors import SynestheteError


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The heads of one attention layer.

    Attributes
    ----------
    layer
        Name of the attention module; a head is a unit of it, `layer:head`.
    attention
        The module: torch's own, or one of timm whose output projection is a module that is called.
    count, width
        How many heads, and how many values of each the output projection reads.
    projection
        Name of the output projection within the module.
    """

    layer: str
    attention: nn.Module
    count: int
    width: int
    projection: str

    def install(
        self, rewrite: Callable[[torch.Tensor], torch.Tensor], handles: list[RemovableHandle]
    ) -> None:
        """Give the output projection `rewrite(z)` for `z`, `[..., heads, width]`."""
        attention: Any = self.attention
        if isinstance(attention, nn.MultiheadAttention):
            # Torch's module never calls its projection, so its answer is computed again.
            handles.append(
                attention.register_forward_hook(
                    lambda module, args, kwargs, output: (
                        self._recomputed(args, kwargs, rewrite),
                        *output[1:],
                    ),
                    with_kwargs=True,
                )
            )
        else:
            handles.append(
                attention.get_submodule(self.projection).register_forward_pre_hook(
                    lambda module, args: (rewrite(self._split(args[0])).flatten(-2), *args[1:])
                )
            )

    def _split(self, raw: torch.Tensor) -> torch.Tensor:
        return raw.reshape(*raw.shape[:-1], self.count, self.width)

    def _recomputed(
        self, args: Any, kwargs: Any, rewrite: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        attention: Any = self.attention
        if any(one is not args[0] for one in args[1:3]):
            raise SynestheteError(
                f"the heads of {self.layer} cannot be changed",
                hint="only plain self-attention is known",
            )
        x = args[0] if attention.batch_first else args[0].transpose(0, 1)
        parts = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
        query, key, value = (self._split(part).transpose(1, 2) for part in parts)
        mask = kwargs.get("attn_mask")
        if mask is not None and mask.ndim == 3:  # One for each text and head.
            mask = mask.unflatten(0, (len(x), self.count))
        z = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
        found: torch.Tensor = attention.out_proj(rewrite(z).flatten(-2))
        return found if attention.batch_first else found.transpose(0, 1)


# timm's, and those of transformers.
PROJECTIONS = ("proj", "out_proj", "o_proj", "output.dense", "o")
COUNTS = ("num_heads", "num_attention_heads", "self.num_attention_heads", "n_heads")


def heads_of(layer: str, attention: object) -> Heads | None:
    """The heads of an attention module; None where the way from them to the embedding is not known."""
    if isinstance(attention, nn.MultiheadAttention):
        if attention.in_proj_weight is None or attention.bias_k is not None:
            return None
        return Heads(
            layer=layer,
            attention=attention,
            count=attention.num_heads,
            width=attention.head_dim,
            projection="out_proj",
        )
    if not isinstance(attention, nn.Module) or hasattr(attention, "in_proj_weight"):
        return None  # open_clip's own attention scales its heads, and may not call its projection
    parts = dict(attention.named_modules())
    projection = next((name for name in PROJECTIONS if name in parts), "")
    project = parts.get(projection)
    count = next((found for name in COUNTS if (found := _number(attention, name))), 0)
    if not isinstance(project, nn.Linear) or not count or project.in_features % count:
        return None
    width = project.in_features // count
    return Heads(layer=layer, attention=attention, count=count, width=width, projection=projection)


def _number(module: Any, path: str) -> int:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module if isinstance(module, int) else 0
