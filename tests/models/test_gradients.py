"""The tower for gradients computes what the model computes, and goes only as deep as it must."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.models.gradients import GradientTower
from synesthete.models.image_text_model import ImageTextModel
from tests.small_atlas import write_model


@pytest.fixture(scope="module", params=["residual", "transformer"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ImageTextModel:
    if request.param == "transformer":
        return load_model("ViT-S-32/random:1")
    small = load_model(write_model(tmp_path_factory.mktemp("gradients") / "model"))
    # Normalisations that do something, so that folding them is seen to be right.
    for module in small.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return small


@pytest.fixture(scope="module")
def tower(model: ImageTextModel) -> GradientTower:
    return GradientTower(model)


def test_it_gives_what_the_model_gives(model: ImageTextModel, tower: GradientTower) -> None:
    images = torch.rand(2, 3, tower.side, tower.side)
    pixels = tower.normalised(images)
    for layer in model.layers("image")[-3:]:
        found = tower.run(pixels, [layer.name]).responses[layer.name].patches
        expected = model.maps(pixels, layer.name).flatten(2).transpose(1, 2)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not any(
        isinstance(m, nn.AvgPool2d) and m.kernel_size == 1 for m in tower.visual.modules()
    )
    embedding = tower.run(pixels, [], embed=True).embedding
    assert embedding is not None
    expected = torch.from_numpy(model.encode_images(pixels))
    torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)


def test_the_model_is_left_as_it_was(model: ImageTextModel) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    GradientTower(model)
    after = model.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    if "visual.bn1.weight" in before:
        assert any(isinstance(module, nn.BatchNorm2d) for module in model.network.modules())


def test_gradients_are_slopes(model: ImageTextModel, tower: GradientTower) -> None:
    """Against the difference of two passes along a random direction."""
    layer = model.layers("image")[-1].name
    given = tower.normalised(torch.rand(1, 3, tower.side, tower.side)).requires_grad_()
    along = torch.randn(given.shape)

    def value(pixels: torch.Tensor) -> torch.Tensor:
        return tower.run(pixels, [layer]).responses[layer].patches.pow(2).mean()

    (slope,) = torch.autograd.grad(value(given), given)
    with torch.no_grad():
        step = 1e-3 * along
        difference = (value(given + step) - value(given - step)) / 2e-3
    assert float((slope * along).sum()) == pytest.approx(float(difference), rel=0.05, abs=1e-4)


def test_a_pass_ends_at_the_deepest_layer(model: ImageTextModel, tower: GradientTower) -> None:
    names = list(tower.taps)
    later = tower.taps[names[-1]].window
    seen = []
    handle = later.register_forward_hook(lambda *_: seen.append(1))
    try:
        tower.run(tower.normalised(torch.rand(1, 3, tower.side, tower.side)), [names[0]])
        assert not seen
        tower.run(tower.normalised(torch.rand(1, 3, tower.side, tower.side)), [names[-1]])
        assert seen
    finally:
        handle.remove()
    assert not any(module._forward_hooks for module in tower.visual.modules())


def test_what_is_kept_at_a_layer_has_a_gradient(tower: GradientTower) -> None:
    layer = list(tower.taps)[-1]
    before = tower.before(layer)
    given = tower.normalised(torch.rand(1, 3, tower.side, tower.side)).requires_grad_()
    found = tower.run(given, [layer], at=[before])
    (slope,) = torch.autograd.grad(found.responses[layer].patches.sum(), found.raw[before])
    assert slope.shape == found.raw[before].shape
    assert slope.abs().sum() > 0


def test_only_convolutions_take_any_size(tower: GradientTower) -> None:
    assert tower.any_size == hasattr(tower.visual, "layer4")


def test_wrong_layers_are_refused(tower: GradientTower) -> None:
    pixels = tower.normalised(torch.rand(1, 3, tower.side, tower.side))
    with pytest.raises(SynestheteError, match=r"no layer 'visual\.nothing'"):
        tower.run(pixels, ["visual.nothing"])
    first = next(iter(tower.taps))
    with pytest.raises(SynestheteError, match="nothing lies before"):
        tower.before(first)
    inner = next(name for name in tower.taps if name.endswith(":pre"))
    with pytest.raises(SynestheteError, match="not the output of a whole block"):
        tower.run(pixels, [inner], at=[inner])
