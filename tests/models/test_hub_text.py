"""Text towers of transformers in open_clip's networks: built without the hub, read as transformers itself computes them, edited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pytest.importorskip("transformers")

from synesthete.editing import export_edits, plan_edits
from synesthete.editing.fold import Unfoldable, fold
from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, building, load_model, sources, text
from synesthete.models.hub_text import SHAPES
from synesthete.models.names import architectures, configuration_of
from tests.models.conftest import VISION, random_pixels, scramble
from tests.models.families import write_tokenizer

BERT = {
    "vocab_size": 64, "max_position_embeddings": 82, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4,
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "roberta-base": BERT,
    "xlm-roberta-base": BERT,
    "google/mt5-base": {
        "vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4,
    },
    "facebook/nllb-200-distilled-600M": {
        "vocab_size": 64, "max_position_embeddings": 80, "d_model": 32, "encoder_layers": 3, "encoder_ffn_dim": 48,
        "encoder_attention_heads": 4, "decoder_ffn_dim": 48, "decoder_attention_heads": 4,
    },
}  # fmt: skip
# Of each the settings of the text tower, what its last block is called, and the linear layer that its neurons are read by.
TOWERS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "roberta": ("roberta-base", {"hf_pooler_type": "mean_pooler"}, "encoder.layer.2", "output.dense"),
    "xlm-roberta": ("xlm-roberta-base", {"hf_pooler_type": "mean_pooler"}, "encoder.layer.2", "output.dense"),
    "mt5": ("google/mt5-base", {"hf_pooler_type": "mean_pooler"}, "block.2.layer.1", "DenseReluDense.wo"),
    "nllb": (
        "facebook/nllb-200-distilled-600M", {"hf_proj_type": "linear", "hf_pooler_type": "cls_pooler"}, "layers.2", "fc2",
    ),
    "coca": ("roberta-base", {"hf_proj_type": "linear", "output_tokens": True}, "encoder.layer.2", "output.dense"),
}  # fmt: skip
TEXTS = ["an apple", "two red dogs eat the apple", "", "the cat " * 60]


def neurons_of(kind: str) -> str:
    """The name of the MLP of the last block."""
    within = {"mt5": ".DenseReluDense", "nllb": ".activation_fn"}.get(kind, ".intermediate")
    return f"text.transformer.{TOWERS[kind][2]}{within}"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Small towers under the names of large ones, and an empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    small = {name: {**SHAPES[name], **changes} for name, changes in SMALL.items()}
    monkeypatch.setattr(building, "SHAPES", small)
    return tmp_path / "cache"


@pytest.fixture
def tower(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, offline: Path
) -> ImageTextModel:
    """A small model with one of `TOWERS`, its tokenizer in the hub's cache, and weights in which nothing cancels."""
    return build(request.param, monkeypatch, offline)


