"""A model's folder is somebody else's: it runs no code, calls no hub, opens no file outside, and breaks in one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from open_clip.coca_model import MultimodalCfg
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg

from synesthete.errors import SynestheteError
from synesthete.models import configuration, hub, load_model
from synesthete.models.sources import read_held_out, resolve
from synesthete.models.text import tokenizer_files
from tests.models.conftest import TEXT, Writer

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
EVIL = """
from pathlib import Path
Path({ran!r}).write_text("ran")
from transformers import PreTrainedTokenizerFast
class Evil(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(scope="module")
def good(write_model: Writer) -> Path:
    return Path(write_model("resnet").removeprefix("local-dir:"))


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A good model folder, to make a bad one of."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def change(folder: Path, **parts: Any) -> None:
    """Change settings of the folder's configuration: `text_cfg={...}` and the like, `preprocess_cfg`, or `top`."""
    found = json.loads((folder / CONFIG).read_text())
    found["preprocess_cfg"] |= parts.pop("preprocess_cfg", {})
    found |= parts.pop("top", {})
    for part, settings_of_part in parts.items():
        if isinstance(settings_of_part, dict) and isinstance(found["model_cfg"].get(part), dict):
            found["model_cfg"][part] |= settings_of_part
        else:
            found["model_cfg"][part] = settings_of_part
    (folder / CONFIG).write_text(json.dumps(found))


def message(folder: Path) -> str:
    with pytest.raises(SynestheteError) as caught:
        load_model(f"local-dir:{folder}", device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


@pytest.fixture
def no_lookups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No name is looked up and no connection tried, in a hub client that believes itself online."""
    from huggingface_hub import constants

    lookups: list[Any] = []

    def refuse(*args: Any, **_: Any) -> Any:
        lookups.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert not lookups


def no_library_may_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a library was given the configuration")

    monkeypatch.setattr(open_clip, "create_model", fail)
    monkeypatch.setattr(open_clip, "get_tokenizer", fail)


def with_tokenizer(folder: Path, **of_config: Any) -> None:
    """Give the folder a tokenizer of transformers' kind that knows four words."""
    words = {"[PAD]": 0, "[UNK]": 1, "apple": 2, "dog": 3}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"} | of_config
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    change(folder, text_cfg={"hf_tokenizer_name": "me/mine"})


@pytest.mark.parametrize(
    "change_of",
    [
        {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}},
        {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": "yes"}}},
        {"text_cfg": {"tokenizer_kwargs": {"Trust-Remote-Code": 1}}},
        {"text_cfg": {"tokenizer_kwargs": {"init_kwargs": [{"a": {"TRUST_REMOTE_CODE": [0]}}]}}},
        {"text_cfg": {"trust_remote_code": True}},
        {"text_cfg": {"tokenizer_kwargs": {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}}},
        {"vision_cfg": {"trustRemoteCode": True}},
        {"preprocess_cfg": {"trust_remote_code": True}},
        {"top": {"auto_map": {"AutoModel": "evil.Evil"}}},
    ],
)
def test_a_configuration_that_asks_for_code(
    folder: Path, change_of: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_library_may_look(monkeypatch)
    change(folder, **change_of)
    assert "asks for Python code of the model's own to be run" in message(folder)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("tokenizer_config.json", {"auto_map": ["evil.Evil", None]}, "asks for Python code"),
        ("tokenizer_config.json", {"a": [{"trust_remote_code": False}]}, "asks for Python code"),
        ("special_tokens_map.json", {"auto_map": {"AutoTokenizer": 1}}, "asks for Python code"),
        ("tokenizer_config.json", {"tokenizer_class": "evil.Evil"}, "no tokenizer of transformers"),
        ("tokenizer_config.json", {"tokenizer_class": "AutoTokenizer"}, "no tokenizer of transf"),
        ("tokenizer_config.json", {"tokenizer_class": 1}, "no tokenizer of transformers"),
        ("config.json", {"tokenizer_class": "evil"}, "no tokenizer of transformers"),
        ("added_tokens.json", [], "is not an object"),
    ],
)
def test_files_of_a_tokenizer_that_ask_for_code(
    folder: Path, name: str, content: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tokenizer(folder)
    model = load_model(f"local-dir:{folder}", device="cpu")
    no_library_may_look(monkeypatch)
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(SynestheteError, match=expected) as caught:
        model.encode_texts(["apple"])
    assert "\n" not in str(caught.value)


def test_a_tokenizer_uses_known_files_and_settings_only(folder: Path) -> None:
    with_tokenizer(
        folder, vocab_file="/etc/passwd", init_inputs=["/etc/passwd"], sp_model_kwargs={"model_file": "/x"},
        name_or_path="/x", fast_tokenizer_files=["../x"], image_token="<i>", chat_template="{{ x }}",
    )  # fmt: skip
    (folder / "special_tokens_map.json").write_text(
        '{"tokenizer_file": "/etc/passwd", "unk_token": "[UNK]"}'
    )
    (folder / "config.json").write_text(
        '{"model_type": "bert", "auto_map": {"AutoConfig": "evil.C"}}'
    )
    (folder / "tokenizer_evil.py").write_text("raise SystemExit")
    found = tokenizer_files(resolve(f"local-dir:{folder}"))
    assert {name: json.loads(data) for name, data in found.items() if name != "tokenizer.json"} == {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "[PAD]",
            "image_token": "<i>",
        },
        "special_tokens_map.json": {"unk_token": "[UNK]"},
        "config.json": {"model_type": "bert"},
    }
    assert found["tokenizer.json"] == (folder / "tokenizer.json").read_bytes()


def test_a_folder_without_its_tokenizer(folder: Path) -> None:
    change(folder, text_cfg={"hf_tokenizer_name": "me/mine"})
    model = load_model(f"local-dir:{folder}", device="cpu")
    with pytest.raises(SynestheteError, match="no files of a tokenizer"):
        model.encode_texts(["apple"])


@pytest.mark.parametrize("requested", ["by the configuration", "by the tokenizer", "by the model"])
def test_no_python_of_the_folder_runs(folder: Path, requested: str) -> None:
    """The whole way, through transformers itself."""
    pytest.importorskip("transformers")
    ran = folder.parent / "ran"
    (folder / "evil.py").write_text(EVIL.format(ran=str(ran)))
    code = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    with_tokenizer(folder, **({} if requested == "by the model" else code))
    (folder / "config.json").write_text(
        json.dumps({"auto_map": {"AutoConfig": "evil.Evil", "AutoTokenizer": "evil.Evil"}})
    )
    if requested == "by the configuration":
        change(folder, text_cfg={"tokenizer_kwargs": {"trust_remote_code": True}})
    try:
        load_model(f"local-dir:{folder}", device="cpu").encode_texts(["apple"])
    except SynestheteError:
        assert requested != "by the model"
    else:
        assert requested == "by the model"
    assert not ran.exists()


def test_a_harmless_tokenizer_of_a_folder_still_works(folder: Path, no_lookups: None) -> None:
    pytest.importorskip("transformers")
    with_tokenizer(folder, vocab_file="/etc/passwd")
    change(folder, text_cfg={"tokenizer_kwargs": {"clean": "canonicalize"}})
    found = load_model(f"local-dir:{folder}", device="cpu").encode_texts(["An apple!", "an apple"])
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("change_of", "expected"),
    [
        ({"vision_cfg": {"timm_model_name": "hf-hub:timm/resnet18.a1_in1k"}}, "timm's own list"),
        ({"vision_cfg": {"timm_model_name": "hf_hub:timm/resnet18.a1_in1k"}}, "timm's own list"),
        ({"vision_cfg": {"timm_model_name": "local-dir:/somewhere"}}, "timm's own list"),
        ({"vision_cfg": {"timm_model_name": "../../model"}}, "timm's own list"),
        ({"vision_cfg": {"timm_model_name": "no_such_model"}}, "no_such_model"),
        ({"text_cfg": {"hf_model_name": "/somewhere/else"}}, "of the model hub"),
        ({"text_cfg": {"hf_model_name": "../else"}}, "of the model hub"),
        ({"text_cfg": {"hf_model_name": "org/other"}}, "not in the hub's cache"),
        ({"text_cfg": {"hf_tokenizer_name": "/somewhere/else"}}, "of the model hub"),
        ({"text_cfg": {"hf_tokenizer_name": "./here"}}, "of the model hub"),
        ({"text_cfg": {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}}, "no setting"),
        ({"text_cfg": {"tokenizer_kwargs": {"cache_dir": "/somewhere"}}}, "no setting"),
        ({"text_cfg": {"tokenizer_kwargs": {"reduction_mask": "syntax"}}}, "reduction_mask"),
        (
            {"text_cfg": {"tokenizer_kwargs": {"additional_special_tokens": ["(a+)+$"]}}},
            "additional_special_tokens",
        ),
        ({"text_cfg": {"hf_model_config": {"a": 1}}}, '"hf_model_config" is no setting'),
        ({"cast_dtype": "float16"}, '"cast_dtype" is no setting'),
        ({"vision_cfg": {"act_kwargs": {"inplace": True}}}, "act_kwargs"),
    ],
)
def test_settings_that_name_files_or_the_hub(
    folder: Path, change_of: dict[str, Any], expected: str, no_lookups: None
) -> None:
    change(folder, **change_of)
    assert expected in message(folder)


