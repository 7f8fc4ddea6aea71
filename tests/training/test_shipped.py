"""A new training begins as the shipped model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")

from synesthete.models import load_model  # noqa: E402
from synesthete.models.sources import MINI  # noqa: E402
from training import image_tower, shipped  # noqa: E402
from training.architecture import EMBED_DIM, create  # noqa: E402


def test_the_towers_say_what_the_shipped_model_says(tmp_path: Path) -> None:
    shipped.write(MINI, tmp_path)
    saved = torch.load(tmp_path / "image.pt")
    model = create(saved["size"])
    model.visual.standardise = torch.nn.BatchNorm1d(EMBED_DIM, affine=False)
    model.visual.load_state_dict(saved["visual"])
    model.load_state_dict(torch.load(tmp_path / "text.pt"), strict=False)
    model.eval()
    pixels = torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    mini = load_model("mini")
    with torch.no_grad():
        features = model.visual.standardise(model.visual(pixels))
    got = torch.nn.functional.normalize(features, dim=-1).numpy()
    assert np.allclose(got, mini.encode_images(pixels), atol=1e-4)
    texts = ["apple", "a photo of a cat"]
    wanted = image_tower.name_targets(model, texts).numpy()
    assert np.allclose(mini.encode_texts(texts), wanted, atol=1e-4)


def test_the_teacher_is_turned_back_onto_the_towers_axes(tmp_path: Path) -> None:
    texts = ["apple", "banana", "cat", "dog", "house", "car", "tree", "sun"]
    own = image_tower.name_targets(shipped.load(MINI), texts).numpy()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(EMBED_DIM, EMBED_DIM)))[0]
    np.savez(
        tmp_path / "teacher.npz", texts=np.array(texts), kinds=np.array(["names"] * len(texts)),
        targets=(own @ turn).astype(np.float32),
    )  # fmt: skip
    before, after = shipped.turn_teacher(MINI, tmp_path)
    assert before < 0.5
    assert after == pytest.approx(1.0, abs=1e-4)
