"""One small atlas for all tests of the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from synesthete.atlas import Atlas, open_atlas
from tests.small_atlas import record_small, write_known_analysis


@pytest.fixture(scope="session")
def atlas_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = record_small(tmp_path_factory.mktemp("visualization"))
    write_known_analysis(path)
    return path


@pytest.fixture
def atlas(atlas_path: Path) -> Atlas:
    return open_atlas(atlas_path)
