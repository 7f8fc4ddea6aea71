"""Loading, describing, preparing images and making the random twin."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, list_models, load_model
from synesthete.models.sources import MINI
from tests.models.conftest import VISION, Writer, random_pixels


def noise_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (40, 90), (1, 7), (1000, 30)])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_images_are_prepared_as_open_clip_does(
    write_model: Writer, resize_mode: str, size: tuple[int, int]
) -> None:
    spec = write_model("resnet")
    path = Path(spec.removeprefix("local-dir:")) / "open_clip_config.json"
    settings = json.loads(path.read_text())
    settings["preprocess_cfg"] |= {
        "resize_mode": resize_mode,
        "interpolation": "bilinear",
        "fill_color": 99,
    }
    path.write_text(json.dumps(settings))
    model = load_model(spec, device="cpu")
    _, _, plain = open_clip.create_model_and_transforms(spec)
    image = noise_image(*size)
    assert torch.equal(model.preprocess(image), plain(image))
    seen = model.geometry(image)
    assert (seen.mode, seen.size) == ("RGB", (64, 64))
    assert torch.equal(model.preprocess(seen), plain(image))
    assert model.preprocessing.as_dict() == {
        "image_size": 64,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.25],
        "interpolation": "bilinear",
        "resize_mode": resize_mode,
        "fill_color": 99,
    }


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA"])
def test_other_colour_modes_too(resnet: ImageTextModel, mode: str) -> None:
    _, _, plain = open_clip.create_model_and_transforms(resnet.name)
    image = noise_image(80, 70, mode)
    assert torch.equal(resnet.preprocess(image), plain(image))
    assert resnet.geometry(image).mode == "RGB"


def test_a_sliver_does_not_fill_the_memory(resnet: ImageTextModel) -> None:
    with pytest.raises(SynestheteError, match="too narrow"):
        resnet.preprocess(Image.new("RGB", (60_000, 1)))
    with pytest.raises(SynestheteError, match="without pixels"):
        resnet.geometry(Image.new("RGB", (0, 5)))


def test_pixels_of_another_shape(resnet: ImageTextModel) -> None:
    with pytest.raises(SynestheteError, match=r"expected \(batch, 3, 64, 64\).*preprocess"):
        resnet.encode_images(torch.zeros(1, 3, 32, 64))


def test_layers_and_their_names(resnet: ImageTextModel, vit: ImageTextModel) -> None:
    assert resnet.default_layers == ["visual.layer4.1"]
    assert vit.default_layers == ["visual.transformer.resblocks.2.mlp"]
    last = resnet.layer("visual.layer4.1:pre")
    assert (last.units, last.kind, last.grid) == (512, "block", (2, 2))
    assert {layer.kind for layer in vit.layers("image")} == {"mlp", "residual"}
    assert vit.layer("visual.transformer.resblocks.0").units == 64


def test_no_such_layer(resnet: ImageTextModel) -> None:
    with pytest.raises(SynestheteError) as caught:
        resnet.read(random_pixels(resnet), ["visual.layer5.1"])
    message = str(caught.value)
    assert "no layer 'visual.layer5.1'" in message
    assert message.index("did you mean 'visual.layer4.1'") < message.index("it has visual.layer1.0")
    assert all(layer.name in message for layer in resnet.layers())
    assert "\n" not in message


def test_reductions_that_do_not_exist(resnet: ImageTextModel) -> None:
    with pytest.raises(SynestheteError, match=r"no such reduction 'min'.*max, mean, cls"):
        resnet.read(random_pixels(resnet), ["visual.layer1.0"], "min")
    with pytest.raises(SynestheteError, match="has no class token"):
        resnet.read(random_pixels(resnet), ["visual.layer1.0"], "cls")


def test_fingerprint_of_the_weights(write_model: Writer) -> None:
    spec = write_model("resnet")
    first, again = load_model(spec, device="cpu"), load_model(spec, device="cpu")
    assert first.weights_sha256 == again.weights_sha256
    slow = hashlib.sha256()
    for key in sorted(first.network.state_dict()):
        tensor = first.network.state_dict()[key].contiguous()
        slow.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        slow.update(tensor.numpy().tobytes())
    assert first.weights_sha256 == slow.hexdigest()
    assert load_model(write_model("resnet", seed=1)).weights_sha256 != first.weights_sha256


def test_random_twin(resnet: ImageTextModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    twin, again, other = resnet.random_twin(), resnet.random_twin(0), resnet.random_twin(1)
    assert torch.equal(torch.rand(3), expected), "the caller's random numbers were touched"
    assert twin.weights_sha256 == again.weights_sha256
    assert len({model.weights_sha256 for model in (resnet, twin, other)}) == 3
    assert [layer.name for layer in twin.layers()] == [layer.name for layer in resnet.layers()]
    assert twin.description["pretrained"] == "random:0"
    assert resnet.description["pretrained"] != "random:0"
    pixels = random_pixels(resnet)
    found = twin.read(pixels, ["visual.layer4.1"]).activations["visual.layer4.1"]
    assert (found.std(axis=0) > 0).mean() > 0.8


def test_every_block_of_the_twin_is_at_work(resnet: ImageTextModel) -> None:
    """open_clip's own start switches the residual branches off, which would be a shallow control."""
    twin = resnet.random_twin()
    for stage in (1, 2, 3, 4):
        before, after = (
            twin.maps(random_pixels(twin), f"visual.layer{stage}.{index}") for index in (0, 1)
        )
        change = float((after - before).std() / before.std())
        assert 0.1 < change < 3


