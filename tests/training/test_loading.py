"""Examples come from other processes, and so does what goes wrong there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2")

from training import examples, loading


def test_batches_have_the_size_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
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
