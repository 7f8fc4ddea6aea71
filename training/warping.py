"""What happens to every image and word before the model sees it: turned, scaled and moved, in other colours."""

from __future__ import annotations

import cv2
import numpy as np

from training.sources import TILE

# Worker processes are forked, and a fork of OpenCV's thread pool would wait for threads that are not there.
cv2.setNumThreads(1)

CRISP = 0.7
"""How many images and words stay as sharp as they were drawn."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def ink_and_ground(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ink and ground, RGB in 0..255, always well apart in brightness."""
    draw = rng.random()
    if draw < 0.85:
        return np.zeros(3, np.float32), np.full(3, 255, np.float32)
    for _ in range(20):
        ink, ground = (
            rng.uniform(0, 255, 3).astype(np.float32),
            rng.uniform(0, 255, 3).astype(np.float32),
        )
        if draw < 0.92:
            ground = np.full(3, 255, np.float32)
        if abs(float((ink - ground) @ LUMA)) > 80:
            return ink, ground
    return np.full(3, 255, np.float32), np.zeros(3, np.float32)


def warp(
    layer: np.ndarray,
    size: int,
    rng: np.random.Generator,
    scale: float,
    *,
    flip: bool = False,
    border: int = cv2.BORDER_CONSTANT,
    reach: float | tuple[float, float] = 0.08,
    turn: float = 0.1,
    pull: float = 0.05,
) -> np.ndarray:
    """`layer` turned by up to `turn`, stretched by up to `pull`, moved by up to `reach` of the image (across and down).

    It is drawn at `size` pixels; `turn` is in radians, `pull` a share of the width.
    """
    angle = rng.uniform(-turn, turn)
    zoom = scale * size / TILE
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    shift = rng.uniform(-1, 1, 2) * reach * size
    sign = -1.0 if flip and rng.random() < 0.5 else 1.0
    stretch = rng.uniform(1 - pull, 1 + pull)
    half = (TILE - 1) / 2
    matrix = np.array([[sign * cos * stretch, -sin, 0], [sign * sin * stretch, cos, 0]], np.float32)
    matrix[:, 2] = (size - 1) / 2 + shift - matrix[:, :2] @ (half, half)
    if zoom < 0.7:
        layer = cv2.resize(layer, (TILE // 2, TILE // 2), interpolation=cv2.INTER_AREA)
        matrix[:, 2] += matrix[:, :2].sum(1) * 0.5
        matrix[:, :2] *= 2
    # Between pixels INTER_LINEAR softens: a tower that saw nothing else named soft images better than those it was asked.
    flags = cv2.INTER_LANCZOS4 if rng.random() < CRISP else cv2.INTER_LINEAR
    return cv2.warpAffine(layer, matrix, (size, size), flags=flags, borderMode=border)


def scale_of(size: int, rng: np.random.Generator, power: float = 2.5) -> float:
    """How much of the image a thing fills: larger images also show it as small as smaller ones did.

    The larger `power`, the rarer the small ones.
    """
    return float(1.05 - (1.05 - max(0.45, 0.75 * 64 / size)) * rng.random() ** power)


def jitter(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    gain = rng.uniform(1 - strength, 1 + strength) * rng.uniform(
        1 - strength / 2, 1 + strength / 2, 3
    )
    image = (
        (image - 128) * gain.astype(np.float32) + 128 + np.float32(rng.uniform(-40, 40) * strength)
    )
    if rng.random() < strength / 4:
        image = np.repeat((image @ LUMA)[..., None], 3, axis=2)
    return np.clip(image, 0, 255)
