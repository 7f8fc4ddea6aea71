"""Changing a unit changes exactly what follows from it, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel
from synesthete.models.activations import Arranged
from synesthete.models.hooks import Tap
from synesthete.models.interventions import Change, rewriting
from tests.models.conftest import random_pixels

LAYERS = {"resnet": "visual.layer3.1", "vit": "visual.transformer.resblocks.1.mlp"}


@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_only_the_units_named_change_and_by_as_much(
    family: str, request: pytest.FixtureRequest
) -> None:
    model: ImageTextModel = request.getfixturevalue(family)
    layer, pixels = LAYERS[family], random_pixels(model)
    plain, embedded = model.maps(pixels, layer), model.encode_images(pixels)
    with model.changed([Change(layer, (1, 5), scale=2.0, add=0.5)]):
        # The reader's hooks come after, so they see what the rest of the network sees.
        changed, moved = model.maps(pixels, layer), model.encode_images(pixels)
    expected = plain.clone()
    expected[:, [1, 5]] = expected[:, [1, 5]] * 2.0 + 0.5
    assert torch.allclose(changed, expected, atol=1e-6)
    assert float(np.abs(moved - embedded).max()) > 1e-4
    assert np.array_equal(model.encode_images(pixels), embedded)


def test_the_rest_of_a_residual_network_runs_on_the_changed_map(resnet: ImageTextModel) -> None:
    pixels, visual = random_pixels(resnet), resnet.network.visual
    maps = resnet.maps(pixels, "visual.layer4.1")
    maps[:, 3] = 0
    with torch.inference_mode():
        wanted = torch.nn.functional.normalize(visual.attnpool(maps), dim=-1).numpy()
    with resnet.changed([Change("visual.layer4.1", (3,), scale=0.0)]):
        found = resnet.encode_images(pixels)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_switching_an_mlp_neuron_off_equals_zeroing_its_column(vit: ImageTextModel) -> None:
    pixels = random_pixels(vit)
    with vit.changed([Change("visual.transformer.resblocks.2.mlp", (7,), scale=0.0)]):
        found = vit.encode_images(pixels)
    weight = vit.network.visual.transformer.resblocks[2].mlp.c_proj.weight
    kept = weight[:, 7].clone()
    try:
        weight[:, 7] = 0
        wanted = vit.encode_images(pixels)
    finally:
        weight[:, 7] = kept
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_changes_apply_in_order_and_are_undone_after_an_error(resnet: ImageTextModel) -> None:
    pixels, layer = random_pixels(resnet), "visual.layer2.0"
    plain = resnet.maps(pixels, layer)
    with resnet.changed([Change(layer, (0,), add=1.0), Change(layer, (0,), scale=3.0)]):
        changed = resnet.maps(pixels, layer)
    assert torch.allclose(changed[:, 0], (plain[:, 0] + 1) * 3, atol=1e-5)
    with (
        pytest.raises(SynestheteError, match="units 0 to"),
        resnet.changed([Change(layer, (10**6,))]),
    ):
        resnet.encode_images(pixels)
    assert torch.equal(resnet.maps(pixels, layer), plain)


def test_wrong_layers_are_refused(resnet: ImageTextModel) -> None:
    with (
        pytest.raises(SynestheteError, match=r"no layer 'visual\.layer4\.7'.*did you mean"),
        resnet.changed([Change("visual.layer4.7", (0,))]),
    ):
        pass
    assert not resnet.network.visual.layer4[1]._forward_hooks


@pytest.mark.parametrize(
    ("family", "layer"),
    [("resnet", "visual.layer3.1:pre"), ("vit", "visual.transformer.resblocks.1.mlp:pre")],
)
def test_before_the_non_linearity(family: str, layer: str, request: pytest.FixtureRequest) -> None:
    """What comes after is the non-linearity of what was changed, nothing else."""
    model: ImageTextModel = request.getfixturevalue(family)
    pixels, after = random_pixels(model), layer.removesuffix(":pre")
    wanted = model.maps(pixels, layer)
    wanted[:, 2] = wanted[:, 2] * -2 + 0.3
    with model.changed([Change(layer, (2,), scale=-2.0, add=0.3)]):
        before, found = model.maps(pixels, layer), model.maps(pixels, after)
    act = torch.relu if family == "resnet" else torch.nn.functional.gelu
    assert torch.allclose(before, wanted, atol=1e-6)
    assert torch.allclose(found, act(wanted), atol=1e-5)


def test_heads_are_changed_as_their_columns_say(vit: ImageTextModel) -> None:
    pixels, layer = random_pixels(vit), "visual.transformer.resblocks.1.attn"
    attention = vit.network.visual.transformer.resblocks[1].attn
    assert {one.name: one.units for one in vit.sites()}[layer] == attention.num_heads == 4
    plain = vit.encode_images(pixels)
    with vit.changed([Change(layer, (0, 1, 2, 3))]):
        np.testing.assert_allclose(vit.encode_images(pixels), plain, atol=1e-5)
    add = tuple(float(i) for i in range(16))
    with vit.changed([Change(layer, (3,), scale=0.0, add=add)]):
        found = vit.encode_images(pixels)
    weight, bias = attention.out_proj.weight, attention.out_proj.bias
    kept = weight.clone(), bias.clone()
    try:
        bias += weight[:, 48:] @ torch.tensor(add)
        weight[:, 48:] = 0
        wanted = vit.encode_images(pixels)
    finally:
        weight.copy_(kept[0])
        bias.copy_(kept[1])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - plain).max() > 1e-3


def test_an_activation_called_twice_in_its_block_is_refused() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = torch.nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.act(x) + 1)  # type: ignore[no-any-return]

    block = Twice()
    tap = Tap(
        layer="block:pre",
        kind="block",
        window=block,
        source=block.act,
        side="input",
        arranged=Arranged("NCHW"),
    )
    block.act(torch.zeros(1, 1, 1, 1))  # outside of the block: nothing is counted
    with (
        pytest.raises(SynestheteError, match="several times"),
        rewriting([(tap, lambda responses: responses * 2)]),
    ):
        block(torch.zeros(1, 1, 1, 1))


def test_other_blocks_that_share_an_activation_stay_as_they_were() -> None:
    act, block = torch.nn.ReLU(), torch.nn.Sequential()
    block.append(act)
    tap = Tap(
        layer="block",
        kind="block",
        window=block,
        source=act,
        side="output",
        arranged=Arranged("NCHW"),
    )
    one = torch.ones(1, 1, 1, 1)
    with rewriting([(tap, lambda responses: responses * 3)]):
        assert float(block(one)) == 3
        assert float(act(one)) == 1