@pytest.mark.parametrize(
    ("change_of", "expected"),
    [
        ({"embed_dim": "24"}, 'embed_dim is "24", expected an integer'),
        ({"embed_dim": -1}, "embed_dim is -1"),
        ({"embed_dim": True}, "embed_dim is true"),
        ({"embed_dim": 25}, "do not load"),
        ({"vision_cfg": []}, "vision_cfg is [], expected an object"),
        ({"text_cfg": "x"}, 'text_cfg is "x", expected an object'),
        ({"text_cfg": {"layers": 10**9}}, "text_cfg.layers is 1000000000"),
        ({"vision_cfg": {"layers": [2, 2, 2]}}, "vision_cfg.layers is [2, 2, 2]"),
        ({"vision_cfg": {"layers": [2, 2, 2, -2]}}, "vision_cfg.layers"),
        ({"vision_cfg": {"layers": 2, "patch_size": 0}}, "vision_cfg.patch_size is 0"),
        ({"vision_cfg": {"layers": 2, "patch_size": 128}}, "into patches of 128"),
        ({"vision_cfg": {"layers": 2, "patch_size": 1, "image_size": 2048}}, "expected 1 to 181"),
        ({"vision_cfg": {"image_size": -64}}, "vision_cfg.image_size is -64"),
        ({"vision_cfg": {"image_size": 10**6}}, "vision_cfg.image_size is 1000000"),
        ({"vision_cfg": {"image_size": "64"}}, 'vision_cfg.image_size is "64"'),
        ({"vision_cfg": {"image_size": [[64]]}}, "vision_cfg.image_size is [[64]]"),
        ({"preprocess_cfg": {"size": 10**6}}, "preprocess_cfg.size is 1000000"),
        ({"preprocess_cfg": {"mean": [0.5, 0.5]}}, "preprocess_cfg.mean is [0.5, 0.5]"),
        ({"preprocess_cfg": {"mean": "0.5"}}, 'preprocess_cfg.mean is "0.5"'),
        ({"preprocess_cfg": {"std": [0.5, 0, 0.5]}}, "preprocess_cfg.std is [0.5, 0, 0.5]"),
        ({"preprocess_cfg": {"std": [0.5, -1, 0.5]}}, "preprocess_cfg.std"),
        ({"preprocess_cfg": {"std": [0.5, float("nan"), 0.5]}}, "is damaged"),
        ({"preprocess_cfg": {"interpolation": "lanczos"}}, '"bicubic" or "bilinear" or "random"'),
        ({"preprocess_cfg": {"resize_mode": ["shortest"]}}, "preprocess_cfg.resize_mode"),
        ({"preprocess_cfg": {"fill_color": "black"}}, "preprocess_cfg.fill_color"),
        ({"preprocess_cfg": {"mode": "L"}}, "preprocess_cfg.mode"),
        ({"top": {"preprocess_cfg": [1]}}, "preprocess_cfg is [1], expected an object"),
        ({"quick_gelu": "no"}, "quick_gelu is"),
        ({"custom_text": {"\ud800": 1}}, "lone surrogate"),
    ],
)
def test_settings_of_odd_types_and_sizes(
    folder: Path, change_of: dict[str, Any], expected: str
) -> None:
    change(folder, **change_of)
    assert expected in message(folder)


