"""Models of every family, opened once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.editing.edits import layer_totals
from synesthete.models import ImageTextModel, load_model
from tests.editing.families import write_model

Family = Callable[[str], ImageTextModel]


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A small model by the name of its family."""
    models: dict[str, ImageTextModel] = {}

    def get(name: str) -> ImageTextModel:
        if name not in models:
            spec = write_model(tmp_path_factory.mktemp(name), name)
            models[name] = load_model(spec, device="cpu")
        return models[name]

    return get


def pixels(model: ImageTextModel, count: int = 3, seed: int = 1) -> torch.Tensor:
    side = model.preprocessing.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def live_unit(model: ImageTextModel, layer: str, batch: torch.Tensor) -> int:
    """The unit (or head) of a site that answers most."""
    means = layer_totals(model, layer, batch)
    return int(means.reshape(len(means), -1).abs().amax(1).argmax())


def images(count: int = 4, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).resize((160, 120))
        for _ in range(count)
    ]
