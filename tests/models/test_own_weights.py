"""A user's own weights: archives of torch.save and TorchScript, state dicts, and folders that transformers saved."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, load_model
from synesthete.models.archives import read_archive
from synesthete.models.transformers_clip import to_open_clip
from tests.models.conftest import random_pixels, scramble

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
VISION: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 48, "layers": 2, "width": 128, "patch_size": 16, "head_width": 64},
    "resnet": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16, "head_width": 64},
}
WORDS = ["a photo of an apple", "a dog", "two anteaters and a very long way to go home"]


def clip(family: str = "vit", **changes: Any) -> Any:
    parts = {"embed_dim": 24, "vision_cfg": VISION[family], "text_cfg": TEXT} | changes
    return scramble(CLIP(**parts)).eval()


def embeddings(network: Any, model: ImageTextModel) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        return (
            network.encode_image(random_pixels(model), normalize=True).numpy(),
            network.encode_text(open_clip.tokenize(WORDS, 16), normalize=True).numpy(),
        )


def same(model: ImageTextModel, network: Any, tolerance: float) -> None:
    images, texts = embeddings(network, model)
    assert np.abs(model.encode_images(random_pixels(model)) - images).max() <= tolerance
    assert np.abs(model.encode_texts(WORDS) - texts).max() <= tolerance


def message(spec: str, **options: Any) -> str:
    with pytest.raises(SynestheteError) as caught:
        load_model(spec, device="cpu", **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


def traced(network: Any, path: Path, *, marks: bool = True) -> None:
    """A TorchScript archive with OpenAI's names, half precision and the three numbers that OpenAI's have."""
    network = copy.deepcopy(network)
    size = network.visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    if marks:
        for name, value in (
            ("input_resolution", side),
            ("context_length", 16),
            ("vocab_size", 49408),
        ):
            # open_clip keeps a plain number of that name.
            network.__dict__.pop(name, None)
            network.register_buffer(name, torch.tensor(value))
    inputs = {
        "encode_image": (torch.zeros(1, 3, side, side),),
        "encode_text": (torch.zeros(1, 16, dtype=torch.int64),),
    }
    script = torch.jit.trace_module(network, inputs, check_trace=False)  # type: ignore[no-untyped-call]
    for weight in script.parameters():
        weight.data = weight.data.half()
    torch.jit.save(script, str(path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_a_torchscript_archive(family: str, tmp_path: Path) -> None:
    file = tmp_path / "own.pt"
    network = clip(family, quick_gelu=True)
    for weight in network.parameters():
        weight.data = weight.data.half().float()
    traced(network, file)
    model = load_model(str(file), device="cpu")
    assert model.name == str(file)
    assert model.description["quick_gelu"]
    same(model, network, 1e-6)
    assert {read_archive(file).tensors()[name].dtype for name in ("visual.conv1.weight", "ln_final.bias")} == {
        torch.float16
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_its_code_is_not_even_read(tmp_path: Path) -> None:
    whole, gutted = tmp_path / "whole.pt", tmp_path / "gutted.pt"
    traced(clip(), whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(gutted, "w") as new:
        for name in old.namelist():
            code = "/code/" in name or name.endswith("constants.pkl")
            new.writestr(name, b"not code" if code else old.read(name))
    a, b = read_archive(whole).tensors(), read_archive(gutted).tensors()
    assert len(a) > 30
    assert all(torch.equal(a[name], b[name]) for name in a)


class Scripted(nn.Module):
    """A part of a CLIP, scripted instead of traced, with attributes of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_final = nn.LayerNorm(4)
        self.register_buffer("steps", torch.arange(6).reshape(2, 3).T)
        self.sizes = [1, 2, 3]
        self.label = "clip"
        self.scale = 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.ln_final(x) * self.scale + self.sizes[0]
        return found


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_module(tmp_path: Path) -> None:
    module = Scripted()
    torch.jit.save(torch.jit.script(module), str(tmp_path / "s.pt"))
    found = read_archive(tmp_path / "s.pt").tensors()
    expected = module.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pth", ".safetensors"])
