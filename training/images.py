"""A rendered image as training shows it: photographed again, or drawn by another hand and set before something."""

from __future__ import annotations

import cv2
import numpy as np

from training.restyling import (
    PEN,
    bend,
    coarser,
    compressed,
    covered,
    hybrid,
    one_ink,
    outlined,
    recoloured,
    sharper,
)
from training.tiles import premultiplied_on_white
from training.warping import ink_and_ground, jitter, scale_of, warp

COARSE, SHARP, HYBRID = 0.25, 0.25, 0.1
"""How many images are made coarser, how many sharper, and how many get the fine part of another one."""
COMPRESSED = 0.5
"""How many images come from a file that was compressed with losses, as most that anybody has do."""


def image(
    tile: np.ndarray,
    modality: str,
    size: int,
    rng: np.random.Generator,
    *,
    mirrored: bool = False,
    behind: np.ndarray | None = None,
    beside: np.ndarray | None = None,
) -> np.ndarray:
    """A premultiplied tile as the camera might meet it, or as another hand had drawn it, uint8 `[size, size, 3]`.

    `mirrored` says that it may be; `behind` is an opaque tile that a drawing may stand before, `beside` a tile whose fine
    part the image may get.
    """
    opaque = bool(tile[..., 3].min() == 255)
    if opaque and modality == "photo":
        out = _photograph(tile, size, rng)
    else:
        out = _drawn(tile, modality, size, rng, mirrored=mirrored, behind=behind)
    focus = rng.random()
    if focus < COARSE:
        out = coarser(out, rng)
    elif focus < COARSE + SHARP:
        out = sharper(out, rng)
    elif focus < COARSE + SHARP + HYBRID and beside is not None:
        out = hybrid(out, cv2.resize(premultiplied_on_white(beside), (size, size)), rng)
    if rng.random() < 0.2:
        out = covered(out, rng)
    if rng.random() < COMPRESSED:
        out = compressed(out, rng)
    return out


def _photograph(tile: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    out = warp(
        tile[..., :3],
        size,
        rng,
        1 + 0.7 * rng.random() ** 2,
        flip=True,
        border=cv2.BORDER_REFLECT_101,
        reach=0.15,
        turn=0.2,
        pull=0.12,
    )
    return jitter(recoloured(out.astype(np.float32), rng), rng, 0.3).astype(np.uint8)


def _drawn(
    tile: np.ndarray,
    modality: str,
    size: int,
    rng: np.random.Generator,
    *,
    mirrored: bool,
    behind: np.ndarray | None,
) -> np.ndarray:
    if modality == "drawing" and rng.random() < 0.1:
        tile, modality = one_ink(tile, rng), "symbol"
    elif modality == "symbol" and (draw := rng.random()) < 0.4:
        tile = (cv2.dilate if draw < 0.25 else cv2.erode)(tile, PEN)
    elif rng.random() < 0.15:
        tile = outlined(tile, rng)
    if rng.random() < 0.6:
        tile = bend(tile, rng)
    scale = scale_of(size, rng)
    flip = mirrored or modality == "photo"
    layer = warp(tile, size, rng, scale, flip=flip, reach=0.1, turn=0.22, pull=0.16)
    cover = layer[..., 3:].astype(np.float32) / 255
    if modality == "symbol":
        ink, ground = ink_and_ground(rng)
        return (ink * cover + ground * (1 - cover)).astype(np.uint8)
    shown = layer[..., :3].astype(np.float32)
    if rng.random() < 0.6:
        shown = recoloured(shown, rng) * (cover > 0)
    where = rng.random()
    if where < 0.5:
        ground = np.full(3, 255, np.float32)
    elif where < 0.85 or behind is None:
        ground = rng.uniform(0, 255, 3).astype(np.float32)
    else:
        ground = _photograph(behind, size, rng).astype(np.float32)
    return jitter(shown + ground * (1 - cover), rng, 0.12).astype(np.uint8)
