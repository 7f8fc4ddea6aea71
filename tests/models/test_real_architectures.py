"""The real towers at full size, once each, with random weights and few images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from timm.layers import GluMlp, SwiGLU
from timm.models.vitamin import GeGluMlp
from torch import nn

from synesthete.models import load_model
from synesthete.models.activations import Arranged, Responses, reduce
from synesthete.models.architectures import _timm_mlp, find_taps
from synesthete.models.hooks import Tap, capture
from tests.models.conftest import random_pixels, scramble
from tests.models.test_exact_reading import assert_same
from tests.oracles.towers import residual_network, vision_transformer


def test_rn50() -> None:
    model = load_model("RN50/random", device="cpu")
    pixels = random_pixels(model, 2)
    expected = residual_network(model.network.visual, pixels)
    assert model.default_layers == ["visual.layer4.2"]
    for name in ("visual.layer4.2", "visual.layer4.2:pre", "visual.layer1.0"):
        assert_same(model.maps(pixels, name), expected[name])
    last = model.layer("visual.layer4.2")
    assert (last.units, last.grid, last.kind) == (2048, (7, 7), "block")
    # As a control it must be alive: finite, and different from image to image.
    activations = model.read(pixels, ["visual.layer4.2"]).activations["visual.layer4.2"]
    assert np.isfinite(activations).all()
    assert 0.1 < activations.max() < 100
    assert (activations[0] != activations[1]).mean() > 0.9


def test_vit_b_32() -> None:
    model = load_model("ViT-B-32/random:3", device="cpu")
    pixels = random_pixels(model, 2)
    expected = vision_transformer(model.network.visual, pixels, heads=12)
    assert model.default_layers == ["visual.transformer.resblocks.11.mlp"]
    for name in (
        "visual.transformer.resblocks.11.mlp",
        "visual.transformer.resblocks.11.mlp:pre",
        "visual.transformer.resblocks.5",
    ):
        patches = expected[name][:, 1:].transpose(1, 2).unflatten(2, (7, 7))
        assert_same(model.maps(pixels, name), patches)
    assert model.layer("visual.transformer.resblocks.11.mlp").units == 3072


# Small relatives of what open_clip uses: side, pooling, grid at the end, tokens before the patches.
TIMM = {
    "vit_base_patch32_siglip_256": (256, "map", (8, 8), 0),
    "eva02_tiny_patch14_224": (224, "token", (16, 16), 1),
    "convnext_atto": (224, "avg", (7, 7), 0),
    "fastvit_t8": (256, "avg", (8, 8), 0),
    "swin_tiny_patch4_window7_224": (224, "avg", (7, 7), 0),
    "resnet10t": (176, "avg", (6, 6), 0),
}


def tower(name: str) -> nn.Module:
    side, pool, _, _ = TIMM[name]
    return scramble(TimmModel(name, 32, image_size=side, pool=pool)).eval()


@pytest.fixture(scope="module")
def siglip() -> nn.Module:
    return tower("vit_base_patch32_siglip_256")


@pytest.mark.parametrize("name", TIMM)
def test_timm_towers(name: str, siglip: nn.Module) -> None:
    """Against timm's own list of intermediate features, which runs without our hooks."""
    side, _, grid, prefix = TIMM[name]
    visual: Any = siglip if "siglip" in name else tower(name)
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    taps = find_taps(visual)
    streams = [tap for tap in taps.values() if tap.kind != "mlp" and not tap.layer.endswith("pre")]

    def take(tap: Tap, found: Responses) -> torch.Tensor:
        return reduce(found, "max", tap.layer)[0]

    with torch.inference_mode():
        with capture(list(taps.values()), take) as taken:
            visual(pixels)
        features = visual.trunk.forward_intermediates(pixels, indices=1, intermediates_only=True)
    assert features[-1].shape[2:] == grid
    assert_same(taken[streams[-1].layer], features[-1].amax((2, 3)))
    assert {tap.arranged.prefix for tap in taps.values()} == {prefix}


@pytest.mark.parametrize("kind", [SwiGLU, GluMlp, GeGluMlp])
def test_gated_mlp_neurons_are_what_the_output_projection_reads(kind: type[nn.Module]) -> None:
    """EVA02 and ViTamin: a neuron is the product of gate and value, normalised where there is a norm."""
    block = nn.Module()
    block.mlp = kind(8, 12)
    taps = list(_timm_mlp(block, "visual.trunk.blocks.0", Arranged("NLC", 1, (2, 2))))
    assert [tap.layer for tap in taps] == ["visual.trunk.blocks.0.mlp"]
    tokens = torch.randn(3, 5, 8)
    with capture(taps, lambda tap, found: (found.cls, found.patches.clone())) as taken:
        whole = block.mlp(tokens)
    cls, patches = taken["visual.trunk.blocks.0.mlp"]
    assert cls is not None
    project = [child for child in block.mlp.children() if isinstance(child, nn.Linear)][-1]
    assert torch.equal(project(torch.cat([cls[:, None], patches], dim=1)), whole)


def test_siglip_mlp_neurons_against_plain_functions(siglip: nn.Module) -> None:
    """The MLP of timm's blocks, recomputed from the residual stream that enters the block."""
    block = siglip.trunk.blocks[11]  # type: ignore[union-attr, index]
    entered: list[torch.Tensor] = []
    handle = block.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    taps = find_taps(siglip)
    names = ["visual.trunk.blocks.11.mlp:pre", "visual.trunk.blocks.11.mlp"]
    with torch.inference_mode():
        with capture([taps[n] for n in names], lambda tap, found: found.patches.clone()) as taken:
            siglip(torch.randn(2, 3, 256, 256))
        handle.remove()
        x = entered[0]
        x = x + block.attn(block.norm1(x))
        norm, first = block.norm2, block.mlp.fc1
        x = F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
        before = F.linear(x, first.weight, first.bias)
    assert_same(taken[names[0]], before)
    assert_same(taken[names[1]], F.gelu(before, approximate="tanh"))
