"""Changing a unit changes exactly what follows from it, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel
from synesthete.models.interventions import Change
from tests.models.conftest import pictures

LAYERS = {"resnet": "visual.layer3.1", "vit": "visual.transformer.resblocks.1.mlp"}


@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_only_the_units_named_change_and_by_as_much(
    family: str, request: pytest.FixtureRequest
) -> None:
    model: ImageTextModel = request.getfixturevalue(family)
    layer, pixels = LAYERS[family], pictures(model)
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
    pixels, visual = pictures(resnet), resnet.network.visual
    maps = resnet.maps(pixels, "visual.layer4.1")
    maps[:, 3] = 0
    with torch.inference_mode():
        wanted = torch.nn.functional.normalize(visual.attnpool(maps), dim=-1).numpy()
    with resnet.changed([Change("visual.layer4.1", (3,), scale=0.0)]):
        found = resnet.encode_images(pixels)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_switching_an_mlp_neuron_off_equals_zeroing_its_column(vit: ImageTextModel) -> None:
    pixels = pictures(vit)
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


def test_changes_are_made_in_order_and_undone_after_an_error(resnet: ImageTextModel) -> None:
    pixels, layer = pictures(resnet), "visual.layer2.0"
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
    for layer, message in (("nothing", "no layer"), ("visual.layer4.1:pre", "cannot be changed")):
        with (
            pytest.raises(SynestheteError, match=message),
            resnet.changed([Change(layer, (0,))]),
        ):
            pass
    assert not resnet.network.visual.layer4[1]._forward_hooks
