"""Networks that know nothing: every block at work in every architecture, the trained weights' own values, nothing dead or overflowing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from open_clip.timm_model import TimmModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from synesthete.atlas.manifest import TWINS
from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel
from synesthete.models.architectures import find_taps
from synesthete.models.hooks import Tap, capture
from synesthete.models.random_init import KINDS, calibration_images, seeded, twin_of
from tests.models.conftest import TEXT, random_pixels, scramble


class Network(nn.Module):
    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual


def timm(name: str, side: int, **changes: Any) -> Callable[[], nn.Module]:
    return lambda: Network(TimmModel(name, 16, image_size=side, pool="avg", **changes))


def clip(**vision: Any) -> Callable[[], nn.Module]:
    return lambda: CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT)


# Small relatives of every family of open_clip: how to build it, its side, and whether its library starts the branches switched off.
FAMILIES: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    "resnet": (clip(image_size=64, layers=[3, 1, 1, 1], width=16, head_width=32), 64, True),
    "vit": (clip(image_size=32, layers=6, width=64, patch_size=8, head_width=16), 32, False),
    "convnext": (timm("convnext_atto", 64), 64, True),
    "fastvit": (timm("fastvit_t8", 64), 64, True),
    "vit_medium_gap": (timm("vit_medium_patch16_gap_256", 256), 256, True),
    "timm resnet": (timm("resnet26t", 64), 64, True),
}


def alike(network: nn.Module, side: int) -> float:
    """Correlation of the outputs of the first and the last block of the same shape, over images, places and channels."""
    taps = [
        tap
        for tap in find_taps(network.visual).values()  # type: ignore[arg-type]
        if tap.kind in ("block", "residual") and not tap.layer.endswith(":pre")
    ]

    def take(tap: Tap, found: Any) -> torch.Tensor:
        return found.patches.clone()

    with torch.inference_mode(), capture(taps, take) as taken:
        network.eval().visual(calibration_images(side)[:4])  # type: ignore[operator]
    stages: dict[str, list[torch.Tensor]] = {}
    for tap in taps:
        stages.setdefault(tap.layer.rsplit(".", 1)[0], []).append(taken[tap.layer])
    # The first block of a stage changes the shape in some families; the longest stage tells most.
    first, *_, last = max(stages.values(), key=len)
    assert first.isfinite().all()
    assert last.isfinite().all()
    pair = [(one - one.mean((0, 1))).flatten().numpy() for one in (first, last)]
    return float(np.corrcoef(pair)[0, 1])


def test_the_names_are_those_of_the_atlas() -> None:
    assert KINDS == TWINS


@pytest.mark.parametrize("family", FAMILIES)
def test_every_block_is_at_work(family: str) -> None:
    build, side, off = FAMILIES[family]
    with seeded(0):
        library = build()
    start = alike(library, side)
    if off:
        assert start > 0.9999, "the library has changed: nothing to wake any more"
    found = {
        kind: alike(twin_of(kind, library, build, seed=1, side=side), side)
        for kind in ("random_twin", "random_he")
    }
    # Libraries draw transformers' weights small, so that their blocks change little even when they are on.
    assert found["random_twin"] < 0.995
    assert found["random_he"] < 0.97


def test_permuted_weights_are_the_trained_ones_in_another_order(resnet: ImageTextModel) -> None:
    twin, again, other = (
        resnet.twin("permuted"),
        resnet.twin("permuted"),
        resnet.twin("permuted", 1),
    )
    assert twin.weights_sha256 == again.weights_sha256
    assert len({one.weights_sha256 for one in (resnet, twin, other)}) == 3
    trained, mixed = (dict(one.network.visual.state_dict()) for one in (resnet, twin))
    for name, tensor in trained.items():
        if "running" in name or tensor.ndim == 0:
            continue
        assert torch.equal(tensor.flatten().sort().values, mixed[name].flatten().sort().values), (
            name
        )
        if tensor.numel() > 3:
            assert not torch.equal(tensor, mixed[name]), name


def test_gain_and_bias_of_a_normalisation_stay_together(resnet: ImageTextModel) -> None:
    twin = resnet.twin("permuted")
    norms = [
        [module for module in model.network.visual.modules() if isinstance(module, _BatchNorm)]
        for model in (resnet, twin)
    ]
    for trained, mixed in zip(*norms, strict=True):
        pairs = [
            sorted(zip(one.weight.tolist(), one.bias.tolist(), strict=True))
            for one in (trained, mixed)
        ]
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_is_alive(resnet: ImageTextModel, kind: str) -> None:
    twin = resnet.twin(kind)
    pixels = random_pixels(resnet, 8)
    for layer in ("visual.layer1.0", "visual.layer4.1"):
        found = twin.read(pixels, [layer]).activations[layer]
        assert (found.std(axis=0) > 0).mean() > 0.8
        assert 1e-3 < np.abs(found).max() < 1e3, "half precision would lose it"


def test_statistics_are_those_of_what_is_seen() -> None:
    """A trained network whose weights are permuted sees other channels than its statistics are of."""
    build, side, _ = FAMILIES["resnet"]
    network = scramble(build(), 3)
    for module in network.visual.modules():  # type: ignore[union-attr]
        if isinstance(module, _BatchNorm):
            module.running_var.mul_(1e6)  # type: ignore[union-attr, operator]
    twin = twin_of("permuted", network, build, seed=0, side=side)
    first = twin.visual.bn1  # type: ignore[union-attr]
    with torch.no_grad():
        seen = twin.visual.conv1(calibration_images(side))  # type: ignore[union-attr, operator]
    assert torch.allclose(first.running_mean, seen.mean((0, 2, 3)), atol=1e-4)  # type: ignore[union-attr, arg-type]
    assert torch.allclose(first.running_var, seen.transpose(0, 1).flatten(1).var(1), rtol=1e-3)  # type: ignore[union-attr, arg-type]
    assert not twin.training
    momenta = {m.momentum for m in twin.modules() if isinstance(m, _BatchNorm)}
    assert momenta == {0.1}


def test_the_text_tower_is_permuted_too(resnet: ImageTextModel) -> None:
    network, twin = resnet.network, resnet.twin("permuted").network
    for name, weight in network.state_dict().items():
        if name.startswith("visual.") or weight.ndim == 0:
            continue
        other = twin.state_dict()[name]
        assert torch.equal(weight.flatten().sort().values, other.flatten().sort().values), name
        assert weight.unique().numel() < 3 or not torch.equal(weight, other), name
    assert torch.equal(network.attn_mask, twin.attn_mask), "a mask is no weight"
    texts = ["an apple", "two dogs on a beach"]
    likeness = (resnet.encode_texts(texts) * resnet.twin("permuted").encode_texts(texts)).sum(1)
    assert np.abs(likeness).max() < 0.9


def test_an_unknown_twin_is_refused(resnet: ImageTextModel) -> None:
    with pytest.raises(SynestheteError, match=r"no twin 'permute'.*did you mean 'permuted'"):
        resnet.twin("permute")
