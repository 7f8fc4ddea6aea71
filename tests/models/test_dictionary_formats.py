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


def refused(path: Path, **options: Any) -> str:
    """The one line with which a dictionary is refused; any other exception fails the test."""
    with pytest.raises(SynestheteError) as caught:
        read_dictionary(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


HOSTILE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"d_in": 10**12}, "lacks d_in, a number above 0 (at most"),
    ({"d_in": 10**6, "d_sae": 10**6}, "1,000,000 latents of 1,000,000 units, more than"),
    ({"d_in": -6}, "lacks d_in"),
    ({"d_in": 6.0}, "lacks d_in"),
    ({"d_in": True}, "lacks d_in"),
    ({"d_sae": [LATENTS]}, "lacks d_sae"),
    ({"d_sae": {"a": 1}}, "lacks d_sae"),
    ({"architecture": ["standard"]}, "which is not known"),
    ({"architecture": "x\ny" * 10**5}, "which is not known"),
    ({"architecture": "../../etc/passwd"}, "which is not known"),
    ({"architecture": "topk", "k": "3"}, "k of"),
    ({"architecture": "topk", "k": True}, "k of"),
    ({"architecture": "topk", "k": 10**18}, "k of"),
    ({"architecture": "topk", "k": 10**300}, "has more than 64 bits"),
    ({"activation_fn_str": "topk", "activation_fn_kwargs": "k"}, "not an object"),
    ({"activation_fn_str": {"relu": 1}}, "which is not known"),
    ({"normalize_activations": ["none"]}, "which is not known"),
    ({"reshape_activations": "/etc/passwd"}, "attention heads"),
    ({"metadata": [1]}, "metadata in the configuration"),
    ({"metadata": {"held_out": "x"}}, "held_out in the configuration"),
    ({"metadata": {"held_out": {"l0": "many"}}}, "which is no number of latents"),
    ({"metadata": {"held_out": {"l0": 1e300}}}, "which is no number of latents"),
)


@pytest.mark.parametrize(("config", "expected"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_configuration(config: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = write_saelens(tmp_path / "x", weights(), {"architecture": "standard", **config})
    assert expected in refused(path)


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_a_file_of_a_folder_that_leads_out_of_it(name: str, tmp_path: Path) -> None:
    path = write_saelens(tmp_path / "x", weights(), {"architecture": "standard"})
    outside = tmp_path / "outside"
    (path / name).rename(outside)
    (path / name).symlink_to(outside)
    assert "leads out of the folder" in refused(path)
    (path / name).unlink()
    (path / name).symlink_to("../x/../outside")
    assert "leads out of the folder" in refused(path)
    (path / name).unlink()
    (path / name).mkdir()
    refused(path)


def test_paths_in_a_configuration_open_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a configuration names is not looked at: of all files, only the two of the folder are opened."""
    import os

    named = {"model_path": "/etc/passwd", "sae_path": "../secret", "hook_name": "../../x",
             "metadata": {"dataset_path": "/etc/passwd", "layer": "other", "k": 99, "latents": -1}}  # fmt: skip
    path = write_saelens(tmp_path / "x", weights(), {"architecture": "standard", **named})
    opened, original = [], os.open
    monkeypatch.setattr(os, "open", lambda name, *a, **k: opened.append(name) or original(name, *a, **k))  # fmt: skip
    found = read_dictionary(path)
    assert {Path(one).name for one in opened} == {"cfg.json", "sae_weights.safetensors"}
    assert (found.latents, found.k) == (LATENTS, None)


def test_weights_that_are_larger_than_their_configuration_says(tmp_path: Path) -> None:
    path = write_saelens(tmp_path / "x", weights(), {"architecture": "standard"})
    with (path / "sae_weights.safetensors").open("r+b") as file:
        file.truncate(1 << 40)  # a file with a hole: a TiB that takes no place
    assert "more than the limit of 64 MiB" in refused(path)
    # A list of tensors that is longer than the file, and tensors that reach beyond its end.
    for start in (2**63, 2**31, 10**9):
        data = start.to_bytes(8, "little") + b"{}"
        (path / "sae_weights.safetensors").write_bytes(data)
        assert "cannot be read as safetensors" in refused(path)
    huge = json.dumps({"W_enc": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}})  # fmt: skip
    data = len(huge).to_bytes(8, "little") + huge.encode()
    (path / "sae_weights.safetensors").write_bytes(data)
    assert "cannot be read as safetensors" in refused(path)


def test_pickles_and_names_of_several_lines(tmp_path: Path) -> None:
    import pickle

    path = write_saelens(tmp_path / "x", weights(), {"architecture": "standard"})
    file = path / "sae_weights.safetensors"
    torch.save(weights(), file)
    assert "cannot be read as safetensors" in refused(path, allow_pickle=True)
    file.rename(path / "sae_weights.pt")
    assert "lacks sae_weights.safetensors" in refused(path, allow_pickle=True)
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return ran.touch, ()

    prisma = tmp_path / "prisma"
    prisma.mkdir()
    config = {"architecture": "standard", "d_in": DIM, "d_sae": LATENTS}
    (prisma / "config.json").write_text(json.dumps(config))
    (prisma / "weights.pt").write_bytes(pickle.dumps(Evil()))
    assert "as a pickle only" in refused(prisma)
    refused(prisma, allow_pickle=True)
    (prisma / "weights.pt").unlink()
    torch.save(weights(), tmp_path / "outside.pt")
    (prisma / "weights.pt").symlink_to(tmp_path / "outside.pt")
    assert "leads out of the folder" in refused(prisma, allow_pickle=True)
    assert not ran.exists()
    for factor in ("2", -1, [2], 10**12):
        (prisma / "config.json").write_text(json.dumps({**config, "d_sae": None, "expansion_factor": factor}))  # fmt: skip
        refused(prisma)
    save_file(weights() | {"a\nb" * 100: torch.zeros(1)}, file)
    assert "parts that are not known: a b" in refused(path)


def test_numbers_that_are_not_finite_once_brought_into_form(tmp_path: Path) -> None:
    w = weights("b_gate", "b_mag", "r_mag")
    del w["b_enc"]
    w["r_mag"][3] = 1e4
    path = write_saelens(tmp_path / "x", w, {"architecture": "gated"})
    assert "holds NaN or infinity" in refused(path)
    w = weights()
    w["W_dec"][3] = 0
    config = {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True}
    assert "holds NaN or infinity" in refused(write_saelens(tmp_path / "y", w, config))


def test_a_dictionary_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    """There, the files of a snapshot are links to blobs of the same repository."""
    path = write_saelens(tmp_path / "x", weights(), {"architecture": "standard"})
    expected = read_dictionary(path).sha256
    repository = tmp_path / "hub" / "models--org--sae"
    snapshot = repository / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in path.iterdir():
        file.rename(repository / "blobs" / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert read_dictionary(snapshot).sha256 == expected


@pytest.mark.parametrize(
    "header",
    [
        {"schema": "2"},
        {"schema": 2, "cfg": [1]},
        {"schema": 2, "cfg": {"activation": "TopK"}},
        {"schema": 2, "cfg": {"activation": {"cls": ["TopK"]}}},
        {"schema": 2, "cfg": {"activation": {"cls": "TopK", "params": [3]}}},
        {"schema": 2, "cfg": {"activation": {"cls": "TopK", "params": {"top_k": 10**9}}}},
    ],
    ids=str,
)
def test_a_hostile_header_of_saev(header: dict[str, Any], tmp_path: Path) -> None:
    refused(write_saev(tmp_path / "x.pt", header, weights()), allow_pickle=True)
