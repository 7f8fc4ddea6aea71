"""Models of images only, of timm and torchvision: read exactly, seen, edited, and clear about the text tower they lack."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision import models as torchvision_models

from synesthete.editing import export_edits, plan_edits
from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, load_model
from synesthete.models.gradients import GradientTower
from tests.models.conftest import random_pixels, scramble

# Small ones of each kind: convolutional blocks, tokens, stages of maps with linear layers in them, fire modules.
SPECS = (
    "timm:test_resnet/random",
    "timm:test_vit/random",
    "timm:test_convnext2/random",
    "torchvision:resnet18/random:3",
    "torchvision:squeezenet1_1/random",
)


@pytest.fixture(scope="module")
def models() -> Callable[[str], ImageTextModel]:
    return cache(lambda spec: load_model(spec, device="cpu"))


def embedded(trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
    """What the classifier reads, found by taking it off; by timm's own means where timm has them."""
    if hasattr(trunk, "reset_classifier"):
        trunk.reset_classifier(0)
    return torch.nn.functional.normalize(trunk(pixels).flatten(1), dim=-1)


@pytest.mark.parametrize("spec", SPECS)
def test_every_layer_is_read_as_the_network_computes_it(
    spec: str, models: Callable[[str], ImageTextModel]
) -> None:
    import copy

    model = models(spec)
    trunk: Any = copy.deepcopy(model.network.visual.trunk)  # type: ignore[union-attr]
    pixels = random_pixels(model, count=2)
    noted: dict[str, torch.Tensor] = {}
    layers = [one for one in model.layers() if one.name != "joint"]
    for layer in layers:
        tap: Any = model.site(layer.name)
        before = layer.name.endswith(":pre")
        if before and layer.kind != "mlp":
            continue
        path = (tap.writer if before else tap.reader) if layer.kind == "mlp" else layer.name
        module = trunk.get_submodule(path.removeprefix("visual.trunk."))

        def forward(
            first: Any, *args: Any, _own: Any = module.forward, _name: str = layer.name,
            _given: bool = layer.kind == "mlp" and not before, **kw: Any
        ) -> Any:  # fmt: skip
            out = _own(first, *args, **kw)
            noted[_name] = (first if _given else out).clone()
            return out

        module.forward = forward
    with torch.no_grad():
        expected = embedded(trunk, pixels)
    found = model.read(pixels, list(noted))
    assert np.abs(found.embeddings - expected.numpy()).max() < 1e-6
    assert len(noted) >= 4
    for name, raw in noted.items():
        units = model.layer(name).units
        if raw.ndim == 3:
            raw = raw[:, -int(np.prod(model.layer(name).grid or ())) :]
        else:
            raw = (raw if raw.shape[-1] == units else raw.movedim(1, -1)).flatten(1, 2)
        best = raw.amax(1).numpy()
        assert np.abs(found.activations[name] - best).max() <= 1e-5 * np.abs(best).max()


def test_before_a_blocks_last_relu(models: Callable[[str], ImageTextModel]) -> None:
    model = models("torchvision:resnet18/random:3")
    pixels = random_pixels(model)
    after, before = "visual.trunk.layer3.1", "visual.trunk.layer3.1:pre"
    values = model.read(pixels, [after, before]).activations
    assert np.array_equal(values[after], values[before].clip(min=0))
    assert values[before].min() < 0


@pytest.mark.parametrize("spec", ["timm:test_resnet/random", "torchvision:resnet18/random:3"])
def test_preprocessing_is_the_librarys(spec: str, models: Callable[[str], ImageTextModel]) -> None:
    model = models(spec)
    if spec.startswith("timm"):
        settings = timm.data.resolve_model_data_config(timm.create_model("test_resnet"))
        transform = timm.data.create_transform(**settings, is_training=False)
    else:
        transform = torchvision_models.get_model_weights("resnet18").DEFAULT.transforms()
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert torch.equal(model.preprocess(image), transform(image))
    assert model.geometry(image).size == (model.preprocessing.image_size,) * 2


def test_seeds(models: Callable[[str], ImageTextModel]) -> None:
    one = models("timm:test_vit/random")
    assert load_model("timm:test_vit/random:0").weights_sha256 == one.weights_sha256
    assert load_model("timm:test_vit/random:4").weights_sha256 != one.weights_sha256


