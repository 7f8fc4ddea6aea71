"""A small recorded and analysed atlas."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from synesthete.atlas import open_atlas, write_analysis, write_neurons, write_selectivity
from synesthete.recording import record
from tests.recording.fakes import FakeModel, FakeProbes

LAYERS = ["visual.layer4.1", "visual.layer4.1:pre"]


def _verdict(unit: int, alive: bool) -> str:
    if not alive:
        return "untested"
    return "none" if unit % 2 else "multimodal"


def neurons_table(units: int, *, shift: float = 0.0) -> pa.Table:
    """Unit i answers to concept i mod 7; the even ones are multimodal, the last is dead."""
    alive = [unit < units - 1 for unit in range(units)]
    scores = [0.99 - 0.03 * unit - shift if alive[unit] else None for unit in range(units)]
    names = [f"concept {unit % 7}" if alive[unit] else "" for unit in range(units)]
    return pa.table(
        {
            "unit": list(range(units)),
            "concept": names,
            "family": ["fruit" if name else "" for name in names],
            "multimodality": pa.array(scores, pa.float64()),
            "q": pa.array([1e-4 if here else None for here in alive], pa.float64()),
            "verdict": [_verdict(unit, alive[unit]) for unit in range(units)],
            "selective": [alive[unit] and unit % 2 == 0 for unit in range(units)],
            "multimodal": [alive[unit] and unit % 2 == 0 for unit in range(units)],
            "concept_cell": [False] * units,
            "passed": [0] * units,
            "lower": pa.array([None] * units, pa.float64()),
            "n_concepts": [1] * units,
            "sparseness": [0.5] * units,
            "dead": [not here for here in alive],
            "mean": [0.1] * units,
            "std": [0.2] * units,
            "maximum": [3.0] * units,
            "auc_photo": pa.array(scores, pa.float64()),
            "auc_word": pa.array([1.0 if here else None for here in alive], pa.float64()),
            "p_photo": [0.001] * units,
            "p_word": [0.001] * units,
        }
    )


def analyse(path: Path) -> None:
    """What an analysis writes, with made-up numbers."""
    counts = {}
    for more, layer in enumerate(LAYERS):
        units = 5 + more
        write_neurons(path, layer, neurons_table(units, shift=0.01 * more))
        rows = {"unit": [0, 1], "concept": ["concept 0", "concept 1"], "auc_word": [0.9, 0.95]}
        write_selectivity(path, layer, pa.table(rows))
        counts[layer] = {
            "units": units,
            "live_units": units - 1,
            "multimodal": 2 + more,
            "multimodal_random_twin": 0,
            "multimodal_permuted": 0,
            "multimodal_rotation": 1,
            "multimodal_shuffled": 1,
        }
    rule = {"threshold": 0.9, "q": 0.01, "ap": 0.2, "cell": 0.5, "curve": [0.0, 0.2], "seed": 0}
    write_analysis(path, {**rule, "layers": counts})


@pytest.fixture(scope="session")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("atlas") / "recorded.atlas"
    return record(FakeModel(), FakeProbes(70, broken={3: "truncated"}), LAYERS, out)


@pytest.fixture
def recorded(recorded_once: Path, tmp_path: Path) -> Path:
    """An atlas that is recorded and not analysed, to do anything with."""
    return Path(shutil.copytree(recorded_once, tmp_path / "x.atlas"))


@pytest.fixture(scope="session")
def analysed_once(recorded_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "analysed.atlas"
    shutil.copytree(recorded_once, path)
    analyse(path)
    assert open_atlas(path).verify() == []
    return path


@pytest.fixture
def analysed(analysed_once: Path, tmp_path: Path) -> Path:
    """An atlas that is recorded and analysed, to do anything with."""
    return Path(shutil.copytree(analysed_once, tmp_path / "x.atlas"))
