"""A contact sheet: neurons down, real images and facets across, each picture with what it reaches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from synesthete.atlas import Atlas, Visualization
from synesthete.atlas.files import write_file
from synesthete.atlas.visualizations import PLAIN
from synesthete.errors import SynestheteError

PAPER, INK, FAINT, ACCENT = (255, 255, 255), (28, 28, 30), (120, 120, 126), (178, 60, 30)
LABEL, GAP, CAPTION, HEAD, MARGIN = 176, 6, 15, 40, 18
REAL = 3
FORMATS = {".webp": "WEBP", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def contact_sheet(
    atlas: Atlas, pictures: Sequence[Visualization], *, tile: int = 84
) -> Image.Image:
    """Pictures of units as one image: a row per unit, its strongest real images, and a column per facet.

    Parameters
    ----------
    pictures
        As `visualize` gives them; units in the order of their rows.
    tile
        Side of a picture, in pixels.

    Raises
    ------
    SynestheteError
        No pictures, or one whose file is damaged.
    """
    targets = list(dict.fromkeys(one.target for one in pictures))
    facets = list(dict.fromkeys(one.facet for one in pictures))
    facets.sort(key=lambda name: name != PLAIN)
    if not pictures:
        raise SynestheteError("there are no pictures for a sheet")
    by_place = {(one.target, one.facet): one for one in reversed(pictures)}
    row_px, column_px = tile + CAPTION + GAP, tile + GAP
    left = MARGIN + LABEL
    start = left + REAL * column_px + 2 * GAP
    width = start + len(facets) * column_px + MARGIN
    sheet = Image.new("RGB", (width, HEAD + len(targets) * row_px + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((left, HEAD - 20), "strongest real, by modality", fill=FAINT, font=_font(11))
    for place, facet in enumerate(facets):
        pen.text((start + place * column_px, HEAD - 20), facet, fill=INK, font=_font(12))
    for row, name in enumerate(targets):
        top = HEAD + row * row_px
        mine = [one for one in pictures if one.target == name]
        _label(pen, atlas, mine[0], top)
        for place, image in enumerate(_strongest(atlas, mine[0])):
            sheet.paste(
                image.resize((tile, tile), Image.Resampling.LANCZOS),
                (left + place * column_px, top),
            )
        for place, facet in enumerate(facets):
            found = by_place.get((name, facet))
            if found is None:
                continue
            x = start + place * column_px
            picture = Image.open(io.BytesIO(atlas.visualization(found))).convert("RGB")
            sheet.paste(picture.resize((tile, tile), Image.Resampling.LANCZOS), (x, top))
            told = (
                _percentile(found.percentile)
                if found.excites
                else f"× {_percentile(found.percentile)}"
            )
            pen.text(
                (x, top + tile + 1), told, fill=FAINT if found.excites else ACCENT, font=_font(10)
            )
    return sheet


def write_sheet(sheet: Image.Image, path: Path, *, quality: int = 82) -> None:
    """Write a sheet as .webp, .png or .jpg.

    Raises
    ------
    SynestheteError
        Another ending, or a place that cannot be written.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise SynestheteError(f"{path} must end in {', '.join(FORMATS)}")
    stream = io.BytesIO()
    sheet.save(stream, kind, quality=quality)
    write_file(path, stream.getvalue())


def _label(pen: ImageDraw.ImageDraw, atlas: Atlas, one: Visualization, top: int) -> None:
    called, told = one.target, one.target
    if one.unit >= 0 and atlas.analysed:
        neuron = atlas.neuron(one.target)
        called = neuron.name or (f"{neuron.concept}?" if neuron.concept else "unknown")
    for line, (text, size, colour) in enumerate(((called, 14, INK), (told, 10, FAINT))):
        while text and pen.textlength(text, font=_font(size)) > LABEL - 10:
            text = text[:-2] + "…"
        pen.text((MARGIN, top + 22 + 20 * line), text, fill=colour, font=_font(size))


def _strongest(atlas: Atlas, one: Visualization) -> list[Image.Image]:
    if one.unit < 0:
        return []
    kept = atlas.exemplars(one.layer)
    shown = []
    for modality in list(kept.groups)[-REAL:]:
        shown += kept.top(
            one.unit, modality, limit=REAL if len(kept.groups) < REAL else 1
        ).ids.tolist()
    return [atlas.thumbnail(int(image)) for image in shown[:REAL]]


def _percentile(value: float) -> str:
    """A percentile, cut off rather than rounded up.

    Examples
    --------
    >>> _percentile(99.9999), _percentile(100.0), _percentile(54.26)
    ('99.99', '100', '54.2')
    """
    if value == 100:
        return "100"
    digits = 100 if value >= 99 else 10
    return f"{int(value * digits + 1e-9) / digits:g}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from synesthete.visualization.drawing import font_bytes

    return ImageFont.truetype(io.BytesIO(font_bytes("Inter-Regular")), size)
