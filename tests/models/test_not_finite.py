"""NaN and infinity, in weights or in what comes out, are an error that says where and not a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.models.loading import _check_finite
from synesthete.models.sources import resolve

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("visual.layer1.0.conv2.weight", float("nan"), torch.float32),
        ("visual.layer2.0.bn1.running_var", float("inf"), torch.float16),
        ("text_projection", float("-inf"), torch.bfloat16),
        ("logit_scale", 1000.0, torch.float32),
    ],
)
def test_weights_that_are_not_finite(
    folder: Path, name: str, value: float, dtype: torch.dtype
) -> None:
    weights = {
        key: one.to(dtype) if one.is_floating_point() else one
        for key, one in load_file(folder / WEIGHTS).items()
    }
    save_file(weights, folder / WEIGHTS)
    assert load_model(f"local-dir:{folder}", device="cpu").embedding_dim == 24
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(SynestheteError, match=f"not finite: {name} holds NaN or infinity"):
        load_model(f"local-dir:{folder}", device="cpu")


def test_a_mask_may_hold_minus_infinity() -> None:
    network = torch.nn.Module()
    network.register_buffer("attn_mask", torch.full((3, 3), -torch.inf).triu(1))
    network.register_buffer("steps", torch.tensor(3))
    network.register_buffer("nothing", torch.zeros(0))
    source = resolve("RN50/random")
    _check_finite(network, source)
    network.attn_mask[0, 0] = torch.nan
    with pytest.raises(SynestheteError, match="attn_mask"):
        _check_finite(network, source)


@pytest.fixture
def too_large(folder: Path) -> Any:
    """Weights that are finite and overflow as soon as an image is not black."""
    weights = load_file(folder / WEIGHTS)
    weights["visual.conv1.weight"].fill_(1e38)
    weights["text_projection"].fill_(3e38)
    save_file(weights, folder / WEIGHTS)
    found = json.loads((folder / CONFIG).read_text())
    found["preprocess_cfg"] = {"mean": 0, "std": 1}
    (folder / CONFIG).write_text(json.dumps(found))
    return load_model(f"local-dir:{folder}", device="cpu")


def test_values_that_are_not_finite_are_not_handed_out(too_large: Any) -> None:
    pixels = torch.zeros(3, 3, 64, 64)
    layer = too_large.default_layers[0]
    assert np.isfinite(too_large.read(pixels, [layer]).embeddings).all()
    pixels[1] = 1.0
    message = r"gives NaN or infinity at visual\.layer1\.0:pre for 1 of 3 images"
    for use in (
        lambda: too_large.encode_images(pixels),
        lambda: too_large.read(pixels, [layer]),
        lambda: too_large.maps(pixels, layer),
    ):
        with pytest.raises(SynestheteError, match=message):
            use()
    with pytest.raises(SynestheteError, match="at the embedding of a text"):
        too_large.encode_texts(["apple"])
    pixels[1] = torch.nan
    with pytest.raises(SynestheteError, match="given pixels that hold NaN"):
        too_large.encode_images(pixels)