def test_a_state_dict_from_a_path(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    network = clip()
    weights = network.state_dict()
    if suffix == ".safetensors":
        save_file(weights, file)
    elif suffix == ".pth":
        # As open_clip's training saves it.
        torch.save({"epoch": 3, "name": "x", "state_dict": {f"module.{k}": v for k, v in weights.items()}}, file)  # fmt: skip
    else:
        torch.save(weights, file)
    model = load_model(str(file), device="cpu")
    assert not model.description["quick_gelu"]
    same(model, network, 1e-6)


def test_a_state_dict_for_a_named_architecture(tmp_path: Path) -> None:
    network = open_clip.create_model("RN50", pretrained=None)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    spec = f"RN50@{tmp_path / 'w.pt'}"
    model = load_model(spec, device="cpu")
    assert model.name == spec
    assert torch.equal(
        model.network.visual.conv1.weight.detach().cpu(),
        network.visual.conv1.weight.detach(),
    )
    assert "no architecture 'RN5' (did you mean 'RN50'" in message(f"RN5@{tmp_path / 'w.pt'}")
    assert "there is no such file" in message(f"RN50@{tmp_path / 'none.pt'}")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def archive(path: Path, data: bytes, *storages: bytes, **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as new:
        new.writestr("archive/data.pkl", data)
        for number, storage in enumerate(storages):
            new.writestr(f"archive/data/{number}", storage)


def tensor(shape: tuple[Any, ...], stride: tuple[Any, ...], numel: int, key: str = "0") -> bytes:
    """The pickle of a state dict with one tensor, as torch.save writes it but for the numbers."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, found: object) -> Any:
            return ("storage", torch.FloatStorage, key, "cpu", numel) if found == "here" else None

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, ("here", 0, shape, stride, False, OrderedDict())

    to = io.BytesIO()
    Pickler(to, protocol=2).dump({"ln_final.weight": Tensor()})
    return to.getvalue()


def test_the_hostile_archives_differ_from_a_good_one_in_what_makes_them_hostile(
    tmp_path: Path,
) -> None:
    archive(tmp_path / "x.pt", tensor((2, 2), (1, 2), 4), np.arange(4, dtype="<f4").tobytes())
    found = read_archive(tmp_path / "x.pt").tensors()
    assert found["ln_final.weight"].tolist() == [[0, 2], [1, 3]]


def test_hostile_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("x.pt")
    spec = "RN50@x.pt"
    system = "nt" if sys.platform == "win32" else "posix"
    for protocol in (0, 2, 4):
        archive(file, pickle.dumps({"a": Evil()}, protocol=protocol))
        assert f"x.pt is refused: its pickle names {system}.system" in message(spec)
    archive(file, b"cbuiltins\neval\n(S'1'\ntR.")
    assert "its pickle names builtins.eval" in message(spec)
    archive(file, b"ctorch\nload\n(S'1'\ntR.")
    assert "its pickle names torch.load" in message(spec)
    archive(file, b"\x80\x02\x82\x01.")
    assert "its pickle names extension 1" in message(spec)
    # A memo that would fill the memory of the reader in C.
    archive(file, b"\x80\x02}r\xff\xff\xff\x7f.")
    assert "there are no tensors in it" in message(spec)
    good = bytes(16)
    for data, storages, expected in [
        (tensor((2, 2), (2, 1), 4, "9"), (good,), "the numbers of ln_final.weight cannot be read"),
        (tensor((2, 2), (2, 1), 4), (good[:8],), "ln_final.weight is larger than its numbers"),
        (tensor((2, 2), (200, 1), 4), (good,), "ln_final.weight is larger than its numbers"),
        (
            tensor((1 << 36, 1), (0, 0), 1 << 36),
            (good,),
            "larger unpacked than weights of its size",
        ),
        (tensor((2, 2), (2, 1), 3), (good,), "its list of tensors is damaged"),
        (tensor((-2, 2), (2, 1), 4), (good,), "its list of tensors is damaged"),
        (tensor((2, "2"), (2, 1), 4), (good,), "its list of tensors is damaged"),
        (tensor((2, 2), (2,), 4), (good,), "its list of tensors is damaged"),
        (tensor((4,), (1,), 4)[:-3], (good,), "its list of tensors is damaged"),
        (pickle.dumps([1, 2]), (), "it is no state dict and no module"),
        (pickle.dumps({"a": 1}), (), "there are no tensors in it"),
        (tensor((4,), (1,), 4), (good,), "do not load into RN50@x.pt"),
    ]:
        archive(file, data, *storages)
        assert expected in message(spec)
    assert not Path("ran").exists()


def test_bombs_and_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, spec = Path("x.pt"), "RN50@x.pt"
    packed = {"compression": zipfile.ZIP_DEFLATED}
    archive(file, tensor((1 << 22,), (1,), 1 << 22), bytes(4 << 22), **packed)
    assert file.stat().st_size < 1 << 20
    assert "larger unpacked" in message(spec)
    archive(file, pickle.dumps("x" * (40 << 20)), **packed)
    assert "larger unpacked" in message(spec)
    file.write_bytes(pickle.dumps({"a": Evil()}))
    assert "x.pt is no archive of torch.save or TorchScript" in message(spec)
    torch.save({"a": torch.zeros(2)}, file, _use_new_zipfile_serialization=False)
    assert "an older pickle is not read" in message(spec)
    with zipfile.ZipFile(file, "w") as new:
        new.writestr("hello.txt", "hello")
    assert "it has no list of tensors" in message(spec)
    Path("x.safetensors").write_bytes(b"\x08" + bytes(7) + b"garbage!")
    assert "x.safetensors cannot be read" in message("x.safetensors")
    save_file({"a": torch.zeros(2)}, "x.safetensors")
    assert "does not hold the weights of a CLIP as OpenAI names them" in message("x.safetensors")
    assert not Path("ran").exists()


def test_a_truncated_archive(tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    torch.save(clip().state_dict(), file)
    data = file.read_bytes()
    for keep in (0, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:keep])
        assert "is no archive of torch.save" in message(f"RN50@{file}")
    # One byte of the weights is another: the archive's own check tells.
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    file.write_bytes(broken)
    assert "cannot be read" in message(str(file))


def in_transformers_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Written from transformers' side, rule by rule, not by turning the reader's tables round."""
    found = {}
    for name, value in weights.items():
        vision = name.startswith("visual.")
        tower, rest = (
            ("vision_model", name.removeprefix("visual.")) if vision else ("text_model", name)
        )
        if rest.startswith("transformer.resblocks."):
            number, part = rest.removeprefix("transformer.resblocks.").split(".", 1)
            layer = f"{tower}.encoder.layers.{number}."
            if part.startswith("attn.in_proj_"):
                for one, piece in zip("qkv", value.chunk(3), strict=True):
                    found[f"{layer}self_attn.{one}_proj.{part.removeprefix('attn.in_proj_')}"] = (
                        piece.clone()
                    )
                continue
            for old, new in (("attn.", "self_attn."), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"),
                             ("c_fc", "fc1"), ("c_proj", "fc2")):  # fmt: skip
                part = part.replace(old, new)
            found[layer + part] = value
        elif rest in ("proj", "text_projection"):
            found[f"{'visual' if vision else 'text'}_projection.weight"] = value.T.contiguous()
        else:
            theirs = {
                "class_embedding": "embeddings.class_embedding", "conv1.weight": "embeddings.patch_embedding.weight",
                "positional_embedding": "embeddings.position_embedding.weight",
                "token_embedding.weight": "embeddings.token_embedding.weight",
                "ln_final.weight": "final_layer_norm.weight", "ln_final.bias": "final_layer_norm.bias",
                "ln_pre.weight": "pre_layrnorm.weight", "ln_pre.bias": "pre_layrnorm.bias",
                "ln_post.weight": "post_layernorm.weight", "ln_post.bias": "post_layernorm.bias",
            }  # fmt: skip
            found[rest if rest == "logit_scale" else f"{tower}.{theirs[rest]}"] = value
    return found


def hf_config(**changes: Any) -> dict[str, Any]:
    text = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1,
            "max_position_embeddings": 16, "eos_token_id": 49407}  # fmt: skip
    vision = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 48, "patch_size": 16}  # fmt: skip
    for name, value in changes.items():
        tower, _, key = name.partition("__")
        (text if tower == "text" else vision)[key] = value
    return {
        "model_type": "clip",
        "projection_dim": 24,
        "text_config": text,
        "vision_config": vision,
    }


