"""A small atlas, a small random model with its tower, and statistics of natural images, shared by all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.atlas import Atlas, open_atlas
from synesthete.models import ImageTextModel, load_model
from synesthete.models.gradients import GradientTower
from synesthete.visualization.features.parameterization import Natural, natural_statistics
from tests.small_atlas import record_small, write_known_analysis, write_model


@pytest.fixture(scope="session")
def atlas_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = record_small(tmp_path_factory.mktemp("visualization"))
    write_known_analysis(path)
    return path


@pytest.fixture
def atlas(atlas_path: Path) -> Atlas:
    return open_atlas(atlas_path)


SIDE = 64


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> ImageTextModel:
    return load_model(write_model(tmp_path_factory.mktemp("images") / "model"))


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
    """A copy of the small atlas, to write images into; its probe set is in the working directory."""
    import shutil

    monkeypatch.chdir(atlas_path.parent)
    return Path(shutil.copytree(atlas_path, tmp_path / "own.atlas"))