def test_edits_and_gradients(models: Callable[[str], ImageTextModel]) -> None:
    model = models("torchvision:resnet18/random:3")
    pixels, layer = random_pixels(model), "visual.trunk.layer4.1"
    with model.edited(plan_edits(model, ablate=[f"{layer}:7"])):
        edited = model.encode_images(pixels)
        assert (model.read(pixels, [layer]).activations[layer][:, 7] == 0).all()
    # The embedding is the average of that map.
    assert np.abs(edited[:, 7]).max() == 0
    assert np.abs(model.encode_images(pixels)[:, 7]).max() > 1e-4
    tower = GradientTower(model)
    pixels = pixels.requires_grad_()
    tower.run(pixels, [layer]).responses[layer].patches.sum().backward()  # type: ignore[no-untyped-call]
    assert float(pixels.grad.abs().sum()) > 0  # type: ignore[union-attr]


def write_timm(folder: Path, **changes: Any) -> Path:
    """A folder as timm saves one, with random weights."""
    folder.mkdir(exist_ok=True)
    network = scramble(timm.create_model("test_resnet", num_classes=5))
    save_file(network.state_dict(), folder / "model.safetensors")
    images = {
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.25],
        "input_size": [3, 96, 96],
        "crop_pct": 1.0,
    }
    config = {
        "architecture": "test_resnet", "num_classes": 5, "num_features": 256, "global_pool": "avg",
        "pretrained_cfg": images | {"tag": "mine", "classifier": "fc"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_a_folder_of_timm(tmp_path: Path) -> None:
    model = load_model(str(write_timm(tmp_path / "model")), device="cpu")
    assert (model.preprocessing.image_size, model.embedding_dim) == (
        96,
        timm.create_model("test_resnet").num_features,
    )
    assert model.preprocessing.mean == pytest.approx((0.4, 0.5, 0.6), abs=1e-5)
    plain = scramble(timm.create_model("test_resnet", num_classes=5)).eval()
    pixels = random_pixels(model)
    with torch.no_grad():
        expected = embedded(plain, pixels).numpy()
    assert np.abs(model.encode_images(pixels) - expected).max() < 1e-6


def test_weights_of_your_own(tmp_path: Path) -> None:
    network = scramble(torchvision_models.get_model("shufflenet_v2_x0_5"))
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    model = load_model(f"torchvision:shufflenet_v2_x0_5@{tmp_path / 'mine.pth'}", device="cpu")
    pixels = random_pixels(model)
    network.eval().fc = torch.nn.Identity()
    with torch.no_grad():
        expected = embedded(network, pixels).numpy()
    assert np.abs(model.encode_images(pixels) - expected).max() < 1e-6
    with pytest.raises(SynestheteError, match="do not load into torchvision:resnet18"):
        load_model(f"torchvision:resnet18@{tmp_path / 'mine.pth'}")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("timm:resnt18/random", "did you mean"),
        ("torchvision:resnt18/random", "did you mean 'resnet18'"),
        ("torchvision:resnet18/IMAGENET1K_V7", "it has IMAGENET1K_V1, DEFAULT, random"),
        ("torchvision:fasterrcnn_resnet50_fpn/random", "has no model"),
        ("timm:../../etc/random", "timm has no model"),
        ("timm:hf-hub:mine/theirs", "names no model of timm"),
        ("timm:resnet18/random:x", "names no model of timm"),
        ("torchvision:resnet18@nowhere.pth", "there is no such file"),
        ("wrap:mine", "was wrapped by a program of yours"),
    ],
)
def test_names_that_are_none(spec: str, says: str) -> None:
    with pytest.raises(SynestheteError) as caught:
        load_model(spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:resnet18"])
def test_out_of_reach(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(SynestheteError) as caught:
        load_model(spec)
    assert "could not be downloaded: HF_HUB_OFFLINE forbids it" in str(caught.value)
    assert f"meanwhile, {spec}/random has random weights" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "../evil"}, "expected a name of timm's own list"),
        ({"architecture": "local-dir:/tmp/x"}, "expected a name of timm's own list"),
        ({"architecture": "resnet10q"}, "timm has no model 'resnet10q'"),
        ({"architecture": "resnet152"}, "do not load into"),
        ({"architecture": "vit_giant_patch14_dinov2"}, "more than"),
        ({"num_classes": 1 << 30}, "expected an integer"),
        ({"model_args": {"block": "evil"}}, 'model_args."block" is no setting of timm'),
        ({"model_args": {"in_chans": 9}}, "model_args.in_chans is 9"),
        ({"model_args": ["evil"]}, "model_args is"),
        ({"features": True}, '"features" is no setting of timm'),
        ({"auto_map": {}}, "asks for Python code"),
        ({"pretrained_cfg": {"input_size": [3, 4096, 4096]}}, "expected a list of 3"),
        ({"pretrained_cfg": {"custom_load": True, "file": "/etc/passwd", "mean": "evil"}}, "expected a list"),
    ],
)  # fmt: skip
def test_hostile_folders_of_timm(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    folder = write_timm(tmp_path / "model", **changes)
    with pytest.raises(SynestheteError) as caught:
        load_model(str(folder), device="cpu")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "sites"),
    [
        ("timm:test_vit/random", ["visual.trunk.blocks.3.mlp", "visual.trunk.blocks.3.attn"]),
        ("timm:test_resnet/random", ["visual.trunk.layer4.0", "visual.trunk.layer2.0"]),
        ("folder", ["visual.trunk.layer4.0"]),
        ("torchvision:resnet18/random:3", ["visual.trunk.layer4.1", "visual.trunk.layer2.1"]),
    ],
)
def test_an_export_is_what_the_plain_library_loads(
    spec: str, sites: list[str], models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    folder = spec == "folder"
    model = (
        load_model(str(write_timm(tmp_path / "model")), device="cpu") if folder else models(spec)
    )
    noise = np.random.default_rng(0).integers(0, 256, (2, 120, 100, 3), dtype=np.uint8)
    shown = [Image.fromarray(one) for one in noise]
    pixels = torch.stack([model.preprocess(one) for one in shown])
    units = []
    for site in sites:
        values = model.read(pixels, [site]).activations[site] if not site.endswith("attn") else np.ones((1, 1))  # fmt: skip
        units.append(f"{site}:{int(np.abs(values).min(axis=0).argmax())}")
    edits = plan_edits(model, ablate=units)
    out = tmp_path / "out"
    done = export_edits(model, edits, out, shown)
    assert done.difference <= 1e-4 < done.effect
    with model.edited(edits):
        live = model.encode_images(pixels)
    if spec.startswith("torchvision"):
        about = json.loads((out / "loading.json").read_text())
        names: dict[str, Any] = {"torchvision": torchvision, "safetensors": safetensors}
        with chdir(out):
            exec("\n".join(about["load"]), names)
        plain = names["network"].eval()
        plain.fc = torch.nn.Identity()
    else:
        plain = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        assert plain.num_classes == (5 if folder else 1000)
        if folder:
            assert list(plain.pretrained_cfg["mean"]) == [0.4, 0.5, 0.6]
    with torch.no_grad():
        found = embedded(plain, pixels).numpy()
    assert np.abs(found - live).max() <= 1e-4
    # It is a model like any other here.
    again = load_model(done.spec, device="cpu")
    assert np.abs(again.encode_images(pixels) - live).max() <= 1e-4
    assert torch.equal(again.preprocess(shown[0]), pixels[0])


def test_a_map_whose_average_is_the_embedding_is_not_scaled(
    models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    for spec, layer in (("timm:test_resnet/random", "layer4.0"), ("torchvision:resnet18/random:3", "layer4.1")):  # fmt: skip
        model = models(spec)
        edits = plan_edits(model, scale={f"visual.trunk.{layer}:3": 2.0})
        with pytest.raises(
            SynestheteError, match="no weights are known to stand between the last map"
        ):
            export_edits(model, edits, tmp_path / "x", [Image.new("RGB", (64, 64))])
    assert not (tmp_path / "x").exists()


def test_links_out_of_a_folder_of_timm(tmp_path: Path) -> None:
    outside, folder = write_timm(tmp_path / "outside"), write_timm(tmp_path / "model")
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
        (folder / name).symlink_to(outside / name)
        with pytest.raises(SynestheteError, match="leads out of"):
            load_model(str(folder), device="cpu")
        write_timm(folder.with_name("model2")).joinpath(name).rename(folder / name)


def test_a_host_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synesthete.models.vision_libraries.offline", lambda: False)
    monkeypatch.setattr("synesthete.models.vision_libraries.PATIENCE", 0.2)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/resnet18-abcdef01.pth"
        monkeypatch.setattr(torchvision_models.ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
        with pytest.raises(SynestheteError, match="timed out"):
            load_model("torchvision:resnet18/IMAGENET1K_V1")
    assert list((tmp_path / "checkpoints").iterdir()) == []