def write_clips_tokenizer(folder: Path) -> None:
    """The vocabulary that OpenAI published, in the files that transformers keeps it in."""
    inner = open_clip.SimpleTokenizer()
    merges = [" ".join(pair) for pair in inner.bpe_ranks]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): at for word, at in inner.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_own_tokenizer(folder: Path) -> None:
    """One of the same class with another vocabulary: single bytes, three merges, the end not the last."""
    inner = open_clip.SimpleTokenizer()
    alphabet = [one for byte in inner.byte_encoder.values() for one in (byte, f"{byte}</w>")]
    merges = ["d o", "do g</w>", "a n"]
    words = [*alphabet, "do", "dog</w>", "an", "<|startoftext|>", "<|endoftext|>", "<more>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def hf_good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    save_file(in_transformers_names(clip().state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(hf_config()))
    return folder


@pytest.fixture
def hf(hf_good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hf_good, tmp_path / "own"))


def test_a_folder_in_transformers_format(hf: Path) -> None:
    network = clip(quick_gelu=True)
    expected = network.state_dict()
    found = to_open_clip(load_file(hf / "model.safetensors"))
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for spec in (f"hf-dir:{hf}", f"local-dir:{hf}", str(hf)):
        model = load_model(spec, device="cpu")
        same(model, network, 1e-6)
    preprocessor = {
        "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7], "resample": 2, "size": {"shortest_edge": 48},
        "crop_size": {"height": 48, "width": 48}, "do_center_crop": True,
    }  # fmt: skip
    (hf / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    preprocessing = load_model(str(hf), device="cpu").preprocessing
    assert tuple(preprocessing.mean) == (0.1, 0.2, 0.3)
    assert tuple(preprocessing.std) == (0.5, 0.6, 0.7)
    assert preprocessing.interpolation == "bilinear"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text__hidden_act": "gelu"}, "hidden_act is gelu and quick_gelu"),
        ({"vision__num_channels": 4}, "num_channels is not 3"),
        ({"vision__num_attention_heads": 3}, "no multiple of num_attention_heads"),
        ({"vision__num_attention_heads": 0}, "a setting of an odd type"),
        ({"vision__hidden_size": "128"}, "a setting of an odd type"),
        ({"text__eos_token_id": [1]}, "text_cfg.eos_id is [1]"),
        ({"text__hidden_act": []}, "a setting of an odd type"),
        ({"vision__hidden_size": 10**7}, "vision_cfg.width is"),
        ({"vision__num_hidden_layers": 10**6}, "vision_cfg.layers is 1000000"),
        ({"vision__num_hidden_layers": 3}, "do not load into"),
        ({"text__hidden_size": 16384, "text__num_hidden_layers": 256}, "cannot hold as many"),
        ({"text__auto_map": {"AutoModel": "evil.Evil"}}, "asks for Python code"),
    ],
)
def test_configurations_that_are_not_read(hf: Path, changes: dict[str, Any], expected: str) -> None:
    (hf / "config.json").write_text(json.dumps(hf_config(**changes)))
    assert expected in message(str(hf))


