"""Models whose answers are known: one reads the word on an image and nothing else, one sees the thing and no word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synesthete.audits.images import ImageSet
from synesthete.audits.labels import Style, find_font
from synesthete.probes.words import render_line

SIDE = 144
COLOURS = {"ox": (230, 60, 60), "panda": (60, 200, 60), "hippopotamus": (70, 70, 240)}
NAMES = sorted(COLOURS)
# As large as a reader by eye of shapes needs it.
STYLE = Style(share=0.2, font="Open Sans")


def make_image_set(count: int = 36) -> ImageSet:
    """ImageSet of one colour for each thing."""
    rng = np.random.default_rng(0)
    truth = np.arange(count) % len(NAMES)
    images = []
    for label in truth:
        shade = np.clip(np.array(COLOURS[NAMES[label]]) + rng.integers(-12, 13, 3), 0, 255)
        images.append(Image.new("RGB", (SIDE, SIDE), tuple(int(value) for value in shade)))
    return ImageSet(source="made", images=images, truth=truth.astype(np.int64), classes=NAMES)


class Blind:
    """Sees the commonest colour, whatever is written."""

    name = "blind"

    def geometry(self, image: Image.Image) -> Image.Image:
        return image.convert("RGB").resize((SIDE, SIDE))

    def preprocess(self, image: Image.Image) -> Any:
        import torch

        return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32))

    def encode_images(self, pixels: Any) -> np.ndarray:
        return np.eye(len(NAMES), dtype=np.float32)[[self.answer(p) for p in pixels.numpy()]]

    def answer(self, pixels: np.ndarray) -> int:
        middle = np.median(pixels[::6, ::6].reshape(-1, 3), axis=0)
        return int(np.argmin([np.abs(middle - COLOURS[name]).sum() for name in NAMES]))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), len(NAMES)), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[next((i for i, name in enumerate(NAMES) if name in text), 0)] = 1
        return rows


class Reader(Blind):
    """Reads black letters by how wide the word is; where nothing is written it sees the colour."""

    name = "reader"

    def answer(self, pixels: np.ndarray) -> int:
        rows, columns = np.nonzero((pixels < 40).all(-1))
        if len(rows) < 12:
            return super().answer(pixels)
        shape = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
        return int(np.argmin([abs(np.log(shape / wide)) for wide in WIDTHS]))


def width(word: str) -> float:
    """Width of a word by its height."""
    _, mask = render_line(word, find_font(STYLE.font))
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    return (right - left) / (bottom - top)


WIDTHS = [width(name) for name in NAMES]


def write_image_folders(
    folder: Path, concepts: Sequence[str] = ("apple", "boat", "drum"), each: int = 12
) -> Path:
    """A folder `CONCEPT/IMAGE` of drawn shapes in two colours."""
    from PIL import ImageDraw

    rng = np.random.default_rng(1)
    colours = ("#c33", "#36c", "#2a2", "#a62", "#c3c")
    for number, concept in enumerate(concepts):
        (folder / concept).mkdir(parents=True, exist_ok=True)
        for place in range(each):
            image = Image.new("RGB", (80, 80), "#dcd6cc")
            left, top = (int(v) for v in rng.integers(4, 30, 2))
            shape = ImageDraw.Draw(image)
            draw = (shape.ellipse, shape.rectangle)[number % 2]
            draw((left, top, left + 34, top + 34), fill=colours[number % len(colours)])
            image.save(folder / concept / f"{place}.png")
    return folder
