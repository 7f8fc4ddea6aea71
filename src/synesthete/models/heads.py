"""Attention heads: what each of them hands to the output projection, and how to change it while a model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle

# Takes the responses `[..., units]` (heads: `[..., heads, width]`) and gives those that go on, as a new tensor.
Rewrite: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


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
    writes
        Where the heads write: into all tokens (`"tokens"`); of that, what they write into the class token
        (`"class"`, the layer's name ends in `:cls`); or, of a pool, into the pooled token alone (`"pooled"`).
    """

    layer: str
    attention: nn.Module
    count: int
    width: int
    projection: str
    writes: Literal["tokens", "class", "pooled"] = "tokens"

    @property
    def kind(self) -> str:
        """As `Layer.kind`."""
        return "heads" if self.writes == "tokens" else "class heads"

    def within(self, rewrite: Rewrite) -> Rewrite:
        """`rewrite` of these heads' `z` as one of the whole module's, `[batch, tokens, heads, width]`."""
        if self.writes != "class":
            return rewrite
        return lambda z: torch.cat([rewrite(z[:, 0])[:, None], z[:, 1:]], dim=1)

    def install(self, rewrite: Rewrite, handles: list[RemovableHandle]) -> None:
        """Give the output projection `rewrite(z)` for the whole module's `z`, `[batch, tokens, heads, width]`.

        A module takes one of them: where the answer is computed again, a second would undo the first.
        """
        attention: Any = self.attention
        if _is_pool(attention):
            handles.append(
                attention.register_forward_hook(
                    lambda module, args, output: self._pooled(args[0], rewrite)
                )
            )
        elif isinstance(attention, nn.MultiheadAttention):
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

    def _recomputed(self, args: Any, kwargs: Any, rewrite: Rewrite) -> torch.Tensor:
        attention: Any = self.attention
        bias = attention.in_proj_bias
        biases = (None, None, None) if bias is None else bias.chunk(3)
        given = args[:3] if attention.batch_first else [x.transpose(0, 1) for x in args[:3]]
        query, key, value = (
            self._split(F.linear(x, weight, bias)).transpose(1, 2)
            for x, weight, bias in zip(
                given, attention.in_proj_weight.chunk(3), biases, strict=True
            )
        )
        mask = kwargs.get("attn_mask")
        if mask is not None and mask.ndim == 3:  # One for each text and head.
            mask = mask.unflatten(0, (len(query), self.count))
        z = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
        found: torch.Tensor = attention.out_proj(rewrite(z).flatten(-2))
        return found if attention.batch_first else found.transpose(0, 1)

    def _pooled(self, maps: torch.Tensor, rewrite: Rewrite) -> torch.Tensor:
        """The attention pool of a ModifiedResNet: the mean over positions asks, the mean and the positions answer."""
        pool: Any = self.attention
        x = maps.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + pool.positional_embedding.to(x.dtype)
        query, key, value = (
            self._split(part).transpose(1, 2)
            for part in (pool.q_proj(x[:, :1]), pool.k_proj(x), pool.v_proj(x))
        )
        z = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        found: torch.Tensor = pool.c_proj(rewrite(z).flatten(-2))[:, 0]
        return found


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
    if _is_pool(attention):
        pool: Any = attention
        return Heads(
            layer=layer,
            attention=pool,
            count=pool.num_heads,
            width=pool.v_proj.out_features // pool.num_heads,
            projection="c_proj",
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


def _is_pool(module: object) -> bool:
    """open_clip's AttentionPool2d, which calls none of its projections."""
    parts = ("q_proj", "k_proj", "v_proj", "c_proj", "positional_embedding")
    return isinstance(module, nn.Module) and all(hasattr(module, part) for part in parts)


def _number(module: Any, path: str) -> int:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module if isinstance(module, int) else 0
