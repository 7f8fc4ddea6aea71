"""Examples come from other processes, and so does what goes wrong there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2")

from training import examples, loading


def test_batches_have_the_requested_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(corpus: Any, size: int, rng: np.random.Generator) -> examples.Example:
        return np.full((size, size, 3), 7, np.uint8), 1, -1, -1, -1, -1

    monkeypatch.setattr(loading, "draw", draw)
    sizes = iter([(4, 2)] * 6 + [(8, 3)] * 30)
    batches = loading.Loader(None, 0).batches(lambda: next(sizes))  # type: ignore[arg-type]
    shapes = [next(batches)[0].shape for _ in range(12)]
    assert set(shapes[:4]) == {(2, 4, 4, 3)}
    assert shapes[-1] == (3, 8, 8, 3)


def test_what_a_worker_fails_with_is_raised_where_the_batches_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw(corpus: Any, size: int, rng: np.random.Generator) -> examples.Example:
        raise IndexError("an image that cannot be drawn")

    monkeypatch.setattr(loading, "draw", draw)
    batches = loading.Loader(None, 0).batches(lambda: (4, 2))  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="cannot be drawn"):
        next(batches)


def _drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(corpus: Any, size: int, rng: np.random.Generator) -> examples.Example:
        image = rng.integers(0, 256, (size, size, 3)).astype(np.uint8)
        return image, int(rng.integers(9)), -1, -1, -1, -1

    monkeypatch.setattr(loading, "draw", draw)


def _all(folder: Path, first: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(loading.Drawn(folder, first, patience=0).batches(None))


def test_an_order_is_the_same_whoever_draws_it_and_wherever_one_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _drawing(monkeypatch)
    order = loading.Order(5, 3, ((0.0, 4), (0.6, 8)), seed=1)
    nothing: Any = None
    assert order.draw(nothing, tmp_path / "one") == 5
    assert order.draw(nothing, tmp_path / "one") == 0, "it is there already"
    assert [order.draw(nothing, tmp_path / "two", (i, 2)) for i in (1, 0)] == [2, 3]
    one, two = _all(tmp_path / "one"), _all(tmp_path / "two")
    assert [images.shape for images, _ in one] == [(3, 4, 4, 3)] * 3 + [(3, 8, 8, 3)] * 2
    for mine, theirs in zip(one, two, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert len({images.tobytes() for images, _ in one}) == 5
    (later,) = _all(tmp_path / "one", 4)
    assert np.array_equal(later[0], one[4][0])
    with pytest.raises(ValueError, match="another order"):
        loading.Order(5, 3, order.stages, seed=2).draw(nothing, tmp_path / "one")


def test_examples_that_do_not_come_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _drawing(monkeypatch)
    nothing: Any = None
    loading.Order(3, 2, ((0.0, 4),)).draw(nothing, tmp_path, (0, 2))
    with pytest.raises(FileNotFoundError, match="000001"):
        _all(tmp_path)
