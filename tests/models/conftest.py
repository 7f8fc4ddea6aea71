"""Small models of every family, with weights random enough that nothing cancels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import nn

from synesthete.models import ImageTextModel, load_model

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION: dict[str, dict[str, Any]] = {
    "resnet": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 16, "head_width": 32},
    "vit": {"image_size": 48, "layers": 3, "width": 64, "patch_size": 16, "head_width": 16},
}
Writer = Callable[..., str]


def configuration(family: str, **changes: Any) -> dict[str, Any]:
    return {"embed_dim": 24, "vision_cfg": VISION[family], "text_cfg": TEXT} | changes


def scramble(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random values in every weight and every running statistic, none of them 0 or 1 by default."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point() or name.startswith("logit"):
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(noise.abs() + 0.5)
        elif tensor.ndim > 1:
            tensor.copy_(noise * (tensor[0].numel() ** -0.5))
        else:
            tensor.copy_(noise * 0.3 + (1.0 if name.endswith("weight") else 0.0))
    return network


@pytest.fixture(scope="session")
def write_model(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """Save a small model as open_clip's `local-dir:` and return its spec."""

    def write(family: str = "resnet", *, seed: int = 0, **changes: Any) -> str:
        folder = tmp_path_factory.mktemp(family)
        config = configuration(family, **changes)
        network = scramble(CLIP(**config), seed)
        save_file(network.state_dict(), folder / "open_clip_model.safetensors")
        preprocess = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "resize_mode": "shortest"}
        text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
        (folder / "open_clip_config.json").write_text(text)
        return f"local-dir:{folder}"

    return write


@pytest.fixture(scope="session")
def resnet(write_model: Writer) -> ImageTextModel:
    return load_model(write_model("resnet"), device="cpu")


@pytest.fixture(scope="session")
def vit(write_model: Writer) -> ImageTextModel:
    return load_model(write_model("vit"), device="cpu")


@pytest.fixture
def folder(write_model: Writer) -> Path:
    """A good model folder, to damage."""
    return Path(write_model("resnet").removeprefix("local-dir:"))


def random_pixels(model: ImageTextModel, count: int = 3, seed: int = 1) -> torch.Tensor:
    side = model.preprocessing.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
