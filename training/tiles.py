"""RGBA tiles, the form in which every image is kept until it is drawn."""

from __future__ import annotations

import numpy as np


def on_white(tiles: np.ndarray) -> np.ndarray:
    """RGBA tiles on white: uint8 `[..., side, side, 4]` to `[..., side, side, 3]`."""
    alpha = tiles[..., 3:].astype(np.uint16)
    return ((tiles[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def premultiplied_on_white(tiles: np.ndarray) -> np.ndarray:
    """The same of tiles whose colours are multiplied by their alpha already."""
    return tiles[..., :3] + (255 - tiles[..., 3:])
