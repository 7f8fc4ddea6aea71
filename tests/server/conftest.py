"""A small atlas, named and laid out, and clients of its microscope."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from synesthete.analysis.layout import lay_out
from synesthete.atlas import write_unit_tables
from synesthete.audits import write_report
from synesthete.server import Gate, create_app
from tests.audits.small_report import small_report
from tests.small_atlas import LAYER, record_small, write_known_analysis

TOKEN = "secret-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def make_atlas(folder: Path) -> Path:
    path = record_small(folder)
    write_known_analysis(path)
    names = {
        "unit": [0, 0, 1],
        "rank": [0, 1, 0],
        "name": ["red apple", "fruit", "<i>cat</i>"],
        "method": ["ours"] * 3,
        "score": [0.9, 0.8, 0.9],
        "confidence": [0.97, 0.9, 0.95],
        "confidence_low": [0.9, 0.8, 0.85],
        "confidence_high": [1.0, 0.95, 0.99],
    }
    write_unit_tables(
        path, "names", {LAYER: pa.table(names)}, {"layers": {LAYER: {"threshold": 0.9}}}
    )
    lay_out(path)
    write_report(small_report(), path.parent / "made.audit")
    return path


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_atlas(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def atlas_copy(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for the tests of one file."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(original.parent / "made.audit", folder / "made.audit")
    return Path(shutil.copytree(original, folder / "own.atlas"))


@pytest.fixture
def atlas_path(original: Path, tmp_path: Path) -> Path:
    """A copy for one test, to write to or to damage."""
    shutil.copytree(original.parent / "made.audit", tmp_path / "made.audit")
    return Path(shutil.copytree(original, tmp_path / "own.atlas"))


def client_of(path: Path, headers: dict[str, str] | None = None) -> TestClient:
    app = create_app([path], Gate(TOKEN))
    return TestClient(
        app, base_url="http://127.0.0.1:8000", headers=headers, follow_redirects=False
    )


@pytest.fixture(scope="session")
def shared(original: Path) -> Iterator[TestClient]:
    """For reading only."""
    with client_of(original, BEARER) as client:
        yield client


@pytest.fixture
def client(atlas_path: Path) -> Iterator[TestClient]:
    with client_of(atlas_path, BEARER) as one:
        yield one
