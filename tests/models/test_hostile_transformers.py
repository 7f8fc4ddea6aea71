"""A folder that transformers is to read is somebody else's: no code, no file outside, nothing huge, one line each."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from synesthete.errors import SynestheteError
from synesthete.models import load_model
from tests.models.families import write_family

pytest.importorskip("transformers")
EVIL = "from pathlib import Path\nPath({ran!r}).write_text('ran')\nclass Evil: pass\n"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("siglip"), "siglip")


@pytest.fixture
def folder(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good folder, to make a bad one of; no name may be looked up."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return Path(shutil.copytree(good, tmp_path / "model"))


def change(folder: Path, name: str, **settings: Any) -> None:
    found = json.loads((folder / name).read_text())
    for key, value in settings.items():
        if isinstance(found.get(key), dict) and isinstance(value, dict):
            found[key] |= value
        else:
            found[key] = value
    (folder / name).write_text(json.dumps(found))


def message(folder: Path, *, texts: bool = False) -> str:
    def use() -> None:
        model = load_model(str(folder), device="cpu")
        if texts:
            model.encode_texts(["apple"])

    with pytest.raises(SynestheteError) as caught:
        use()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Evil"}}, "asks for Python code"),
        ("config.json", {"vision_config": {"trust_remote_code": True}}, "asks for Python code"),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.Evil"}}, "asks for Python code"),
        ("preprocessor_config.json", {"image_processor_type": "evil.Evil"}, "expected an image processor"),
        ("preprocessor_config.json", {"image_processor_type": "AutoImageProcessor"}, "expected an image processor"),
        ("preprocessor_config.json", {"size": {"height": 1 << 20, "width": 32}}, "expected null or a size"),
        ("preprocessor_config.json", {"crop_size": 30, "do_center_crop": True, "size": 30}, "cannot be"),
        ("preprocessor_config.json", {"image_std": [0, 0, 0]}, "preprocessing"),
        ("config.json", {"model_type": "../evil"}, "names no model_type"),
        ("config.json", {"model_type": "evil"}, "has no model of type"),
        ("config.json", {"model_type": "bert"}, "gives no embeddings of images"),
        ("config.json", {"vision_config": {"num_hidden_layers": 100_000}}, "expected an integer from 0 to 256"),
        ("config.json", {"vision_config": {"hidden_size": 1 << 30}}, "hidden_size is 1073741824"),
        ("config.json", {"vision_config": {"intermediate_size": 65_536, "hidden_size": 65_536}}, "cannot hold as many"),
        ("config.json", {"vision_config": {"image_size": 4096}}, "expected an integer from 1 to 2,048"),
        ("config.json", {"text_config": {"vocab_size": 1 << 40}}, "vocab_size"),
        ("config.json", {"vision_config": {"hidden_act": "../../evil"}}, "hidden_act"),
        ("config.json", {"vision_config": {"hidden_act": "evil"}}, "cannot be built"),
        ("config.json", {"vision_config": {"hidden_size": "wide"}}, "cannot be built"),
        ("config.json", {"vision_config": {"num_attention_heads": 0}}, "cannot be"),
        ("config.json", {"vision_config": {"num_hidden_layers": 3}}, "the weights of"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(
    folder: Path, name: str, settings: dict[str, Any], says: str
) -> None:
    change(folder, name, **settings)
    assert says in message(folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "asks for Python code"),
        ({"tokenizer_class": "evil.Evil"}, "no tokenizer of transformers"),
        ({"pad_token": None}, "cannot read texts"),
    ],
)
def test_tokenizers_that_are_refused(folder: Path, settings: dict[str, Any], says: str) -> None:
    change(folder, "tokenizer_config.json", **settings)
    assert says in message(folder, texts=True)


def test_nothing_of_the_folder_is_run(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name in (
        "evil.py",
        "modeling_siglip.py",
        "configuration_siglip.py",
        "tokenization_siglip.py",
        "__init__.py",
    ):
        (folder / name).write_text(EVIL.format(ran=str(ran)))
    # What shapes no network is not even looked at: a kernel of the hub, another format of weights, files elsewhere.
    change(
        folder, "config.json", attn_implementation="evil/kernel", _attn_implementation="evil/kernel",
        quantization_config={"quant_method": "evil"}, _name_or_path="/etc", torch_dtype="evil", dtype="evil",
    )  # fmt: skip
    change(
        folder,
        "tokenizer_config.json",
        vocab_file="/etc/passwd",
        tokenizer_file="/etc/passwd",
        name_or_path="/etc",
    )
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "evil/base", "peft_type": "LORA"})
    )
    (folder / "chat_template.jinja").write_text("{{ evil }}")
    model = load_model(str(folder), device="cpu")
    assert model.encode_texts(["apple"]).shape == (1, 32)
    assert not ran.exists()


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
)
def test_links_that_lead_out(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((folder / name).read_bytes())
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / name)
    assert "leads out of" in message(folder, texts=True)


@pytest.mark.parametrize(
    "shard", ["../evil.safetensors", "/etc/passwd", "evil.bin", "missing.safetensors", 5]
)
def test_an_index_of_other_files(folder: Path, shard: Any) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"logit_scale": shard}})
    )
    assert "model" in message(folder)


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b"\xff\xfe", b'{"a":' * 5000])
def test_damaged_settings(folder: Path, bad: bytes) -> None:
    for name in ("preprocessor_config.json", "config.json"):
        (folder / name).write_bytes(bad)
        message(folder)


def test_pickled_weights_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickle" in message(folder)


def test_damaged_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    message(folder)


def test_weights_that_are_not_finite(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(one for one in weights if one.endswith("fc1.weight") and "vision" in one)
    weights[name][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "holds NaN or infinity" in message(folder)
