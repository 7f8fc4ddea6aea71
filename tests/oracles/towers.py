"""Image towers computed again with plain functions, slowly and in the open: no modules run, no hooks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def residual_network(visual: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Every block of a ModifiedResNet before and after its last ReLU, `[batch, units, rows, columns]`."""
    state = visual.state_dict()

    def convolve(x: Tensor, name: str, padding: int = 0, stride: int = 1) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], padding=padding, stride=stride)

    def normalise(x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gain, offset = (state[f"{name}.{key}"] for key in keys)
        return F.batch_norm(x, mean, variance, gain, offset, training=False)

    x = F.relu(normalise(convolve(x, "conv1", padding=1, stride=2), "bn1"))
    x = F.relu(normalise(convolve(x, "conv2", padding=1), "bn2"))
    x = F.relu(normalise(convolve(x, "conv3", padding=1), "bn3"))
    x = F.avg_pool2d(x, 2)
    found = {}
    for stage in (1, 2, 3, 4):
        for index in range(len(getattr(visual, f"layer{stage}"))):
            block = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            y = F.relu(normalise(convolve(x, f"{block}.conv1"), f"{block}.bn1"))
            y = F.relu(normalise(convolve(y, f"{block}.conv2", padding=1), f"{block}.bn2"))
            y = F.avg_pool2d(y, stride) if stride > 1 else y
            y = normalise(convolve(y, f"{block}.conv3"), f"{block}.bn3")
            if f"{block}.downsample.0.weight" in state:
                x = F.avg_pool2d(x, stride) if stride > 1 else x
                x = normalise(convolve(x, f"{block}.downsample.0"), f"{block}.downsample.1")
            before = y + x
            x = F.relu(before)
            found[f"visual.{block}:pre"] = before
            found[f"visual.{block}"] = x
    return found


def vision_transformer(
    visual: nn.Module, x: Tensor, *, heads: int, quick_gelu: bool = False
) -> dict[str, Tensor]:
    """Residual stream and MLP of every block of a VisionTransformer, `[batch, tokens, units]`."""
    state = visual.state_dict()

    def layer_norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    patch = state["conv1.weight"].shape[-1]
    x = F.conv2d(x, state["conv1.weight"], stride=patch)
    x = x.flatten(2).permute(0, 2, 1)
    first = state["class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], dim=1) + state["positional_embedding"]
    x = layer_norm(x, "ln_pre")
    found = {}
    for index in range(len(visual.transformer.resblocks)):  # type: ignore[union-attr, arg-type]
        block = f"transformer.resblocks.{index}"
        batch, tokens, width = x.shape
        in_weight, in_bias = (state[f"{block}.attn.in_proj_{k}"] for k in ("weight", "bias"))
        qkv = F.linear(layer_norm(x, f"{block}.ln_1"), in_weight, in_bias)
        q, k, v = (
            part.reshape(batch, tokens, heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1)
        )
        scores = q @ k.transpose(-1, -2) / (width // heads) ** 0.5
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + linear(mixed, f"{block}.attn.out_proj")
        before = linear(layer_norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        after = before * torch.sigmoid(1.702 * before) if quick_gelu else F.gelu(before)
        x = x + linear(after, f"{block}.mlp.c_proj")
        found[f"visual.{block}.mlp:pre"] = before
        found[f"visual.{block}.mlp"] = after
        found[f"visual.{block}"] = x
    return found


def first_maximum(values: Tensor) -> tuple[list[float], list[int]]:
    """Maximum and its first position of each column of `[positions, units]`, one at a time."""
    maxima, places = [], []
    for unit in range(values.shape[1]):
        best, place = float("-inf"), -1
        for position, value in enumerate(values[:, unit].tolist()):
            if value > best:
                best, place = value, position
        maxima.append(best)
        places.append(place)
    return maxima, places
