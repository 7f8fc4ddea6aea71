"""Dictionaries of others: each format by its documented keys, read to what its own library computes; what is wrong is refused in one line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from synesthete.errors import SynestheteError
from synesthete.models.dictionary_formats import read_dictionary

DIM, LATENTS, K = 6, 15, 3
Weights = dict[str, torch.Tensor]


def weights(*more: str, seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (DIM, LATENTS), "b_enc": (LATENTS,), "W_dec": (LATENTS, DIM), "b_dec": (DIM,)}  # fmt: skip
    found = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in more:
        found[name] = torch.randn(LATENTS, generator=generator) / 2
    return found


ROWS = torch.randn(50, DIM, generator=torch.Generator().manual_seed(9)) * 2 + 0.5


def top(pre: torch.Tensor, k: int = K) -> torch.Tensor:
    values, places = torch.topk(pre, k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, places, values.relu())


def saelens(w: Weights, config: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and reconstruction as SAELens 6.54 computes them (its `saes/*.py`)."""
    x = ROWS
    if config.get("normalize_activations") == "layer_norm":
        mean = x.mean(-1, keepdim=True)
        std = (x - mean).std(-1, keepdim=True)
        x = (x - mean) / (std + 1e-5)
    x = x - w["b_dec"] * config.get("apply_b_dec_to_input", True)
    norms = w["W_dec"].norm(dim=-1) if config.get("rescale_acts_by_decoder_norm") else torch.ones(LATENTS)  # fmt: skip
    if config["architecture"] == "gated":
        opened = (x @ w["W_enc"] + w["b_gate"] > 0).float()
        latents = opened * torch.relu(x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"])
    else:
        pre = (x @ w["W_enc"] + w["b_enc"]) * norms
        latents = {
            "standard": lambda: pre.relu(),
            "topk": lambda: top(pre),
            "jumprelu": lambda: pre.relu() * (pre > w["threshold"]),
        }[config["architecture"]]()
    out = (latents / norms) @ w["W_dec"] + w["b_dec"]
    if config.get("normalize_activations") == "layer_norm":
        out = out * std + mean
    return latents, out


def write_saelens(folder: Path, w: Weights, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    save_file(w, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": DIM, "d_sae": LATENTS, **config}))
    return folder


def check(found: Any, latents: torch.Tensor, out: torch.Tensor) -> None:
    torch.testing.assert_close(found.encode(ROWS), latents, atol=1e-4, rtol=1e-4)
    assert (found.encode(ROWS) != 0).any()
    torch.testing.assert_close(found.decode(found.encode(ROWS), ROWS), out, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "standard"},
        {"architecture": "standard", "apply_b_dec_to_input": False},
        {"architecture": "topk", "k": K},
        {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True},
        {"architecture": "jumprelu", "normalize_activations": "layer_norm"},
        {"architecture": "gated"},
        {"architecture": "gated", "apply_b_dec_to_input": False},
    ],
    ids=str,
)
def test_saelens(config: dict[str, Any], tmp_path: Path) -> None:
    more = {"jumprelu": ["threshold"], "gated": ["b_gate", "b_mag", "r_mag"]}
    w = weights(*more.get(config["architecture"], []))
    if config["architecture"] == "gated":
        del w["b_enc"]
    found = read_dictionary(write_saelens(tmp_path / "x", w, config))
    check(found, *saelens(w, config))
    # Written again, as a folder and as one file, it is the same dictionary.
    for name, data in {**found.files(), "x.safetensors": found.as_bytes()}.items():
        (tmp_path / name).write_bytes(data)
    assert read_dictionary(tmp_path).sha256 == found.sha256
    assert read_dictionary(tmp_path / "x.safetensors").sha256 == found.sha256
    kind = {"gated": "jumprelu"}.get(config["architecture"], config["architecture"])
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == kind


def test_saelens_before_version_6(tmp_path: Path) -> None:
    w = weights()
    config = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    found = read_dictionary(write_saelens(tmp_path / "x", w, config))
    check(found, *saelens(w, {"architecture": "topk"}))


def test_prisma(tmp_path: Path) -> None:
    w = weights()
    config = {
        "architecture": "standard",
        "d_in": DIM,
        "d_sae": None,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "normalize_activations": "layer_norm",
        "hook_point_layer": 9,
    }
    w_all = {**w, "W_dec": weights(seed=1)["W_dec"][:12], "W_enc": w["W_enc"][:, :12], "b_enc": w["b_enc"][:12]}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({**config, "expansion_factor": 2}))
    torch.save(w_all, tmp_path / "weights.pt")
    with pytest.raises(SynestheteError, match="as a pickle only"):
        read_dictionary(tmp_path)
    found = read_dictionary(tmp_path, allow_pickle=True)
    assert (found.latents, found.k, found.layer_norm) == (12, K, True)
    (tmp_path / "config.json").write_text(json.dumps({**config, "d_sae": LATENTS}))
    save_file(w, tmp_path / "weights.safetensors")
    check(
        read_dictionary(tmp_path),
        *saelens(w, {"architecture": "topk", "normalize_activations": "layer_norm"}),
    )


def write_saev(path: Path, header: dict[str, Any], w: Weights) -> Path:
    stream = io.BytesIO()
    torch.save(w, stream)
    path.write_bytes(json.dumps(header).encode() + b"\n" + stream.getvalue())
    return path


