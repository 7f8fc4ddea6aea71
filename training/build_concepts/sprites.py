"""Pack tiles into WebP mosaics and say where each tile lies."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from .render import TILE

COLUMNS, ROWS = 16, 16
PER_SPRITE = COLUMNS * ROWS

# Symbols are black on white: lossless is small there and keeps edges clean.
ENCODING: dict[str, dict[str, int | bool]] = {
    "photo": {"quality": 84, "method": 6},
    "drawing": {"quality": 80, "method": 6},
    "symbol": {"lossless": True, "quality": 75, "method": 4},
}


@dataclass(frozen=True)
class Place:
    """Where a tile lies: sprite file and index in reading order."""

    sprite: str
    tile: int


def pack(tiles: Sequence[Image.Image], modality: str) -> tuple[list[Place], dict[str, bytes]]:
    """Return the place of every tile and the encoded sprites by file name.

    Parameters
    ----------
    tiles
        RGB images of `TILE` × `TILE` pixels, in the order they should lie.
    modality
        Decides the encoding and the file names.
    """
    places: list[Place] = []
    sprites: dict[str, bytes] = {}
    for start in range(0, len(tiles), PER_SPRITE):
        part = tiles[start : start + PER_SPRITE]
        name = f"{modality}-{start // PER_SPRITE:02d}.webp"
        height = -(-len(part) // COLUMNS)
        mosaic = Image.new("RGB", (COLUMNS * TILE, height * TILE), (255, 255, 255))
        for index, tile in enumerate(part):
            mosaic.paste(tile, (index % COLUMNS * TILE, index // COLUMNS * TILE))
            places.append(Place(name, index))
        encoded = io.BytesIO()
        mosaic.save(encoded, "WEBP", **ENCODING[modality])
        sprites[name] = encoded.getvalue()
    return places, sprites
