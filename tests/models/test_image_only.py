"""Image towers whose text tower, of transformers, cannot be built; and what is said where a package is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from synesthete.editing import export_edits, plan_edits
from synesthete.errors import SynestheteError
from synesthete.models import building as building_room
from synesthete.models import load_model, sources, text
from synesthete.models.hub import refuse_pickle
from tests.models.conftest import VISION, random_pixels, scramble

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": VISION["vit"],
    "text_cfg": {"hf_model_name": "org/other", "hf_tokenizer_name": "org/other"},
}
PART = "visual.transformer.resblocks.2.mlp"


@pytest.fixture(autouse=True)
def architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one, with a text tower that nobody has."""
    monkeypatch.setattr(sources, "configuration_of", lambda name: CONFIG)

    def nowhere(spec: str, repository: str, filename: str) -> Path:
        raise refuse_pickle(spec)

    monkeypatch.setattr(building_room, "fetch", nowhere)


def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (building_room, text):
        monkeypatch.setattr(room, "has_transformers", lambda: False)


def test_random_weights_stand_alone(tmp_path: Path) -> None:
    model = load_model("roberta-ViT-B-32/random", device="cpu")
    assert [layer.tower for layer in model.layers()].count("text") == 0
    assert model.default_layers == [PART]
    pixels = random_pixels(model)
    reading = model.read(pixels, [PART])
    with torch.inference_mode():
        plain = torch.nn.functional.normalize(model.network.visual(pixels), dim=-1)  # type: ignore[operator]
    torch.testing.assert_close(torch.from_numpy(reading.embeddings), plain)
    again = load_model("roberta-ViT-B-32/random", device="cpu")
    assert again.weights_sha256 == model.weights_sha256
    twin = model.random_twin(3)
    assert twin.weights_sha256 != model.weights_sha256
    assert twin.read(pixels, [PART]).activations[PART].std() > 0
    why = "text tower was not built: config.json of org/other is out of reach"
    assert why in model.description["text_tower"]
    for texts in (lambda: model.encode_texts(["a"]), lambda: model.tokens("a")):
        with pytest.raises(SynestheteError, match=f"{why} .connect once"):
            texts()
    edits = plan_edits(model, ablate=[f"{PART}:3"])
    with pytest.raises(SynestheteError, match="holds both towers, and roberta-ViT-B-32/random"):
        export_edits(model, edits, tmp_path / "x", [Image.new("RGB", (48, 48))])
    assert not (tmp_path / "x").exists()


def test_trained_weights_stand_alone_only_without_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.safetensors"
    visual = scramble(load_model("roberta-ViT-B-32/random", device="cpu").network, 7)
    weights = visual.state_dict() | {"text.proj.weight": torch.ones(2, 2), "logit_scale": torch.ones(())}  # fmt: skip
    save_file(weights, file)
    with pytest.raises(SynestheteError, match="pickle"):
        load_model(f"roberta-ViT-B-32@{file}", device="cpu")
    without_transformers(monkeypatch)
    model = load_model(f"roberta-ViT-B-32@{file}", device="cpu")
    own = model.network.state_dict()
    assert own.keys() == visual.state_dict().keys()
    assert all(torch.equal(own[name], weights[name]) for name in own)
    with pytest.raises(SynestheteError, match=r"needs the package transformers.*pip install"):
        model.encode_texts(["a"])
    del weights["visual.proj"]
    save_file(weights, file)
    with pytest.raises(SynestheteError, match="do not load"):
        load_model(f"roberta-ViT-B-32@{file}", device="cpu")


def test_a_missing_package_is_named_and_the_hub_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """SigLIP: open_clip's own text tower, and a tokenizer of transformers."""
    siglip = CONFIG | {"text_cfg": {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "vocab_size": 100}}
    monkeypatch.setattr(sources, "configuration_of", lambda name: siglip)
    tokenizer = text.tokenizer_of(sources.resolve("ViT-B-16-SigLIP/random"))

    def lacks(source: Any, files: Any) -> Any:
        raise ValueError("you need to have sentencepiece or tiktoken installed")

    monkeypatch.setattr(text, "tokenizer_files", lambda source: {})
    monkeypatch.setattr(text, "_open", lacks)
    with pytest.raises(SynestheteError, match=r"sentencepiece.*install the package") as found:
        tokenizer(["a"])
    assert "hub" not in str(found.value)
    without_transformers(monkeypatch)
    tokenizer = text.tokenizer_of(sources.resolve("ViT-B-16-SigLIP/random"))
    with pytest.raises(SynestheteError, match="needs the package transformers") as found:
        tokenizer(["a"])
    assert "hub" not in str(found.value)
