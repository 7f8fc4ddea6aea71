"""Thumbnails: where each image lies on the sprites, and cutting it out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synesthete.atlas.arrays import column_numbers
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from PIL import Image

THUMBNAIL_SIZE = 96
SPRITE_COLUMNS = 8
SPRITE_TILES = 64
INDEX = "thumbnails/index.parquet"


@dataclass(frozen=True)
class ThumbnailPosition:
    """Where a thumbnail lies.

    Attributes
    ----------
    sprite
        File name of the sprite inside the atlas.
    left, top, size
        Upper left corner and side of the square, in pixels.
    """

    sprite: str
    left: int
    top: int
    size: int = THUMBNAIL_SIZE


def sprite_path(digest: str) -> str:
    """File name of the sprite whose content has this SHA-256."""
    return f"thumbnails/{digest[:32]}.webp"


class ThumbnailIndex:
    """Finds the sprite and tile of an image id.

    Parameters
    ----------
    table
        `thumbnails/index.parquet`: columns id (sorted), sprite, tile.
    """

    def __init__(self, table: pa.Table) -> None:
        self._ids: NDArray[np.int64] = column_numbers(table["id"])
        self._tiles: NDArray[np.int64] = column_numbers(table["tile"])
        self._sprites = table["sprite"]

    def __contains__(self, image: int) -> bool:
        row = int(np.searchsorted(self._ids, image))
        return row < len(self._ids) and bool(self._ids[row] == image)

    def position(self, image: int) -> ThumbnailPosition:
        """Where the thumbnail of an image lies.

        Raises
        ------
        SynestheteError
            When the image has no thumbnail.
        """
        if image not in self:
            raise SynestheteError(f"image {image} has no thumbnail in this atlas")
        row = int(np.searchsorted(self._ids, image))
        return tile_position(self._sprites[row].as_py(), int(self._tiles[row]))


def tile_position(sprite: str, tile: int) -> ThumbnailPosition:
    """Where a tile of a sprite lies.

    Examples
    --------
    >>> tile_position("thumbnails/a.webp", 9)
    ThumbnailPosition(sprite='thumbnails/a.webp', left=96, top=96, size=96)
    """
    row, column = divmod(tile, SPRITE_COLUMNS)
    return ThumbnailPosition(sprite, column * THUMBNAIL_SIZE, row * THUMBNAIL_SIZE)


def cut(sprite: bytes, position: ThumbnailPosition) -> Image.Image:
    """Cut a thumbnail out of the bytes of its sprite.

    Returns
    -------
    RGB image of 96 × 96 pixels.
    """
    image = whole(sprite, position.sprite)
    right, bottom = position.left + position.size, position.top + position.size
    if image.width < right or image.height < bottom:
        message = "it is smaller than the tile asked for"
        raise SynestheteError(f"{position.sprite} cannot be read: {message}")
    return image.crop((position.left, position.top, right, bottom))


def whole(sprite: bytes, name: str) -> Image.Image:
    """Decode a sprite, RGB.

    Raises
    ------
    SynestheteError
        When it is damaged, or larger than a sprite can be.
    """
    from PIL import Image

    most = (SPRITE_COLUMNS * THUMBNAIL_SIZE, -(-SPRITE_TILES // SPRITE_COLUMNS) * THUMBNAIL_SIZE)
    try:
        with Image.open(io.BytesIO(sprite), formats=["WEBP"]) as image:
            if image.width > most[0] or image.height > most[1]:
                raise ValueError(f"it is larger than {most[0]} × {most[1]} pixels")
            return image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise SynestheteError(f"{name} cannot be read: {error}") from error


_QUALITY = 82
# Half the time of the usual 4 for 2 % more bytes.
_METHOD = 2


def thumbnail_of(image: Image.Image) -> Image.Image:
    """What the model sees of an image, RGB, 96 × 96 pixels."""
    from PIL import Image

    side = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    return image.convert("RGB").resize(side, Image.Resampling.LANCZOS)


def text_tile(content: str) -> Image.Image:
    """The beginning of a text, drawn, RGB, 96 × 96 pixels: what stands for it where images are shown small."""
    from PIL import Image, ImageDraw, ImageFont

    tile = Image.new("RGB", (THUMBNAIL_SIZE, THUMBNAIL_SIZE), "white")
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(11)
    room, step = THUMBNAIL_SIZE - 8, 13
    lines: list[str] = []
    for word in content[:300].split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= room:
            lines[-1] = joined
        else:
            lines.append(word)
    for number, line in enumerate(lines[: (THUMBNAIL_SIZE - 6) // step]):
        draw.text((4, 4 + step * number), line, (40, 40, 40), font=font)
    return tile


def sprite_of(tiles: Mapping[int, Image.Image]) -> bytes:
    """A sheet of thumbnails.

    Parameters
    ----------
    tiles
        Place on the sheet (0 to 63, row by row) → thumbnail; places left out stay white.

    Returns
    -------
    WebP, 8 thumbnails wide, as many rows as needed.
    """
    from PIL import Image

    rows = max(tiles) // SPRITE_COLUMNS + 1
    size = (SPRITE_COLUMNS * THUMBNAIL_SIZE, rows * THUMBNAIL_SIZE)
    sheet = Image.new("RGB", size, "white")
    for tile, image in tiles.items():
        position = tile_position("", tile)
        sheet.paste(image, (position.left, position.top))
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=_QUALITY, method=_METHOD)
    return stream.getvalue()
