"""A run that goes on from another one's checkpoint: what it takes over and what it begins again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("cv2")

from training.architecture import EMBED_DIM, create  # noqa: E402
from training.objective import Objective  # noqa: E402
from training.running import Recipe, Run  # noqa: E402


def _run(folder: Path, kinds: int, **weights: float) -> Run:
    visual = create(64, seed=1).visual
    visual.attnpool_size = 64
    visual.standardise = torch.nn.BatchNorm1d(EMBED_DIM, affine=False)
    names = torch.eye(3, EMBED_DIM)
    objective = Objective(
        visual, torch.nn.Parameter(torch.tensor(3.0)), names, names, sparsity=0.0, bf16=False,
        spelt=["a", "b", "ab"] * 7, described=np.eye(kinds, dtype=np.float32), **weights,
    )  # fmt: skip
    return Run(objective, Recipe(), folder / "image.pt", ((0.0, 64),))


def test_readers_of_another_size_begin_anew_and_the_rest_goes_on(tmp_path: Path) -> None:
    first = _run(tmp_path, 2, letters=0.1, looks=1.0)
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    labels = np.array([[0, -1, -1, 0, 0], [1, -1, -1, 1, 1], [2, -1, -1, 2, 0], [0, -1, -1, -1, 1]])
    first.objective(images, labels)[0].backward()
    first._update(0.5, 1)
    first.save(1.0)
    assert len(first.readers["looks"][0]) == 2
    other = _run(tmp_path, 3, last_letters=0.1, letters=0.1, looks=1.0)
    before = {name: [p.data.clone() for p in of] for name, of in other.readers.items()}
    other.load(tmp_path / "image.pt", continued=False)
    kernel = other.objective.visual.conv1.weight
    assert torch.equal(kernel, first.objective.visual.conv1.weight)
    moments = other.optimiser.state
    for mine, theirs in zip(other.readers["letters"], first.readers["letters"], strict=True):
        assert torch.equal(mine, theirs)
        assert torch.equal(moments[mine]["exp_avg"], first.optimiser.state[theirs]["exp_avg"])
    assert moments[kernel]["exp_avg"].abs().sum() > 0
    for name in ("looks", "last_letters"):
        for mine, unread in zip(other.readers[name], before[name], strict=True):
            assert torch.equal(mine, unread)
            assert mine not in moments
    other.objective(images, labels)[0].backward()
    other._update(0.5, 1)
    assert all(p in moments for p in other.readers["looks"])
