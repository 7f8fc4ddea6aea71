"""Readings leave nothing behind: no hooks, no random numbers drawn, no answers for another reader."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, load_model
from synesthete.models.activations import Arranged, Responses
from synesthete.models.hooks import Tap, capture
from tests.models.conftest import Writer, random_pixels

MAPS = Arranged("NCHW")


def hooks(model: ImageTextModel) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.network.modules()
    )


def test_no_hooks_after_reading(resnet: ImageTextModel) -> None:
    resnet.read(random_pixels(resnet), [layer.name for layer in resnet.layers("image")])
    resnet.maps(random_pixels(resnet), "visual.layer2.0:pre")
    assert hooks(resnet) == 0


def test_no_hooks_after_an_exception(vit: ImageTextModel) -> None:
    def break_down(module: nn.Module, args: object) -> None:
        raise RuntimeError("power cut")

    handle = vit.network.visual.ln_post.register_forward_pre_hook(break_down)  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="power cut"):
        vit.read(random_pixels(vit), ["visual.transformer.resblocks.1.mlp"])
    handle.remove()
    assert hooks(vit) == 0
    assert vit.read(random_pixels(vit), []).embeddings.shape == (3, 24)


def test_no_hooks_when_one_cannot_be_installed() -> None:
    module = nn.Linear(2, 2)
    good = Tap(
        layer="good", kind="block", window=module, source=module, side="output", arranged=MAPS
    )
    bad = Tap(layer="bad", kind="block", window=None, source=None, side="output", arranged=MAPS)  # type: ignore[arg-type]
    with pytest.raises(AttributeError), capture([good, bad], lambda tap, found: 0):
        pass
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_a_layer_that_is_never_reached() -> None:
    idle = nn.Identity()
    tap = Tap(layer="idle", kind="block", window=idle, source=idle, side="output", arranged=MAPS)
    with pytest.raises(SynestheteError, match="never reached idle"), capture([tap], _shape):
        pass


class EndsInASum(nn.Module):
    """A block whose activation is not the last thing it does."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x) + x  # type: ignore[no-any-return]


def test_a_block_that_does_not_end_in_its_activation_is_refused() -> None:
    block = EndsInASum()
    tap = Tap(
        layer="block:pre",
        kind="block",
        window=block,
        source=block.act,
        side="input",
        arranged=MAPS,
        closing=True,
    )
    with pytest.raises(SynestheteError, match="ends in no activation"), capture([tap], _shape):
        block(torch.randn(1, 2, 3, 3))


def test_calls_outside_the_block_do_not_count() -> None:
    block = EndsInASum()
    tap = Tap(
        layer="inner", kind="block", window=block, source=block.act, side="input", arranged=MAPS
    )
    inside, outside = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 7.0)
    with capture([tap], lambda tap, found: float(found.patches)) as taken:
        block.act(outside)
        block(inside)
        block.act(outside)
    assert taken == {"inner": 2.0}


def test_a_tensor_of_another_shape_is_refused(vit: ImageTextModel) -> None:
    tokens = Arranged("NLC", 1, (3, 3))
    with pytest.raises(SynestheteError, match="not 1 \\+ 3 × 3 tokens"):
        tokens.responses(torch.zeros(2, 9, 4), "layer")
    with pytest.raises(SynestheteError, match="not a response map"):
        MAPS.responses(torch.zeros(2, 9, 4), "layer")


def test_readers_at_the_same_time_get_their_own_answers(resnet: ImageTextModel) -> None:
    batches = [random_pixels(resnet, 2, seed) for seed in range(8)]
    layers = [f"visual.layer{1 + seed % 4}.1:pre" for seed in range(8)]
    alone = [resnet.read(p, [name]) for p, name in zip(batches, layers, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda p, name: resnet.read(p, [name]), batches, layers))
    for expected, found, name in zip(alone, together, layers, strict=True):
        np.testing.assert_array_equal(found.activations[name], expected.activations[name])
    assert hooks(resnet) == 0


def test_maps_are_ordinary_tensors(resnet: ImageTextModel) -> None:
    maps = resnet.maps(random_pixels(resnet), "visual.layer1.0")
    assert not maps.is_inference()
    assert maps.is_contiguous()
    assert maps.requires_grad_().sum().backward() is None  # type: ignore[no-untyped-call]


def test_training_mode_does_not_change_a_reading(write_model: Writer) -> None:
    model = load_model(write_model("resnet"), device="cpu")
    pixels = random_pixels(model)
    expected = model.read(pixels, ["visual.layer4.1"])
    before = model.weights_sha256
    model.network.train()
    found = model.read(pixels, ["visual.layer4.1"])
    np.testing.assert_array_equal(
        found.activations["visual.layer4.1"], expected.activations["visual.layer4.1"]
    )
    del model.weights_sha256
    assert model.weights_sha256 == before


def _shape(tap: Tap, found: Responses) -> torch.Size:
    return found.patches.shape
