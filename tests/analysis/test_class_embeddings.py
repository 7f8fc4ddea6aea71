"""Embeddings of names are computed once for the same weights, names and templates, and never anybody's else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from synesthete.analysis import zero_shot
from synesthete.analysis.zero_shot import class_embeddings


class CountingModel:
    """Embeds a text by its letters, and counts the texts."""

    def __init__(self, weights: str | None) -> None:
        self.embedded = 0
        if weights is not None:
            self.weights_sha256 = weights

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += len(texts)
        return np.array([[len(text), text.count("a"), 1] for text in texts], np.float32)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_shot, "_KEPT", {})


def test_the_same_names_are_embedded_once() -> None:
    first, second = CountingModel("w"), CountingModel("w")
    found = class_embeddings(first, ["apple", "cat"], ["{}", "a {}"])
    assert first.embedded == 4
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1])
    again = class_embeddings(second, ["apple", "cat"], ["{}", "a {}"])
    assert second.embedded == 0
    assert (again == found).all()


@pytest.mark.parametrize(
    ("weights", "names", "templates"),
    [("v", ["apple"], ["{}"]), ("w", ["pear"], ["{}"]), ("w", ["apple"], ["a {}"]), ("w", ["apple", "apple"], ["{}"])],
)  # fmt: skip
def test_others_are_not_taken_for_them(
    weights: str, names: list[str], templates: list[str]
) -> None:
    class_embeddings(CountingModel("w"), ["apple"], ["{}"])
    other = CountingModel(weights)
    class_embeddings(other, names, templates)
    assert other.embedded == len(names) * len(templates)


def test_what_a_caller_does_to_them_stays_with_it() -> None:
    class_embeddings(CountingModel("w"), ["apple"])[:] = 7
    class_embeddings(CountingModel("w"), ["apple"])[:] = 7
    assert np.linalg.norm(class_embeddings(CountingModel("w"), ["apple"])) == pytest.approx(1)


def test_a_model_without_a_fingerprint_always_embeds() -> None:
    teller = CountingModel(None)
    for _ in range(2):
        class_embeddings(teller, ["apple"], ["{}"])
    assert teller.embedded == 2


def test_the_least_recently_used_are_dropped() -> None:
    teller = CountingModel("w")
    for number in range(zero_shot.KEPT + 1):
        class_embeddings(teller, [f"name {number}"], ["{}"])
        class_embeddings(teller, ["apple"], ["{}"])
    assert len(zero_shot._KEPT) == zero_shot.KEPT
    count = teller.embedded
    class_embeddings(teller, ["apple"], ["{}"])
    assert teller.embedded == count
    class_embeddings(teller, ["name 0"], ["{}"])
    assert teller.embedded == count + 1