def test_json_beyond_the_limits(folder: Path) -> None:
    (folder / CONFIG).write_text('{"model_cfg":' * 50_000)
    assert "nested deeper than 64 levels" in message(folder)
    (folder / CONFIG).write_text('{"model_cfg": "' + "x" * 2_000_000 + '"}')
    assert "more than the limit of 1 MiB" in message(folder)


def test_a_network_that_its_weights_cannot_fill_is_not_begun(folder: Path) -> None:
    change(folder, vision_cfg={"layers": 256, "width": 16384, "patch_size": 16, "head_width": 64})
    assert "cannot be built: its configuration describes a network of more than" in message(folder)
    change(folder, vision_cfg={"layers": [2, 2, 2, 2]}, text_cfg={"width": 16384, "layers": 256})
    assert "its file of weights cannot hold as many" in message(folder)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_links_out_of_the_folder(folder: Path, file: str, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    (folder / file).rename(outside)
    (folder / file).symlink_to(outside)
    assert "leads out of the folder" in message(folder)
    (folder / file).unlink()
    (folder / "real").mkdir()
    outside.rename(folder / "real" / file)
    (folder / file).symlink_to(Path("real") / file)
    assert load_model(f"local-dir:{folder}", device="cpu").embedding_dim == 24


def test_a_link_of_a_tokenizer_or_a_list(folder: Path, tmp_path: Path) -> None:
    with_tokenizer(folder)
    outside = tmp_path / "secret"
    outside.write_text('{"pad_token": "secret"}')
    (folder / "special_tokens_map.json").symlink_to(outside)
    with pytest.raises(
        SynestheteError,
        match=r"special_tokens_map\.json' cannot be read: it leads out of the folder",
    ):
        tokenizer_files(resolve(f"local-dir:{folder}"))
    (folder / "held_out.json").symlink_to(outside)
    with pytest.raises(
        SynestheteError, match=r"held_out\.json' cannot be read: it leads out of the folder"
    ):
        read_held_out(f"local-dir:{folder}")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"drawing": {"artists": "emojione"}}', '{"drawing": ["a"]}', "[]", "1", "{",
     '{"drawing": {"keys": [1]}}', '{"drawing": {"keys": ["\\ud800"]}}'],
)  # fmt: skip
def test_a_list_of_what_was_held_out_that_is_something_else(folder: Path, text: str) -> None:
    (folder / "held_out.json").write_text(text)
    with pytest.raises(SynestheteError, match="does not say what was held out") as caught:
        read_held_out(f"local-dir:{folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["a" * 5000, "~no-such-user/x", "a\0b"])
def test_folders_that_no_system_can_open(path: str) -> None:
    with pytest.raises(SynestheteError):
        load_model(f"local-dir:{path}")


def as_snapshot(folder: Path, cache: Path) -> Path:
    """The folder as the hub's client keeps a repository: links in a snapshot, to blobs beside the snapshots."""
    repository = cache / "models--me--mine"
    snapshot = repository / "snapshots" / "0a1b2c"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(repository / "blobs" / f"{number}")
        (snapshot / path.name).symlink_to(Path("../../blobs") / f"{number}")
    return snapshot


def test_a_snapshot_in_the_cache_of_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tokenizer(folder)
    expected = load_model(f"local-dir:{folder}", device="cpu").weights_sha256
    snapshot = as_snapshot(folder, tmp_path)
    assert load_model(f"local-dir:{snapshot}", device="cpu").weights_sha256 == expected
    assert set(tokenizer_files(resolve(f"local-dir:{snapshot}"))) == {
        "tokenizer.json",
        "tokenizer_config.json",
    }
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(snapshot / name))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    assert load_model("hf-hub:me/mine", device="cpu").weights_sha256 == expected
    assert set(tokenizer_files(resolve("hf-hub:me/mine"))) == {
        "tokenizer.json",
        "tokenizer_config.json",
    }
    outside = tmp_path / "outside.json"
    (snapshot / CONFIG).resolve().rename(outside)
    (snapshot / CONFIG).unlink()
    (snapshot / CONFIG).symlink_to(outside)
    assert "leads out of the folder" in message(snapshot)


