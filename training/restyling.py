"""The same image by another hand: other lines, colours and proportions, so that five artists do for more.

A tower that had seen every drawing of its five artists hundreds of times named 97 % of those and 59 % of a sixth one's.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from training.warping import LUMA

SIDED = re.compile(r"left|right|clock|forward|rewind|play|arrow|hand|number|letter|question")
"""Names of what is another thing, or none, in a mirror."""
PEN = np.ones((3, 3), np.uint8)
_GREY = np.full((3, 3), 1 / 3, np.float32)


def mirrors(name: str) -> bool:
    """Whether an image of this is still one in a mirror.

    Examples
    --------
    >>> mirrors("horse"), mirrors("pointing left")
    (True, False)
    """
    return not SIDED.search(name)


def bend(tile: np.ndarray, rng: np.random.Generator, most: float = 4.5) -> np.ndarray:
    """`tile` `[side, side, channels]` with its parts moved by up to `most` pixels, neighbours alike."""
    side = tile.shape[0]
    knots = rng.uniform(-most, most, (5, 5, 2)).astype(np.float32)
    moves = cv2.resize(knots, (side, side), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    return cv2.remap(tile, columns + moves[..., 0], rows + moves[..., 1], cv2.INTER_LANCZOS4)


def outlined(tile: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A premultiplied RGBA tile with a dark line drawn around what it shows."""
    wide = cv2.dilate(tile[..., 3], PEN, iterations=int(rng.integers(1, 4)))
    shade = rng.uniform(0, 60)
    line = (wide.astype(np.float32) / 255)[..., None] * (1 - tile[..., 3:].astype(np.float32) / 255)
    out = np.empty_like(tile)
    out[..., :3] = (tile[..., :3] + line * shade).astype(np.uint8)
    out[..., 3] = wide
    return out


def one_ink(tile: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A premultiplied RGBA drawing as a symbol's tile: its dark parts, or the lines between its parts, as black ink."""
    cover = tile[..., 3].astype(np.float32) / 255
    grey = tile[..., :3].astype(np.float32) @ LUMA + 255 * (1 - cover)
    if rng.random() < 0.5:
        inside = grey[cover > 0.5]
        level = float(np.quantile(inside, rng.uniform(0.2, 0.8))) if inside.size else 128
        ink = np.clip((level - grey) / 12 + 0.5, 0, 1)
    else:
        smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
        steps = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, PEN)
        ink = np.clip((steps - 12) / 25, 0, 1)
        if rng.random() < 0.6:
            ink = cv2.dilate(ink, PEN)
    out = np.zeros_like(tile)
    out[..., 3] = (255 * ink).astype(np.uint8)
    return out


def recoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` `[..., 3]`, float, in other tints: hue turned a little, paler or stronger, darker or lighter."""
    angle = rng.normal(0, 0.2)
    strength = rng.uniform(0.4, 1.4) if rng.random() < 0.9 else 0.0
    # A rotation about the grey axis (Rodrigues), then a mix with grey.
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * _GREY
    mix = strength * turn + (1 - strength) * _GREY
    gamma = rng.uniform(0.7, 1.4)
    out = np.clip(image @ mix.T.astype(np.float32), 0, 255)
    return 255 * (out / 255) ** np.float32(gamma)


def coarser(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` `[size, size, 3]` as from a smaller image, or unsharp."""
    size = image.shape[0]
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 1.8)))
    side = int(size * rng.uniform(0.35, 0.8))
    few = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(few, (size, size), interpolation=cv2.INTER_LINEAR)


def sharper(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` `[size, size, 3]` with its edges set off (an unsharp mask): drawn on the pixels and not between them."""
    soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 1.2)))
    much = float(rng.uniform(0.4, 1.6))
    return cv2.addWeighted(image, 1 + much, soft, -much, 0)


def hybrid(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The coarse part of `image` with the fine part of `other`, both uint8 `[size, size, 3]` (Oliva et al. 2006)."""
    sigma = float(rng.uniform(0.8, 1.6))
    coarse, theirs = (
        cv2.GaussianBlur(one.astype(np.float32), (0, 0), sigma) for one in (image, other)
    )
    fine = np.float32(rng.uniform(0.4, 0.9)) * (other - theirs)
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def compressed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` `[size, size, 3]` as it comes back from a JPEG or a WebP file, whose edges are never quite clean."""
    if rng.random() < 0.5:
        kind, setting, quality = ".jpg", cv2.IMWRITE_JPEG_QUALITY, rng.integers(40, 96)
    else:
        kind, setting, quality = ".webp", cv2.IMWRITE_WEBP_QUALITY, rng.integers(50, 96)
    _, encoded = cv2.imencode(kind, image[..., ::-1], [setting, int(quality)])
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])


def covered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` `[size, size, 3]` with a rectangle of it hidden, up to a quarter of the pixels."""
    size = image.shape[0]
    height, width = (rng.uniform(0.15, 0.5, 2) * size).astype(int)
    top, left = int(rng.integers(size - height)), int(rng.integers(size - width))
    image = image.copy()
    image[top : top + height, left : left + width] = rng.uniform(0, 255, 3)
    return image
