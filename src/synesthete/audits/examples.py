"""Pictures inside reports: small, as addresses that need no file."""

from __future__ import annotations

import base64
import io

from PIL import Image

SIDE = 160


def data_uri(image: Image.Image) -> str:
    """A small picture as a `data:` address, WebP."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=85, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
