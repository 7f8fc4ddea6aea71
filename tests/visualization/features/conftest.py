"""A small random model, its tower, and what pictures are like, shared by all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.models import ImageTextModel, load_model
from synesthete.models.gradients import GradientTower
from synesthete.visualization.features.natural import Natural, natural_statistics
from tests.small_atlas import write_model

SIDE = 64


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> ImageTextModel:
    return load_model(write_model(tmp_path_factory.mktemp("pictures") / "model"))


@pytest.fixture(scope="session")
def tower(small_model: ImageTextModel) -> GradientTower:
    return GradientTower(small_model)


@pytest.fixture(scope="session")
def natural() -> Natural:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (6, 8, 8, 3), np.uint8)
    return natural_statistics([Image.fromarray(one).resize((SIDE, SIDE)) for one in noise], SIDE)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def own(atlas_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small atlas, to write pictures into; its probe set lies in the folder we are in."""
    import shutil

    monkeypatch.chdir(atlas_path.parent)
    return Path(shutil.copytree(atlas_path, tmp_path / "own.atlas"))
