"""Turn an original image into a 128-pixel tile on white."""

from __future__ import annotations

import io
import re

import resvg_py
from PIL import Image, ImageOps

from .sources import Original

TILE = 128
MARGIN = 4
WHITE = (255, 255, 255)


def render(original: Original, fit: str = "", *, photo: bool) -> Image.Image:
    """Return an original as an RGB tile of 128 × 128 pixels.

    Parameters
    ----------
    original
        SVG text or the bytes of an encoded image.
    fit
        For photographs: empty for the centred square, `pad` for the whole image on white, or the
        box to keep as `left,top,right,bottom` in per cent of width and height.
    photo
        Photographs fill the tile; drawings and symbols keep a small margin.
    """
    if original.svg is not None:
        return _on_white(_rasterised(original.svg))
    assert original.data is not None
    with Image.open(io.BytesIO(original.data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    if not photo:
        return _on_white(_within(image, TILE - 2 * MARGIN))
    if fit == "pad":
        return _on_white(_within(image, TILE))
    image = image.crop(_box(image, fit))
    return _on_white(_within(image, TILE))


def _rasterised(svg: str) -> Image.Image:
    """Draw an SVG so that its longer side fits between the margins."""
    side = TILE - 2 * MARGIN
    # A first pass at natural size tells the aspect, which width= and height= would distort.
    wide, high = _natural_size(svg)
    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        dpi=96,
        skip_system_fonts=True,
        width=side if wide >= high else None,
        height=None if wide >= high else side,
    )
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _natural_size(svg: str) -> tuple[float, float]:
    """Width and height of the drawing; of its view box where it names none.

    >>> _natural_size('<?xml version="1.0"?><svg width="48px" height="24"/>'), _natural_size('<svg viewBox="0 0 9 3">')
    ((48.0, 24.0), (9.0, 3.0))
    """
    head = svg[svg.index("<svg") :]
    head = head[: head.index(">")]
    sides = [re.search(rf'\s{name}="([\d.]+)', head) for name in ("width", "height")]
    if sides[0] and sides[1]:
        return float(sides[0][1]), float(sides[1][1])
    box = re.search(r'\sviewBox="([^"]+)"', head)
    assert box is not None, f"an SVG without a size: {head[:80]}"
    return float(box[1].split()[2]), float(box[1].split()[3])


def _box(image: Image.Image, fit: str) -> tuple[float, float, float, float]:
    wide, high = image.size
    if fit:
        left, top, right, bottom = (float(part) / 100 for part in fit.split(","))
        return left * wide, top * high, right * wide, bottom * high
    side = min(wide, high)
    left, top = (wide - side) / 2, (high - side) / 2
    return left, top, left + side, top + side


def _within(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _on_white(image: Image.Image) -> Image.Image:
    tile = Image.new("RGBA", (TILE, TILE), (*WHITE, 255))
    corner = ((TILE - image.width) // 2, (TILE - image.height) // 2)
    tile.alpha_composite(image.convert("RGBA"), corner)
    return tile.convert("RGB")
