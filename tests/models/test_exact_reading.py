"""What is read equals what a plain forward pass computes, in every family and at every layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from open_clip.transformer import Transformer
from torch import nn

from synesthete.models import ImageTextModel, load_model
from tests.models.conftest import Writer, random_pixels
from tests.oracles.towers import first_maximum, residual_network, vision_transformer

TOLERANCE = 1e-5  # of the largest value: another order of the same float32 sums


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) <= TOLERANCE * scale


def everything(model: ImageTextModel, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    return {layer.name: model.maps(pixels, layer.name) for layer in model.layers("image")}


def test_residual_network_at_every_layer(resnet: ImageTextModel) -> None:
    pixels = random_pixels(resnet)
    expected = residual_network(resnet.network.visual, pixels)
    found = everything(resnet, pixels)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert_same(found[name], values)
    assert any(float(values.min()) < 0 for name, values in found.items() if name.endswith(":pre"))


def test_after_is_the_relu_of_before(resnet: ImageTextModel) -> None:
    """The in-place ReLU must not have overwritten what was read before it."""
    pixels = random_pixels(resnet)
    for stage in (1, 2, 3, 4):
        before = resnet.maps(pixels, f"visual.layer{stage}.1:pre")
        after = resnet.maps(pixels, f"visual.layer{stage}.1")
        assert float(before.min()) < 0
        assert torch.equal(torch.relu(before), after)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_vision_transformer_at_every_layer(write_model: Writer, quick_gelu: bool) -> None:
    model = load_model(write_model("vit", quick_gelu=quick_gelu), device="cpu")
    pixels = random_pixels(model)
    expected = vision_transformer(model.network.visual, pixels, heads=4, quick_gelu=quick_gelu)
    assert [layer.name for layer in model.layers("image")] == list(expected)
    for name, tokens in expected.items():
        patches = tokens[:, 1:].transpose(1, 2).unflatten(2, (3, 3))
        assert_same(model.maps(pixels, name), patches)
        reading = model.read(pixels, [name], "cls")
        assert_same(torch.from_numpy(reading.activations[name]), tokens[:, 0])
        assert (reading.positions[name] == -1).all()


def test_tokens_first_is_no_different(write_model: Writer) -> None:
    """Older open_clip, and OpenAI's code, run the blocks as [tokens, batch, width]."""
    model = load_model(write_model("vit"), device="cpu")
    # As many images as tokens, so that a confusion of the two axes would go unnoticed by shapes.
    pixels = random_pixels(model, count=10)
    expected = model.read(pixels, [layer.name for layer in model.layers("image")])
    visual = model.network.visual
    tokens_first = Transformer(64, 3, 4, batch_first=False)
    tokens_first.load_state_dict(visual.transformer.state_dict())
    visual.transformer = tokens_first
    turned = ImageTextModel(
        "turned",
        model.network,
        preprocessing=model.preprocessing,
        embedding_dim=24,
        tokenize=model._tokenize,
        build=model._build,
        description={},
    )
    found = turned.read(pixels, list(expected.activations))
    for name, values in expected.activations.items():
        np.testing.assert_allclose(found.activations[name], values, atol=1e-5)
        np.testing.assert_array_equal(found.positions[name], expected.positions[name])


@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_reductions_agree_with_a_loop(family: str, request: pytest.FixtureRequest) -> None:
    model: ImageTextModel = request.getfixturevalue(family)
    pixels = random_pixels(model)
    for layer in model.layers("image")[-3:]:
        maps = model.maps(pixels, layer.name)
        largest = model.read(pixels, [layer.name], "max")
        for image in range(len(pixels)):
            maxima, places = first_maximum(maps[image].flatten(1).T)
            assert largest.activations[layer.name][image].tolist() == maxima
            assert largest.positions[layer.name][image].tolist() == places
        average = model.read(pixels, [layer.name], "mean")
        expected = maps.double().mean((2, 3)).numpy()
        np.testing.assert_allclose(average.activations[layer.name], expected, atol=1e-5)
        assert (average.positions[layer.name] == -1).all()
        assert largest.grids[layer.name] == layer.grid == tuple(maps.shape[2:])
        assert largest.positions[layer.name].dtype == np.int16


def test_ties_take_the_first_position(resnet: ImageTextModel) -> None:
    """A unit that is silent everywhere has its maximum, zero, at position 0."""
    pixels = random_pixels(resnet)
    reading = resnet.read(pixels, ["visual.layer4.1"])
    silent = reading.activations["visual.layer4.1"] == 0
    assert silent.any()
    assert (reading.positions["visual.layer4.1"][silent] == 0).all()


def test_one_pass_equals_many(resnet: ImageTextModel) -> None:
    pixels = random_pixels(resnet)
    names = [layer.name for layer in resnet.layers("image")]
    together = resnet.read(pixels, names)
    for name in names[-4:]:
        alone = resnet.read(pixels, [name])
        np.testing.assert_array_equal(alone.activations[name], together.activations[name])
        np.testing.assert_array_equal(alone.embeddings, together.embeddings)


class ReusedReLU(nn.Module):
    """OpenAI's block: a single in-place ReLU, called three times."""

    def __init__(self, block: nn.Module, relu: nn.Module) -> None:
        super().__init__()
        for name in ("conv1", "bn1", "conv2", "bn2", "avgpool", "conv3", "bn3", "downsample"):
            setattr(self, name, getattr(block, name))
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


@pytest.mark.parametrize("shared_by_all_blocks", [False, True])
def test_one_relu_for_everything(write_model: Writer, shared_by_all_blocks: bool) -> None:
    model = load_model(write_model("resnet"), device="cpu")
    pixels = random_pixels(model)
    expected = residual_network(model.network.visual, pixels)
    shared = nn.ReLU(inplace=True)
    for stage in (1, 2, 3, 4):
        blocks = getattr(model.network.visual, f"layer{stage}")
        for index, block in enumerate(list(blocks)):
            relu = shared if shared_by_all_blocks else nn.ReLU(inplace=True)
            blocks[index] = ReusedReLU(block, relu)
    reused = ImageTextModel(
        "reused",
        model.network,
        preprocessing=model.preprocessing,
        embedding_dim=24,
        tokenize=model._tokenize,
        build=model._build,
        description={},
    )
    assert [layer.name for layer in reused.layers("image")] == list(expected)
    for block in ("visual.layer1.0", "visual.layer4.1"):
        for name in (block, f"{block}:pre"):
            assert_same(reused.maps(pixels, name), expected[name])


@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_embeddings_equal_plain_open_clip(family: str, request: pytest.FixtureRequest) -> None:
    import open_clip

    model: ImageTextModel = request.getfixturevalue(family)
    plain, _, _ = open_clip.create_model_and_transforms(model.name)
    pixels = random_pixels(model)
    texts = ["an apple", "a photo of a dog, " * 30, ""]
    with torch.inference_mode():
        images = plain.eval().encode_image(pixels, normalize=True).numpy()
        words = plain.encode_text(open_clip.get_tokenizer(model.name)(texts), normalize=True)
    np.testing.assert_allclose(model.encode_images(pixels), images, atol=1e-6)
    np.testing.assert_allclose(model.read(pixels, []).embeddings, images, atol=1e-6)
    np.testing.assert_allclose(model.encode_texts(texts), words.numpy(), atol=1e-6)
    assert model.encode_texts([]).shape == (0, 24)
