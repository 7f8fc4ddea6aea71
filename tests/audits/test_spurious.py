"""Spurious features: followers of a background, of colours and of words are found, and what sees the thing alone is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from synesthete.audits import spurious
from synesthete.audits.images import ImageSet
from synesthete.audits.spurious import (
    audit_spurious,
    following_units,
    in_front_of,
    own_classes,
    recoloured,
)
from synesthete.models import Reading

SIDE = 96
NAMES = ["ox", "panda", "zebra"]
GROUNDS = ((150, 110, 110), (110, 150, 110), (110, 110, 150))
SHADES = (64, 120, 176)


def image_set(count: int = 60) -> ImageSet:
    """Each class has its shade of a middle square and its colour of the ground around it."""
    truth = np.arange(count) % 3
    images = []
    for label in truth.tolist():
        image = Image.new("RGB", (SIDE, SIDE), GROUNDS[label])
        ImageDraw.Draw(image).rectangle((30, 30, 66, 66), fill=(SHADES[label],) * 3)
        images.append(image)
    return ImageSet(source="made", images=images, truth=truth.astype(np.int64), classes=NAMES)


class Sees:
    """Answers by the ground around the image (`ground`) or by the shade in its middle, and has a unit for each class of either."""

    name = "made"
    default_layers = ("layer",)

    def __init__(self, ground: bool) -> None:
        self.ground = ground

    def layer(self, name: str) -> None:
        assert name == "layer"

    def preprocess(self, image: Image.Image) -> Any:
        import torch

        return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32))

    def scores(self, pixels: Any) -> np.ndarray:
        values = pixels.numpy()
        if self.ground:
            rim = np.concatenate([values[:, :6].reshape(len(values), -1, 3), values[:, -6:].reshape(len(values), -1, 3)], 1).mean(1)  # fmt: skip
            return np.stack([-np.abs(rim - ground).sum(-1) for ground in GROUNDS], 1)
        light = values[:, 44:52, 44:52].mean((1, 2)) @ [0.299, 0.587, 0.114]
        middle = (light / 8).round() * 8  # recoloured pixels are whole numbers
        return np.stack([-np.abs(middle - shade) for shade in SHADES], 1)

    def encode_images(self, pixels: Any) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[self.scores(pixels).argmax(1)]

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[[next(i for i, name in enumerate(NAMES) if name in text) for text in texts]]  # fmt: skip

    def read(self, pixels: Any, layers: list[str]) -> Any:
        return Reading(
            self.encode_images(pixels), {layers[0]: self.scores(pixels).astype(np.float32)}
        )


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(spurious, "load_images", lambda *given, **settings: image_set())
    return lambda ground: audit_spurious(Sees(ground))  # type: ignore[arg-type]


def test_a_planted_follower_of_the_background_is_found(found: Any) -> None:
    report = found(ground=True)
    assert report["clean"]["rate"] == 1
    background = report["features"]["background"]
    assert background["to_feature"]["rate"] > 0.95
    assert background["to_feature_blank"]["rate"] < 0.7
    assert background["units"]["following"]["rate"] == 1
    assert background["units"]["permuted"]["successes"] == 0
    assert {one["class"] for one in background["units"]["listed"]} == set(NAMES)


def test_what_sees_the_thing_alone_follows_nothing(found: Any) -> None:
    features = found(ground=False)["features"]
    for name in ("background", "colour"):
        assert features[name]["to_feature"]["rate"] == 0
        assert features[name]["units"]["following"]["successes"] == 0


def test_units_with_shuffled_classes_follow_nothing() -> None:
    rng = np.random.default_rng(0)
    code = np.arange(80) % 10
    own = np.arange(40) % 10
    rise = rng.normal(size=(80, 40)) + 4 * (code[:, None] == own[None, :])
    classes = [str(i) for i in range(10)]
    planted = following_units(rise, code, own, classes, "layer")
    assert planted["following"]["rate"] == 1
    assert planted["permuted"]["successes"] == 0
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(code)
        assert following_units(rise, mixed, own, classes, "layer")["following"]["successes"] <= 1


def test_a_units_own_class_is_the_one_that_excites_it() -> None:
    activations = np.array([[1, 0], [0, 5], [3, 1]], np.float32)
    assert own_classes(activations, np.array([0, 1, 2]), np.array([0, 1])).tolist() == [0, 1]
    assert own_classes(activations, np.array([0, 1, 2]), np.array([1, 2])).tolist() == [1, 0]


def test_colours_are_taken_and_light_is_kept() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(60, 190, (20, 20, 3), dtype=np.uint8))
    like = Image.new("RGB", (20, 20), (180, 60, 60))
    red = np.asarray(recoloured(image, like).convert("YCbCr"), float)
    assert red[..., 0].mean() == pytest.approx(np.asarray(image.convert("YCbCr"))[..., 0].mean(), abs=1.5)  # fmt: skip
    assert red[..., 1:].mean((0, 1)) == pytest.approx(np.asarray(like.convert("YCbCr"), float)[..., 1:].mean((0, 1)), abs=1.5)  # fmt: skip
    grey = np.asarray(recoloured(image, None))
    assert np.ptp(grey, axis=2).max() <= 2


def test_the_image_stands_before_the_other() -> None:
    before = in_front_of(Image.new("RGB", (50, 50), "red"), Image.new("RGB", (80, 40), "blue"))
    assert before.size == (50, 50)
    assert before.getpixel((25, 25)) == (255, 0, 0)
    assert before.getpixel((2, 2)) == (0, 0, 255)
    assert in_front_of(Image.new("RGB", (50, 50), "red"), None).getpixel((2, 2)) == spurious.GREY
