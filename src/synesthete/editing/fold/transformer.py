"""Folding edits of transformers: MLP neurons into rows or columns, heads into columns, the stream into a bias."""

from __future__ import annotations

from typing import Any

from torch import nn

from synesthete.editing.fold.weights import Affine, Weights, read_by_linear, written_by_linear
from synesthete.models.heads import Heads

# Blocks that end in `x + mlp(norm(x))`, as far as evaluation goes.
PLAIN_BLOCKS = ("ResidualAttentionBlock", "Block", "EvaBlock")


def fold_mlp(weights: Weights, path: str, mlp: Any, edit: Affine, *, before: bool) -> None:
    """An MLP neuron: after the non-linearity a column of the second layer, before it a row of the first."""
    children = dict(mlp.named_children())
    linear = [name for name, child in children.items() if isinstance(child, nn.Linear)]
    if before:
        if not linear:
            raise edit.refuse("its MLP is no pair of linear layers")
        written_by_linear(weights, f"{path}.{linear[0]}", edit)
        return
    if not _gated(mlp):
        names = list(children)
        act = next(name for name in ("gelu", "act") if name in children)
        between = names[names.index(act) + 1 : names.index(linear[-1])] if linear else names
        for name in between:
            if not isinstance(children[name], nn.Identity | nn.Dropout):
                raise edit.refuse(f"{path}.{name} stands between it and the layer that reads it")
    read_by_linear(weights, f"{path}.{linear[-1]}", slice(edit.unit, edit.unit + 1), edit)


def _gated(mlp: Any) -> bool:
    """Whether a neuron is by definition what the last layer reads."""
    return type(mlp).__name__ not in ("Mlp", "Sequential")


def fold_head(weights: Weights, heads: Heads, edit: Affine) -> None:
    """An attention head: its columns of the output projection."""
    attention = heads.attention
    name = "out_proj" if isinstance(attention, nn.MultiheadAttention) else "proj"
    first = edit.unit * heads.width
    read_by_linear(weights, f"{heads.layer}.{name}", slice(first, first + heads.width), edit)


def fold_stream(weights: Weights, path: str, block: Any, edit: Affine) -> None:
    """The residual stream: what is added to it goes into the bias that is added last."""
    if edit.scale != 1.0:
        raise edit.refuse(
            "the residual stream goes on past every later block, and layer norms read all of it at once",
            "steer it, or edit the MLP neurons and heads that write it",
        )
    if type(block).__name__ not in PLAIN_BLOCKS:
        raise edit.refuse(f"a {type(block).__name__} does not end in a plain sum")
    linear = [name for name, child in block.mlp.named_children() if isinstance(child, nn.Linear)]
    gain = 1.0
    for name in ("ls_2.gamma", "ls2.gamma", "gamma_2"):
        if f"{path}.{name}" in weights:
            gain = float(weights[f"{path}.{name}"][edit.unit])
    bias = f"{path}.mlp.{linear[-1]}.bias" if linear else ""
    if bias not in weights or gain == 0.0:
        raise edit.refuse("the block has no bias that could take what is added")
    weights[bias][edit.unit] += float(edit.add) / gain