def test_description(resnet: ImageTextModel) -> None:
    found = resnet.description
    assert found["architecture"] == "ModifiedResNet 2-2-2-2 width 16"
    assert found["parameters"] == sum(p.numel() for p in resnet.network.parameters())
    assert found["open_clip"] == open_clip.__version__
    assert json.loads(json.dumps(found)) == found
    assert resnet.embedding_dim == 24


def test_the_list_of_models() -> None:
    models = {model["name"]: model for model in list_models()}
    assert (
        len(models) == len(open_clip.list_pretrained()) + (MINI / "open_clip_config.json").is_file()
    )
    assert models["RN50x4/openai"]["default_layers"] == ["visual.layer4.5"]
    assert models["ViT-L-14/openai"]["default_layers"] == ["visual.transformer.resblocks.23.mlp"]
    assert models["ViT-B-16-SigLIP/webli"]["default_layers"] == []
    assert models["RN50x4/openai"]["image_size"] == 288


def test_the_list_of_a_family() -> None:
    every = list_models()
    siglips = list_models("SigLip")
    assert siglips == [one for one in every if "siglip" in one["name"].lower()]
    assert len(siglips) > 10
    assert {one["name"] for one in list_models("ModifiedResNet")} >= {"mini", "RN50/openai"}
    assert "torchvision:resnet50" in {one["name"] for one in list_models("torchvision")}
    assert len(list_models("timm")) > 500
    with pytest.raises(SynestheteError, match="no model is of the family 'siglipp9'") as error:
        list_models("siglipp9")
    assert error.value.hint


def test_the_list_agrees_with_a_loaded_model() -> None:
    listed = {m["architecture"]: m["default_layers"] for m in list_models()}
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    from synesthete.models.architectures import default_layer, find_taps

    for architecture in ("RN101", "ViT-B-16"):
        config = open_clip.get_model_config(architecture)["vision_cfg"]
        with torch.device("meta"):
            visual = _build_vision_tower(8, CLIPVisionCfg(**config))
        assert [default_layer(find_taps(visual))] == listed[architecture]


def test_custom_text_models_read_the_same(write_model: Writer) -> None:
    """CustomTextCLIP keeps its text tower elsewhere; the image tower is no other."""
    spec = write_model("vit")
    expected = load_model(spec, device="cpu")
    path = Path(spec.removeprefix("local-dir:")) / "open_clip_config.json"
    settings = json.loads(path.read_text())
    settings["model_cfg"]["custom_text"] = True
    path.write_text(json.dumps(settings))
    custom = load_model(spec, device="cpu")
    assert type(custom.network).__name__ == "CustomTextCLIP"
    pixels, layer = random_pixels(custom), "visual.transformer.resblocks.2.mlp"
    np.testing.assert_array_equal(
        custom.read(pixels, [layer]).activations[layer],
        expected.read(pixels, [layer]).activations[layer],
    )
    texts = ["a cat", "a dog"]
    np.testing.assert_allclose(custom.encode_texts(texts), expected.encode_texts(texts), atol=1e-6)


def test_coca_models_read_too(tmp_path: Path) -> None:
    """CoCa pools with attention and returns its tokens besides the embedding."""
    from open_clip.coca_model import CoCa
    from safetensors.torch import save_file

    text = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {
        "embed_dim": 24,
        "vision_cfg": VISION["vit"] | {"attentional_pool": True, "output_tokens": True},
        "text_cfg": text | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": text | {"attn_pooler_heads": 2},
        "custom_text": True,
    }
    sizes = {key: value for key, value in config.items() if key != "custom_text"}
    save_file(CoCa(**sizes).state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    model = load_model(f"local-dir:{tmp_path}", device="cpu")
    layer = model.default_layers[0]
    reading = model.read(random_pixels(model), [layer])
    assert reading.activations[layer].shape == (3, 256)
    np.testing.assert_allclose(np.linalg.norm(reading.embeddings, axis=1), 1, atol=1e-5)
    assert model.encode_texts(["a cat"]).shape == (1, 24)


def test_quick_gelu_follows_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OpenAI's weights need QuickGELU, also when the architecture is named without it."""
    from safetensors.torch import save_file

    from synesthete.models import hub

    network = open_clip.create_model("RN50", force_quick_gelu=True)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.setattr(hub, "fetch", lambda *_: tmp_path / "weights.safetensors")
    model = load_model("RN50/openai", device="cpu")
    assert model.description["quick_gelu"]
    assert model.description["pretrained"] == "openai"
    tokens = open_clip.get_tokenizer("RN50")(["a cat"])
    with torch.inference_mode():
        expected = network.eval().encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(model.encode_texts(["a cat"]), expected, atol=1e-6)