def test_folders_that_are_not_read(hf: Path, tmp_path: Path) -> None:
    for other in (
        {"size": {"shortest_edge": 224}},
        {"size": {"height": 48, "width": 32}},
        {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 32}},
        {"size": {"shortest_edge": 48}, "do_center_crop": False},
    ):
        (hf / "preprocessor_config.json").write_text(json.dumps(other))
        assert "are not cut as open_clip cuts them" in message(str(hf))
    for key, value in (
        ("do_rescale", False),
        ("do_normalize", False),
        ("do_resize", False),
        ("rescale_factor", 1),
    ):
        (hf / "preprocessor_config.json").write_text(json.dumps({key: value}))
        assert f"are not prepared as CLIP's: {key} is" in message(str(hf))
    for odd in ('{"resample": []}', '{"image_mean": "x"}', "[]", "{"):
        (hf / "preprocessor_config.json").write_text(odd)
        assert "preprocessor_config.json" in message(str(hf))
    (hf / "preprocessor_config.json").unlink()
    (hf / "model.safetensors").rename(tmp_path / "outside.safetensors")
    (hf / "model.safetensors").symlink_to(tmp_path / "outside.safetensors")
    assert "leads out of the folder" in message(str(hf))
    (hf / "model.safetensors").unlink()
    assert "there are no weights in the folder" in message(str(hf))
    (hf / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    assert "as a pickle only" in message(str(hf))


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("eos", [2, 49407])
def test_parity_with_transformers(act: str, eos: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = hf_config(text__hidden_act=act, vision__hidden_act=act, text__eos_token_id=eos,
                       text__layer_norm_eps=1e-5, vision__layer_norm_eps=1e-3)  # fmt: skip
    config.pop("model_type")
    theirs = transformers.CLIPModel(transformers.CLIPConfig(**config)).eval()
    scramble(theirs)
    theirs.save_pretrained(tmp_path / "own")
    model = load_model(str(tmp_path / "own"), device="cpu")
    pixels, tokens = random_pixels(model), open_clip.tokenize(WORDS, 16)
    with torch.inference_mode():
        found = theirs(input_ids=tokens, pixel_values=pixels)
    images = np.abs(model.encode_images(pixels) - found.image_embeds.numpy()).max()
    texts = np.abs(model.encode_texts(WORDS) - found.text_embeds.numpy()).max()
    print(f"parity: images {images:.1e}, texts {texts:.1e}")
    assert images <= 1e-4
    assert texts <= 1e-4


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small CLIP of transformers that ends texts as `write_own_tokenizer` does, and its folder."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("theirs")
    write_own_tokenizer(folder)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    config = hf_config(text__vocab_size=len(vocabulary), text__bos_token_id=len(vocabulary) - 3,
                       text__eos_token_id=len(vocabulary) - 2)  # fmt: skip
    config.pop("model_type")
    network = scramble(transformers.CLIPModel(transformers.CLIPConfig(**config))).eval()
    network.save_pretrained(folder)
    return network, folder


@pytest.mark.parametrize("one_file", [False, True])
@pytest.mark.parametrize("squash", [False, True])
def test_parity_with_the_processor_of_a_folder_with_its_own_vocabulary(
    theirs: tuple[Any, Path], one_file: bool, squash: bool, tmp_path: Path
) -> None:
    """Texts and images as transformers' own processor gives them to transformers' own model."""
    from PIL import Image
    from transformers import AutoProcessor, CLIPImageProcessor, CLIPProcessor, CLIPTokenizer

    network, folder = theirs[0], Path(shutil.copytree(theirs[1], tmp_path / "own"))
    cut: dict[str, Any] = {"size": {"shortest_edge": 48}}
    if squash:
        cut = {"size": {"height": 48, "width": 48}, "do_center_crop": False}
    images = CLIPImageProcessor(
        crop_size={"height": 48, "width": 48}, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7], **cut
    )  # fmt: skip
    if one_file:
        # As transformers 5 saves a processor: tokenizer.json, and the images' settings in processor_config.json.
        CLIPProcessor(images, CLIPTokenizer.from_pretrained(folder)).save_pretrained(folder)
        assert not (folder / "preprocessor_config.json").exists()
        for name in ("vocab.json", "merges.txt"):
            (folder / name).unlink()
    else:
        images.save_pretrained(folder)
    words = [*WORDS, "", "Dogs &amp; café 犬 !", "dog " * 30]
    noise = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    shown = [
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        for size in ((130, 90), (60, 90))
    ]
    given = AutoProcessor.from_pretrained(folder)(
        text=words, images=shown, return_tensors="pt", padding=True, truncation=True, max_length=16
    )
    with torch.inference_mode():
        found = network(**given)
    model = load_model(str(folder), device="cpu")
    assert np.abs(model.encode_texts(words) - found.text_embeds.numpy()).max() <= 1e-5
    # One by one, where the padding is not computed.
    alone = np.concatenate([model.encode_texts([word]) for word in words])
    assert np.abs(alone - found.text_embeds.numpy()).max() <= 1e-5
    # Scaled here by Pillow, there by torchvision, which rounds otherwise.
    pixels = torch.stack([model.preprocess(one) for one in shown])
    grey = (pixels - given["pixel_values"]).abs() * torch.tensor(images.image_std)[:, None, None]
    print(f"{cut}: {255 * grey.max():.1f} grey levels at most, {255 * grey.mean():.2f} on average")
    assert float(grey.max()) <= 8 / 255
    assert float(grey.mean()) <= 0.3 / 255
    assert [token.text for token in model.tokens("an dog")] == ["", "a", "n", "dog", ""]
    layer = "text.transformer.resblocks.1.mlp"
    read = model.read_texts(["an dog", "dog " * 30], [layer], "max")
    assert read.truncated.tolist() == [False, True]
    assert int(read.positions[layer].max()) < 16
    # open_clip's own would give tokens that this text tower does not have.
    assert int(open_clip.tokenize(words, 16).max()) >= len(json.loads((theirs[1] / "vocab.json").read_text()))  # fmt: skip


def test_a_tokenizer_of_another_class(theirs: tuple[Any, Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from tests.models.families import write_tokenizer

    network, folder = theirs[0], Path(shutil.copytree(theirs[1], tmp_path / "own"))
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).unlink()
    write_tokenizer(folder, "clip")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    model, words = load_model(str(folder), device="cpu"), ["two red dogs", "an apple", ""]
    tokens = AutoTokenizer.from_pretrained(folder)(words, return_tensors="pt", padding=True)
    tokens.pop("token_type_ids", None)
    before, network.text_model.eos_token_id = network.text_model.eos_token_id, 3
    try:
        with torch.inference_mode():
            found = network.get_text_features(**tokens).pooler_output
    finally:
        network.text_model.eos_token_id = before
    expected = torch.nn.functional.normalize(found, dim=-1).numpy()
    assert np.abs(model.encode_texts(words) - expected).max() <= 1e-5
    change = json.loads((folder / "tokenizer_config.json").read_text()) | {"padding_side": "left"}
    (folder / "tokenizer_config.json").write_text(json.dumps(change))
    with pytest.raises(SynestheteError, match="its tokenizer pads them in front"):
        load_model(str(folder), device="cpu").encode_texts(words)


def test_clips_own_vocabulary_needs_no_transformers(
    hf: Path, theirs: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from synesthete.models import text

    write_clips_tokenizer(hf)
    (hf / "config.json").write_text(json.dumps(hf_config()))
    with_it = load_model(str(hf), device="cpu")
    same(with_it, clip(quick_gelu=True), 1e-6)
    monkeypatch.setattr(text, "has_transformers", lambda: False)
    same(load_model(str(hf), device="cpu"), clip(quick_gelu=True), 1e-6)
    model = load_model(str(theirs[1]), device="cpu")
    with pytest.raises(SynestheteError, match="needs the package transformers") as caught:
        model.encode_texts(["a dog"])
    assert "whose vocabulary is not CLIP's" in str(caught.value)
    assert model.encode_images(random_pixels(model)).shape[1] == 24