def test_the_configuration_is_not_read_a_second_time(folder: Path) -> None:
    """What was checked is what is built, whatever becomes of the file."""
    model = load_model(f"local-dir:{folder}", device="cpu")
    (folder / CONFIG).write_text("{}")
    assert model.random_twin().embedding_dim == 24
    assert model.encode_texts(["apple"]).shape == (1, 24)


def test_a_text_tower_of_transformers_is_shaped_by_known_settings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    shape = {
        "model_type": "bert", "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 16, "type_vocab_size": 2, "pad_token_id": 0,
    }  # fmt: skip
    code = {"auto_map": {"AutoConfig": "evil.C"}, "_attn_implementation": "me/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(shape | code))
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda _, name: str(tmp_path / name)
    )
    change(
        folder, text_cfg={"hf_model_name": "me/text", "hf_proj_type": "linear"}, custom_text=True
    )
    source = resolve(f"local-dir:{folder}")
    from synesthete.models.building import builder_of

    network: Any = builder_of(source)()
    assert network.text.config.hidden_size == 32
    assert not hasattr(network.text.config, "auto_map")
    assert network.text.config._attn_implementation != "me/kernel"
    (tmp_path / "config.json").write_text(json.dumps(shape | {"num_hidden_layers": 10**6}))
    assert "num_hidden_layers of me/text is 1000000" in message(folder)


