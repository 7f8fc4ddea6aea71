"""The model card's measurements, on a model whose answers are known: it sees nothing but the mean colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import synesthete
from training.evaluation import card
from training.evaluation.likeness import nearest_spelt, spelt_alike
from training.evaluation.linear_probe import linear_probe
from training.evaluation.retrieval import recall
from training.evaluation.typographic import attack, stroop

SHADES = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250), "white": (255, 255, 255)}


class ByColour:
    """Embeds an image as its mean colour, a text as the colour it names last."""

    def geometry(self, image: Image.Image) -> Image.Image:
        return image

    def preprocess(self, image: Image.Image) -> Any:
        import torch

        return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32).copy())

    def encode_images(self, pixels: Any) -> np.ndarray:
        rows = pixels.numpy().mean((1, 2)) + 1e-3
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        rows = np.array([SHADES[text.split()[-1]] for text in texts], np.float32) + 1e-3
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def tile(colour: tuple[int, int, int]) -> np.ndarray:
    return np.tile(np.array([*colour, 255], np.uint8), (8, 8, 1))


def test_recall_counts_what_is_found_and_what_is_swapped() -> None:
    names = ["red", "green", "blue"]
    right = recall(ByColour(), [tile(SHADES[name]) for name in names], names, at=1)
    assert right["title_of_image"]["rate"] == right["image_of_title"]["rate"] == 1
    swapped = recall(ByColour(), [tile(SHADES[n]) for n in ("green", "red", "blue")], names, at=1)
    assert swapped["title_of_image"]["rate"] == pytest.approx(1 / 3, abs=1e-4)


def test_a_linear_probe_finds_colours_and_no_more() -> None:
    rng = np.random.default_rng(0)
    names = ["red", "green"] * 30
    tiles = [tile(tuple(np.clip(rng.normal(SHADES[n], 30), 0, 255).astype(int))) for n in names]
    assert linear_probe(ByColour(), tiles, names)["top1"]["rate"] > 0.95
    shuffled = rng.permutation(names).tolist()
    assert linear_probe(ByColour(), tiles, shuffled)["top1"]["rate"] < 0.75


def test_an_attack_counts_only_what_was_right_before() -> None:
    names = ["red", "green", "white"]
    images = [Image.new("RGB", (64, 64), SHADES[n]) for n in ("red", "green", "red") * 12]
    found = attack(ByColour(), images, [0, 1, 1] * 12, names, share=0.98)
    assert found["images"] == 36
    assert found["right_without"] == 24
    assert found["lost_to_blank"]["rate"] == 1  # a paper as large as the image is white


def test_stroop_sees_the_ink_of_a_model_that_cannot_read() -> None:
    from synesthete.audits.typographic.protocol import COLOURS

    class Inky(ByColour):
        def encode_images(self, pixels: Any) -> np.ndarray:
            rows = (255 - pixels.numpy()).mean((1, 2))
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

        def encode_texts(self, texts: list[str]) -> np.ndarray:
            rows = [255 - np.array(COLOURS[t.split()[-1]], np.float32) for t in texts]
            return np.stack([row / np.linalg.norm(row) for row in rows])

    found = stroop(Inky())
    assert found["cells"] == 56
    assert found["names_the_ink"]["rate"] > 0.9
    assert found["reads_the_word"]["rate"] < 0.1


def test_names_spelt_alike_are_found_whatever_the_model_thinks_of_them() -> None:
    class ByFirstLetter:
        def encode_texts(self, texts: list[str]) -> np.ndarray:
            return np.eye(26, dtype=np.float32)[[ord(text[0]) - ord("a") for text in texts]]

    names = ["mouse", "house", "mug", "hug"]
    found = spelt_alike(ByFirstLetter(), names, nearest_spelt(names))
    assert found == {"n": 4, "nearest": 0.0, "interval": [0.0, 0.0], "others": round(4 / 12, 3)}
    names = ["mouse", "mousse", "hug", "hugs"]
    found = spelt_alike(ByFirstLetter(), names, nearest_spelt(names))
    assert found["nearest"] == 1.0


def test_the_card_has_every_number() -> None:
    rate = {"n": 41, "rate": 0.123, "interval": [0.1, 0.2]}
    pair = {"top1": rate, "words": 500, "chance": 0.002, "classes": ["a", "b"]}
    title = {
        "title_of_image": rate,
        "image_of_title": rate,
        "at": 10,
        "pairs": 77,
        "chance": 0.1,
    }
    row = {"n": 9, "top1": 0.5, "top1_interval": [0.2, 0.8], "top5": 0.6, "top5_interval": [0.3, 0.9],
           "chance": 0.01, "random_twin": {"top1": 0.02}}  # fmt: skip
    text = card.page({
        "training": {"image_size": 128, "grid": 4, "embed_dim": 192, "parameters": 15_000_000, "samples": 1_234_567,
                     "minutes": 99.4, "earlier": {"samples": 7_654_321, "minutes": 12.0}, "averaged": 4, "fonts": 75, "data": [{"images": 5, "source": "here", "licence": "MIT"}]},
        "zero_shot": {"classes": 689, "modalities": {"photo": row, "word": row}},
        "unseen_words": {"model": pair, "random_twin": pair},
        "retrieval": {"model": title, "random_twin": title},
        "linear_probe": {"model": pair, "random_twin": pair},
        "typographic": {"photo": {"images": 0, "right_without": 0},
                        "drawing": {"images": 9, "right_without": 8, "label_share": 0.1, "to_the_word": rate,
                                    "lost": rate, "lost_to_blank": rate}},
        "stroop": {"cells": 56, "reads_the_word": rate, "names_the_ink": rate, "chance": 0.125},
        "associations": {"lean": {f"o{i}": 0.1 * i for i in range(12)}, "things": {"n": 24, "mean": 0, "std": 0.05}},
        "spelling": {"model": {"n": 689, "nearest": 0.31, "interval": [0.29, 0.33], "others": 0.02}},
    })  # fmt: skip
    for wanted in (
        "1,234,567",
        "7,654,321",
        "the mean of 4 runs",
        "among 500",
        "among 77",
        "8 of 9",
        "12.3 %",
        "photos | 9 |",
        "56 names",
        "o11",
        "is 0.31 (0.29–0.33",
    ):
        assert wanted in text, wanted


def test_the_card_does_not_depend_on_the_order_of_what_was_measured() -> None:
    folder = Path(synesthete.__file__).parent / "models" / "mini"
    numbers = json.loads((folder / "evaluation.json").read_text())
    lean = {f"o{i}": 0.1 * (i // 2) for i in range(12)}
    numbers["associations"]["lean"] = lean
    page = card.page(numbers)
    numbers["associations"]["lean"] = dict(reversed(lean.items()))
    assert card.page(numbers) == page


def test_the_shipped_card_is_what_its_numbers_say() -> None:
    folder = Path(synesthete.__file__).parent / "models" / "mini"
    numbers = json.loads((folder / "evaluation.json").read_text())
    assert card.page(numbers) == (folder / "MODEL_CARD.md").read_text()
