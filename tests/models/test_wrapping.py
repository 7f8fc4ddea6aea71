"""A torch module of your own: its layers found or named, read, changed and seen; its texts embedded where it can."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

import synesthete as syn
from synesthete.errors import SynestheteError
from synesthete.models import Preprocessing
from synesthete.models.gradients import GradientTower
from tests.models.conftest import random_pixels, scramble

STEPS = Compose([Resize((32, 32)), ToTensor(), Normalize((0.5,) * 3, (0.25,) * 3)])


class Block(nn.Module):
    """A residual block whose one ReLU works in place and is called twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.relu(self.conv1(x)))
        y += x
        return self.relu(y)


class Mixer(nn.Module):
    """Tokens first, with a class token; an MLP with its parts under no name of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.act, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, 20),
            nn.GELU(),
            nn.Linear(20, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.act(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.body = nn.Sequential(Block(8), Block(8))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.mixers = nn.ModuleList([Mixer(8), Mixer(8)])
        self.words = nn.Embedding(256, 8)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.body(self.stem(pixels)).flatten(2).permute(2, 0, 1)
        x = torch.cat([self.token.expand(1, x.shape[1], 8), x])
        for mixer in self.mixers:
            x = mixer(x)
        return x[0] + x.mean(0)


@pytest.fixture(scope="module")
def net() -> Any:
    return scramble(Net()).eval()


def test_layers_are_found_and_read(net: Any) -> None:
    model = syn.wrap(net, STEPS)
    assert [(one.name.removeprefix("visual.trunk."), one.kind, one.units, one.grid) for one in model.layers()] == [
        ("body.0:pre", "block", 8, (8, 8)), ("body.0", "block", 8, (8, 8)),
        ("body.1:pre", "block", 8, (8, 8)), ("body.1", "block", 8, (8, 8)),
        ("mixers.0.act:pre", "mlp", 20, (8, 8)), ("mixers.0.act", "mlp", 20, (8, 8)), ("mixers.0", "residual", 8, (8, 8)),
        ("mixers.1.act:pre", "mlp", 20, (8, 8)), ("mixers.1.act", "mlp", 20, (8, 8)), ("mixers.1", "residual", 8, (8, 8)),
        ("joint", "embedding", 8, None),
    ]  # fmt: skip
    pixels = random_pixels(model)
    found = model.read(
        pixels, ["visual.trunk.body.1:pre", "visual.trunk.mixers.0.act", "visual.trunk.mixers.1"]
    )
    with torch.no_grad():
        x = net.stem(pixels)
        for block in net.body:
            before = net_block(block, x)
            x = before.relu()
        assert np.allclose(
            found.activations["visual.trunk.body.1:pre"], before.amax((2, 3)), atol=1e-5
        )
        tokens = torch.cat([net.token.expand(3, 1, 8), x.flatten(2).transpose(1, 2)], 1)
        first = net.mixers[0]
        neurons = nn.functional.gelu(first.up(first.norm(tokens)))
        assert np.allclose(
            found.activations["visual.trunk.mixers.0.act"], neurons[:, 1:].amax(1), atol=1e-5
        )
        expected = nn.functional.normalize(net(pixels), dim=-1).numpy()
    assert np.allclose(found.embeddings, expected, atol=1e-6)


def net_block(block: Any, x: torch.Tensor) -> torch.Tensor:
    return block.conv2(block.conv1(x).relu()) + x  # type: ignore[no-any-return]


def test_named_layers_only(net: Any) -> None:
    model = syn.wrap(net, STEPS, layers=["stem", "mixers.1.up"], name="mine")
    assert [one.name for one in model.layers()] == [
        "visual.trunk.stem",
        "visual.trunk.mixers.1.up",
        "joint",
    ]
    assert model.name == "wrap:mine"
    with pytest.raises(SynestheteError, match=r"has no module 'stam'.*did you mean 'stem'"):
        syn.wrap(net, STEPS, layers=["stam"])
    with pytest.raises(SynestheteError, match="is called 2 times in a pass"):
        syn.wrap(net, STEPS, layers=["body.0.relu"])
    with pytest.raises(SynestheteError, match="is called 0 times"):
        syn.wrap(net, STEPS, layers=["words"])


def test_the_module_is_left_as_it_is(net: Any) -> None:
    module = Net().train()
    syn.wrap(module, STEPS)
    assert module.training
    assert all(weight.requires_grad for weight in module.parameters())
    assert not any(one._forward_hooks for one in module.modules())


def test_edits_gradients_and_twins(net: Any) -> None:
    model = syn.wrap(net, STEPS)
    pixels, layer = random_pixels(model), "visual.trunk.mixers.1.act"
    import copy

    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed.mixers[1].down.weight[:, 4] = 0
        expected = nn.functional.normalize(changed(pixels), dim=-1).numpy()
    with model.edited(syn.plan_edits(model, ablate=[f"{layer}:4"])):
        assert np.allclose(model.encode_images(pixels), expected, atol=1e-6)
    wanted = pixels.clone().requires_grad_()
    GradientTower(model).run(wanted, [layer]).responses[layer].patches.sum().backward()  # type: ignore[no-untyped-call]
    assert float(wanted.grad.abs().sum()) > 0  # type: ignore[union-attr]
    for kind in ("random_twin", "random_he", "permuted"):
        twin = model.twin(kind, 1)
        assert np.array_equal(twin.encode_images(pixels), model.twin(kind, 1).encode_images(pixels))
        assert np.abs(twin.encode_images(pixels) - model.encode_images(pixels)).max() > 0.05


def test_an_export_is_a_state_dict_that_the_module_loads(net: Any, tmp_path: Path) -> None:
    model = syn.wrap(net, STEPS, name="mine")
    pixels = random_pixels(model, 2)
    colours = [Image.new("RGB", (40, 40), colour) for colour in ("red", "teal")]
    layer = "visual.trunk.mixers.1.act"
    unit = int(np.abs(model.read(pixels, [layer]).activations[layer]).max(axis=0).argmax())
    edits = syn.plan_edits(model, ablate=[f"{layer}:{unit}"])
    done = syn.export_edits(model, edits, tmp_path / "out", colours)
    assert done.difference <= 1e-4 < done.effect
    assert done.spec == "wrap:mine"
    about = json.loads((tmp_path / "out" / "loading.json").read_text())
    assert about["class"] == f"{__name__}.Net"
    # As a program that knows the class does it, with the line that the file says.
    names: dict[str, Any] = {"network": Net().eval(), "safetensors": safetensors}
    with chdir(tmp_path / "out"):
        exec(about["load"][1], names)
    with model.edited(edits):
        live = model.encode_images(pixels)
    with torch.no_grad():
        found = nn.functional.normalize(names["network"](pixels), dim=-1).numpy()
    assert np.abs(found - live).max() <= 1e-4
    # A ReLU of no ResNet's block: nothing says which weights would do it.
    with pytest.raises(SynestheteError, match="cannot be folded into weights"):
        syn.export_edits(model, syn.plan_edits(model, ablate=["visual.trunk.body.1:3"]), tmp_path / "no", colours)  # fmt: skip
    assert not (tmp_path / "no").exists()


def test_texts(net: Any) -> None:
    def encode_text(texts: list[str]) -> torch.Tensor:
        return torch.stack(
            [net.words(torch.tensor(list(one.encode() or b" "))).sum(0) for one in texts]
        )

    model = syn.wrap(net, STEPS, encode_text=encode_text)
    found = model.encode_texts(["apple", "dog"])
    assert np.allclose(
        found, nn.functional.normalize(encode_text(["apple", "dog"]), dim=-1).detach(), atol=1e-6
    )
    assert model.layer("joint").tower == "joint"
    reading = model.read_texts(["apple"], ["joint"])
    assert np.array_equal(reading.activations["joint"][0], found[0])
    with pytest.raises(SynestheteError, match="its tokens are not known"):
        model.tokens("apple")
    wrong = syn.wrap(net, STEPS, encode_text=lambda texts: torch.zeros(len(texts), 5))
    with pytest.raises(SynestheteError, match="embeddings of texts of shape"):
        wrong.encode_texts(["apple"])
    with pytest.raises(SynestheteError, match="reads images only"):
        syn.wrap(net, STEPS).encode_texts(["apple"])


def test_preprocessing(net: Any) -> None:
    model = syn.wrap(net, STEPS)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    assert torch.equal(model.preprocess(image), STEPS(image))
    assert np.array_equal(
        np.asarray(model.geometry(image)),
        np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)),
    )
    squash = Preprocessing(
        image_size=32, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear", resize_mode="squash", fill_color=0
    )  # fmt: skip
    assert torch.allclose(syn.wrap(net, squash).preprocess(image), STEPS(image), atol=1e-6)
    # Another transform, another fingerprint, though size and colours are the same.
    steps = [Resize((64, 64)), Resize((32, 32)), *STEPS.transforms[1:]]
    own = model.preprocessing.own
    assert own is not None
    other = syn.wrap(net, Compose(steps)).preprocessing
    assert other.own != own
    assert (other.mean, other.std) == (model.preprocessing.mean, model.preprocessing.std)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([Resize((32, 24)), ToTensor()], "gives (3, 32, 24), expected"),
        ([Resize((32, 32))], "gives Image, expected"),
        ([Resize((32, 32)), ToTensor(), lambda x: x**2], "does more to colours"),
        ([Resize((32, 32)), ToTensor(), lambda x: x - x.mean()], "does more to colours"),
        ([lambda image: 1 / 0], "its preprocessing fails: division by zero"),
    ],
)
def test_preprocessing_that_cannot_be(net: Any, steps: list[Any], says: str) -> None:
    with pytest.raises(SynestheteError) as caught:
        syn.wrap(net, Compose(steps))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nn.Conv2d(3, 4, 3), "gives (2, 4, 30, 30) for 2 images"),
        (nn.Linear(5, 5), "cannot see images"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)),
            "no layer of a Sequential was found",
        ),
    ],
)
def test_modules_that_cannot_be(module: nn.Module, says: str) -> None:
    with pytest.raises(SynestheteError) as caught:
        syn.wrap(
            module, STEPS, encode_image=(lambda net, x: net(x)) if "Conv2d" in str(module) else None
        )
    assert says in str(caught.value)