def test_a_tokenizer_with_more_tokens_than_the_text_tower_knows(write_model: Writer) -> None:
    spec = write_model("resnet", text_cfg=TEXT | {"vocab_size": 100})
    with pytest.raises(SynestheteError, match="its text tower knows 100"):
        load_model(spec, device="cpu").encode_texts(["apple"])


def test_every_setting_and_every_architecture_of_open_clip_is_known() -> None:
    """Otherwise the door would be shut for good models."""
    for cls, table in (
        (CLIPVisionCfg, configuration.VISION),
        (CLIPTextCfg, configuration.TEXT),
        (MultimodalCfg, configuration.MULTIMODAL),
        (PreprocessCfg, configuration.PREPROCESS),
    ):
        assert {field.name for field in dataclasses.fields(cls)} == set(table)
    for name in open_clip.list_models():
        configuration.check_model(open_clip.get_model_config(name))


NUMBERS = st.sampled_from(
    [-1, 0, 1, 2, 3, 7, 16, 24, 64, 1000, 10**9, 2**63, -(2**63), 1e-9, 0.5, 1e30]
)
WORDS = st.sampled_from(
    ["", "x", "64", "learnable", "\x00", "\ud800", "é" * 300, "../x", "/etc/passwd", "hf-hub:a/b", "true", "eos"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS | st.floats()
GARBAGE = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
PLACES = [
    *((("model_cfg", "vision_cfg", key)) for key in configuration.VISION),
    *((("model_cfg", "text_cfg", key)) for key in configuration.TEXT),
    *((("model_cfg", "text_cfg", "tokenizer_kwargs", key)) for key in configuration.TOKENIZER),
    *((("model_cfg", key)) for key in configuration.MODEL),
    *((("preprocess_cfg", key)) for key in configuration.PREPROCESS),
    ("model_cfg",), ("preprocess_cfg",), ("model_cfg", "multimodal_cfg", "layers"),
]  # fmt: skip


@pytest.fixture(scope="module")
def soft_folder(write_model: Writer) -> tuple[Path, str]:
    folder = Path(write_model("vit").removeprefix("local-dir:"))
    return folder, (folder / CONFIG).read_text()


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), GARBAGE), min_size=1, max_size=2))
def test_garbage_in_a_configuration_is_refused_in_one_line_or_does_no_harm(
    soft_folder: tuple[Path, str], changes: list[tuple[tuple[str, ...], Any]]
) -> None:
    folder, good = soft_folder
    found = json.loads(good)
    for (*path, last), value in changes:
        place = found
        for key in path:
            inner = place.get(key)
            place[key] = inner = inner if isinstance(inner, dict) else {}
            place = inner
        place[last] = value
    (folder / CONFIG).write_text(json.dumps(found))
    message = ""
    try:
        model = load_model(f"local-dir:{folder}", device="cpu")
        side = model.preprocessing.image_size
        reading = model.read(torch.zeros(1, 3, side, side), model.default_layers)
        assert np.isfinite(reading.embeddings).all()
        assert np.isfinite(model.encode_texts(["apple"])).all()
        model.random_twin()
    except SynestheteError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 900


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=60) | st.text('[]{}",:\\ud8001eE+-. model_cfg', max_size=60))
def test_garbage_instead_of_a_configuration(
    soft_folder: tuple[Path, str], data: bytes | str
) -> None:
    folder, _ = soft_folder
    (folder / CONFIG).write_bytes(data.encode() if isinstance(data, str) else data)
    assert "\n" not in message(folder)


def test_the_root_of_a_folder(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c"
    snapshot.mkdir(parents=True)
    (tmp_path / "link").symlink_to(snapshot)
    assert hub.root_of(tmp_path / "link") == (tmp_path / "models--a--b").resolve()
    assert hub.root_of(tmp_path) == tmp_path
