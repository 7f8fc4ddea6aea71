"""Pictures that pages show: thumbnails cut from sprites, and a neuron's strongest images side by side."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synesthete.server.bounded import Bounded

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.atlas import Atlas

SPRITES, TILES, MOSAICS = 24, 12_000, 4_000
QUALITY = 84
GROUND = (128, 128, 128, 0)


@dataclass(frozen=True)
class Picture:
    """WebP bytes, and what names their content."""

    data: bytes
    etag: str


class Pictures:
    """Pictures of one atlas; keeps those used last, within bounds.

    Parameters
    ----------
    atlas
        Where the sprites are.
    """

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._sprites = Bounded["Image.Image"](SPRITES)
        self._tiles = Bounded[Picture](TILES)
        self._mosaics = Bounded[Picture](MOSAICS)
        # Decoding is what costs: one thread at a time, so that two never decode the same sprite.
        self._decoding = threading.Lock()

    def tile(self, image: int) -> Picture:
        """The thumbnail of an image.

        Raises
        ------
        SynestheteError
            When it has none, or its sprite is damaged.
        """
        return self._tiles.get(image, lambda: _encoded(self._cut(image)))

    def mosaic(self, images: Sequence[int | None]) -> Picture:
        """Thumbnails in two columns, row by row; None leaves a place clear."""
        return self._mosaics.get(tuple(images), lambda: self._composed(images))

    def _composed(self, images: Sequence[int | None]) -> Picture:
        from PIL import Image

        from synesthete.atlas.thumbnails import THUMBNAIL_SIZE as SIDE

        rows = max(1, -(-len(images) // 2))
        sheet = Image.new("RGBA", (2 * SIDE, rows * SIDE), GROUND)
        for place, image in enumerate(images):
            if image is not None:
                row, column = divmod(place, 2)
                sheet.paste(self._cut(image), (column * SIDE, row * SIDE))
        return _encoded(sheet)

    def _cut(self, image: int) -> Image.Image:
        from synesthete.atlas.thumbnails import whole

        position = self._atlas.thumbnail_position(image)
        with self._decoding:
            sprite = self._sprites.get(
                position.sprite,
                lambda: whole(self._atlas.sprite(position.sprite), position.sprite),
            )
        left, top, size = position.left, position.top, position.size
        return sprite.crop((left, top, left + size, top + size))


def _encoded(image: Image.Image) -> Picture:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=QUALITY, method=2)
    data = stream.getvalue()
    return Picture(data, f'"{hashlib.sha256(data).hexdigest()[:24]}"')