def test_saev(tmp_path: Path) -> None:
    w = weights()
    legacy = write_saev(tmp_path / "old.pt", {"d_vit": DIM, "exp_factor": 2, "seed": 0}, w)
    with pytest.raises(SynestheteError, match="as a pickle only"):
        read_dictionary(legacy)
    check(read_dictionary(legacy, allow_pickle=True), *saelens(w, {"architecture": "standard"}))
    header = {
        "schema": 2,
        "cfg": {"d_vit": DIM, "activation": {"cls": "TopK", "params": {"top_k": LATENTS - 1}}},
        "commit": "x",
        "lib": "0",
    }
    found = read_dictionary(write_saev(tmp_path / "new.pt", header, w), allow_pickle=True)
    pre = ROWS @ w["W_enc"] + w["b_enc"]
    # Its TopK keeps negative ones among the largest.
    latents = pre * (pre > pre.min(dim=1, keepdim=True).values)
    assert (latents < 0).any()
    check(found, latents, latents @ w["W_dec"] + w["b_dec"])
    save_file(w, tmp_path / "state.safetensors")
    with pytest.raises(SynestheteError, match="does not say what makes its latents sparse"):
        read_dictionary(tmp_path / "state.safetensors")
    check(read_dictionary(tmp_path / "state.safetensors", k=LATENTS - 1), latents, latents @ w["W_dec"] + w["b_dec"])  # fmt: skip


@pytest.mark.parametrize("kind", ["topk", "jump", "tied"])
def test_overcomplete(kind: str, tmp_path: Path) -> None:
    """By the keys that its modules have (0.3; the library itself cannot be imported beside matplotlib 3.9 and later)."""
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(torch.randn(LATENTS, DIM, generator=generator))
    matrix, bias = torch.randn(LATENTS, DIM, generator=generator), torch.randn(LATENTS)
    state = {"dictionary._weights": directions, "dictionary.multiplier": torch.tensor(0.3)}
    decoder = directions * torch.tensor(0.3).exp()
    if kind == "tied":
        pre = ROWS @ decoder.T
        state |= {"encoder.tied_to._weights": directions.clone(), "encoder.tied_to.multiplier": torch.tensor(0.3)}  # fmt: skip
    else:
        state |= {"encoder.final_block.0.weight": matrix, "encoder.final_block.0.bias": bias}
        pre = ROWS @ matrix.T + bias
    latents = top(pre.relu())
    if kind == "jump":
        state["thresholds"] = torch.linspace(-2, 1, LATENTS)
        latents = pre.relu() * (pre >= state["thresholds"].exp())
    path = tmp_path / "x.safetensors"
    save_file(state, path)
    if kind != "jump":
        with pytest.raises(SynestheteError, match="how many latents are not zero"):
            read_dictionary(path)
    check(read_dictionary(path, k=None if kind == "jump" else K), latents, latents @ decoder)
    save_file(state, path, metadata={"top_k": str(K)})
    check(read_dictionary(path), latents, latents @ decoder)
    torch.save(state, tmp_path / "x.pt")
    found = read_dictionary(tmp_path / "x.pt", k=None if kind == "jump" else K, allow_pickle=True)
    assert found.sha256 == read_dictionary(path).sha256


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ({"architecture": "temporal"}, {}, "architecture 'temporal'"),
        ({"architecture": "topk"}, {}, "k of .* is None"),
        ({"architecture": "topk", "k": 99}, {}, "k of .* is 99"),
        ({"architecture": "jumprelu"}, {}, "lacks threshold"),
        ({"d_in": 0}, {}, "lacks d_in"),
        ({"d_sae": "many"}, {}, "lacks d_sae"),
        ({"normalize_activations": "constant_norm_rescale"}, {}, "constant_norm_rescale"),
        ({"reshape_activations": "hook_z"}, {}, "attention heads"),
        ({"activation_fn_str": "tanh-relu"}, {}, "tanh-relu"),
        ({}, {"W_dec": torch.zeros(3, 3)}, r"W_dec of .* has the shape \(3, 3\)"),
        ({}, {"b_dec": torch.full((DIM,), torch.nan)}, "b_dec of .* NaN"),
        ({}, {"extra": torch.zeros(1)}, "not known: extra"),
        ({}, {"b_enc": None}, "lacks b_enc"),
    ],
)
def test_wrong_files_are_refused_in_one_line(
    config: dict[str, Any], change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    w = {name: one for name, one in (weights() | change).items() if one is not None}
    path = write_saelens(tmp_path / "x", w, {"architecture": "standard", **config})
    with pytest.raises(SynestheteError, match=message) as raised:
        read_dictionary(path)
    assert "\n" not in str(raised.value)


def test_no_dictionary(tmp_path: Path) -> None:
    for name, content in (("x.safetensors", b"nonsense"), ("x.json", b"{}")):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SynestheteError, match="no sparse dictionary at"):
        read_dictionary(tmp_path / "none")
    with pytest.raises(SynestheteError, match=r"neither cfg\.json"):
        read_dictionary(tmp_path)
    with pytest.raises(SynestheteError, match="cannot be read as safetensors"):
        read_dictionary(tmp_path / "x.safetensors")
    torch.save({"dictionary._weights": ROWS, "encoder": ROWS.reshape}, tmp_path / "evil.pt")
    with pytest.raises(SynestheteError, match="refused: its pickle names"):
        read_dictionary(tmp_path / "evil.pt", allow_pickle=True)
    save_file({"dictionary._weights": ROWS}, tmp_path / "long.safetensors")
    with pytest.raises(SynestheteError, match="directions of lengths up to"):
        read_dictionary(tmp_path / "long.safetensors", k=2)