def build(kind: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> ImageTextModel:
    name, settings, _, _ = TOWERS[kind]
    config: dict[str, Any] = {
        "embed_dim": 24,
        "vision_cfg": VISION["vit"],
        "text_cfg": {"hf_model_name": name, "hf_tokenizer_name": name} | settings,
    }
    if kind == "coca":
        config["vision_cfg"] = VISION["vit"] | {"attentional_pool": True, "output_tokens": True}
        config["multimodal_cfg"] = {"context_length": 76, "width": 24, "heads": 2, "layers": 1}
    monkeypatch.setattr(sources, "configuration_of", lambda _: config)
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    # Padding is 0 for mT5, which has no start token, and 1 for the others.
    write_tokenizer(folder / "snapshots" / ("0" * 40), "siglip" if kind == "mt5" else "altclip")
    model = load_model("roberta-ViT-B-32/random", device="cpu")
    scramble(model.network)
    return model


every = pytest.mark.parametrize("tower", TOWERS, indirect=True)


def by_the_library(
    model: ImageTextModel, kind: str, tokens: torch.Tensor
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Embeddings, the stream behind the second block, and what the last MLP's second layer is given, without our hooks."""
    encoder: Any = model.network.text
    given: list[torch.Tensor] = []
    _, _, block, reader = TOWERS[kind]
    linear = encoder.transformer.get_submodule(f"{block}.{reader}")
    handle = linear.register_forward_pre_hook(lambda module, args: given.append(args[0].clone()))
    with torch.inference_mode():
        embeddings = model.network.encode_text(tokens, normalize=True)  # type: ignore[operator]
        states = encoder.transformer(
            input_ids=tokens,
            attention_mask=(tokens != encoder.config.pad_token_id).long(),
            output_hidden_states=True,
        ).hidden_states
    handle.remove()
    return embeddings.numpy(), states[2], given[0]


@every
def test_values_are_those_of_the_library(
    tower: ImageTextModel, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["tower"]
    layers = tower.layers("text")
    middle = f"text.transformer.{TOWERS[kind][2].replace('2', '1', 1)}"
    neurons = neurons_of(kind)
    assert {middle, neurons} <= {one.name for one in layers}
    assert len([one for one in layers if one.kind == "mlp" and not one.name.endswith(":pre")]) == 3
    assert (tower.layer(neurons).units, tower.layer(middle).units) == (48, 32)
    tokens = tower.token_ids(TEXTS)
    assert tokens.shape == (4, 77)
    embeddings, stream, given = by_the_library(tower, kind, tokens)
    assert np.ptp(embeddings, axis=0).max() > 0.01
    np.testing.assert_allclose(tower.encode_texts(TEXTS), embeddings, atol=1e-5)
    pad = 0 if kind == "mt5" else 1
    for row, ids in enumerate(tokens.tolist()):
        # What counts: no padding, and no start token where there is one.
        own = [at for at, one in enumerate(ids) if one != pad][0 if kind == "mt5" else 1 :]
        read_at = 0 if kind == "nllb" else own[-1]
        for layer, known in ((middle, stream), (neurons, given)):
            wanted = {
                "max": known[row, own].max(dim=0).values,
                "mean": known[row, own].mean(dim=0),
                "end": known[row, read_at],
            }
            for how, values in wanted.items():
                found = tower.read_texts(TEXTS, [layer], how).activations[layer][row]
                np.testing.assert_allclose(found, values.numpy(), atol=1e-5, err_msg=how)
    assert tower.read_texts(TEXTS, [neurons]).truncated.tolist() == [False, False, False, True]


@every
def test_neurons_and_heads_are_edited_and_fold(
    tower: ImageTextModel, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["tower"]
    neurons = neurons_of(kind)
    unit = int(tower.read_texts(TEXTS[:2], [neurons], "max").activations[neurons].min(0).argmax())
    heads = [one for one in tower.sites("text") if one.kind == "heads"]
    assert [one.units for one in heads] == [4, 4, 4]
    edits = plan_edits(tower, ablate=[f"{heads[-1].name}:1"], scale={f"{neurons}:{unit}": -2.0})
    plain = tower.encode_texts(TEXTS)
    images = tower.encode_images(random_pixels(tower))
    with tower.edited(edits):
        live = tower.encode_texts(TEXTS)
        np.testing.assert_array_equal(tower.encode_images(random_pixels(tower)), images)
    assert np.abs(live - plain).max() > 1e-3
    np.testing.assert_array_equal(tower.encode_texts(TEXTS), plain)
    tower.network.load_state_dict(fold(tower, edits))
    np.testing.assert_allclose(tower.encode_texts(TEXTS), live, atol=1e-5)


@every
def test_the_twin_has_the_same_layers_and_other_weights(tower: ImageTextModel) -> None:
    twin, again = tower.random_twin(3), tower.random_twin(3)
    assert [one.name for one in twin.layers()] == [one.name for one in tower.layers()]
    assert twin.weights_sha256 == again.weights_sha256 != tower.weights_sha256
    layer = tower.layers("text")[-1].name
    found = twin.read_texts(TEXTS, [layer]).activations[layer]
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=0).max() > 0


@pytest.mark.parametrize("kind", ["roberta", "mt5"])
def test_an_export_is_what_open_clip_loads(
    kind: str, monkeypatch: pytest.MonkeyPatch, offline: Path, tmp_path: Path
) -> None:
    """Of a folder with its tokenizer; the hub has no part in it."""
    folder = tmp_path / "model"
    folder.mkdir()
    drawn = build(kind, monkeypatch, offline)
    save_file(drawn.network.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": sources.configuration_of(""), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    write_tokenizer(folder, "siglip" if kind == "mt5" else "altclip")
    shutil.rmtree(offline)
    model = load_model(f"local-dir:{folder}", device="cpu")
    assert model.weights_sha256 == drawn.weights_sha256
    neurons = neurons_of(kind)
    unit = int(model.read_texts(TEXTS[:2], [neurons], "max").activations[neurons].min(0).argmax())
    edits = plan_edits(model, ablate=[f"{neurons}:{unit}"])
    done = export_edits(model, edits, tmp_path / "out", [Image.new("RGB", (48, 48))])
    assert done.difference <= 1e-4 < done.effect
    again = load_model(done.spec, device="cpu")
    with model.edited(edits):
        live = model.encode_texts(TEXTS)
    np.testing.assert_allclose(again.encode_texts(TEXTS), live, atol=1e-4)


def test_a_stream_that_a_norm_gives_is_folded_into_it(
    monkeypatch: pytest.MonkeyPatch, offline: Path
) -> None:
    model = build("roberta", monkeypatch, offline)
    layer = "text.transformer.encoder.layer.1"
    edits = plan_edits(
        model, ablate=[f"{layer}:1"], scale={f"{layer}:2": -3.0}, steer={f"{layer}:3": 1.0}
    )
    folded = fold(model, edits)
    given = model.network.state_dict()
    changed = {name for name in folded if not torch.equal(folded[name], given[name])}
    norm = f"{layer}.output.LayerNorm"
    assert changed == {f"{norm}.weight", f"{norm}.bias"}
    before = model.encode_texts(TEXTS)
    with model.edited(edits):
        live = model.encode_texts(TEXTS)
    model.network.load_state_dict(folded)
    assert np.abs(model.encode_texts(TEXTS) - live).max() < 1e-5 < np.abs(before - live).max()


def test_a_stream_without_a_bias_is_not_exported(
    monkeypatch: pytest.MonkeyPatch, offline: Path
) -> None:
    model = build("mt5", monkeypatch, offline)
    stream = next(one.name for one in model.layers("text") if one.kind == "residual")
    with pytest.raises(Unfoldable, match="a linear layer or norm with a bias"):
        fold(model, plan_edits(model, steer={f"{stream}:3": 1.0}))


def test_without_its_tokenizer_texts_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, offline: Path
) -> None:
    model = build("nllb", monkeypatch, offline)
    shutil.rmtree(offline)
    assert len(model.layers("text")) == 9
    with pytest.raises(SynestheteError) as caught:
        model.encode_texts(["an apple"])
    assert str(caught.value).startswith("the tokenizer of roberta-ViT-B-32/random is not on this")
    assert "copy models--facebook--nllb-200-distilled-600M" in str(caught.value)
    assert "/random has" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_transformers_the_image_tower_stands_alone(
    monkeypatch: pytest.MonkeyPatch, offline: Path
) -> None:
    for room in (building, text):
        monkeypatch.setattr(room, "has_transformers", lambda: False)
    model = build("roberta", monkeypatch, offline)
    assert model.layers("text") == []
    assert len(model.layers("image")) == 9
    with pytest.raises(SynestheteError, match="needs the package transformers"):
        model.encode_texts(["an apple"])


def test_every_tower_that_open_clip_names_has_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import CONFIG_MAPPING

    named = {(configuration_of(one) or {})["text_cfg"].get("hf_model_name") for one in architectures()}  # fmt: skip
    assert named - {None} == set(SHAPES)
    for shape in SHAPES.values():
        for key, value in shape.items():
            assert building._TEXT_TOWER[key].fits(value), key
        config = CONFIG_MAPPING[shape["model_type"]](**shape)
        assert {key: getattr(config, key) for key in shape} == dict(shape)


def test_a_tower_that_cannot_be_run_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, offline: Path
) -> None:
    building.SHAPES["roberta-base"]["max_position_embeddings"] = 3  # type: ignore[index]
    with pytest.raises(SynestheteError, match="text tower, a RobertaModel, cannot be run"):
        build("roberta", monkeypatch, offline)
