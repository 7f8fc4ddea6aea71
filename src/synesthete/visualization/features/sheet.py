"""A contact sheet: neurons down, real images and facets across, each visualization with its percentile."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from synesthete.atlas import Atlas, Visualization
from synesthete.atlas.files import write_file
from synesthete.atlas.visualizations import PLAIN, percentile
from synesthete.errors import SynestheteError
from synesthete.visualization import font_bytes

WHITE, INK, FAINT, ACCENT = (255, 255, 255), (28, 28, 30), (120, 120, 126), (178, 60, 30)
LABEL, GAP, CAPTION, HEAD, MARGIN, FOOT = 176, 6, 15, 34, 18, 26
BAND = 10  # rows between headings
REAL = 3
LEGEND = (
    "Below each visualization: the share of real images that it surpasses, in per cent. Framed, with a cross: "
    "not beyond all but one in a thousand, so it does not excite its neuron."
)
FORMATS = {".webp": "WEBP", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def contact_sheet(
    atlas: Atlas, visualizations: Sequence[Visualization], *, tile: int = 84
) -> Image.Image:
    """Visualizations of units as one image: a row per unit, its strongest real images, and a column per facet.

    Headings are repeated every ten rows.

    Parameters
    ----------
    visualizations
        As `visualize` returns them; units in the order of their rows.
    tile
        Side of an image, in pixels.

    Raises
    ------
    SynestheteError
        No visualizations, or one whose file is damaged.
    """
    targets = list(dict.fromkeys(item.target for item in visualizations))
    facets = list(dict.fromkeys(item.facet for item in visualizations))
    facets.sort(key=lambda name: name != PLAIN)
    if not visualizations:
        raise SynestheteError("there are no visualizations for a sheet")
    by_place = {(item.target, item.facet): item for item in reversed(visualizations)}
    row_px, column_px = tile + CAPTION + GAP, tile + GAP
    left = MARGIN + LABEL
    start = left + REAL * column_px + 2 * GAP
    bands = -(-len(targets) // BAND)
    size = (
        start + len(facets) * column_px + MARGIN,
        bands * HEAD + len(targets) * row_px + FOOT + MARGIN,
    )
    sheet = Image.new("RGB", size, WHITE)
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(targets):
        top = (row // BAND + 1) * HEAD + row * row_px
        mine = next(item for item in visualizations if item.target == name)
        real = _strongest(atlas, mine)
        if row % BAND == 0:
            of = [f"real {modality}" for _, modality in real]
            _headings(pen, of, FAINT, (left, top - 6), tile)
            _headings(pen, facets, INK, (start, top - 6), tile)
        _label(pen, atlas, mine, top)
        for place, (thumbnail, _) in enumerate(real):
            sheet.paste(
                thumbnail.resize((tile, tile), Image.Resampling.LANCZOS),
                (left + place * column_px, top),
            )
        for place, facet in enumerate(facets):
            found = by_place.get((name, facet))
            if found is not None:
                image = Image.open(io.BytesIO(atlas.visualization(found))).convert("RGB")
                corner = (start + place * column_px, top)
                sheet.paste(image.resize((tile, tile), Image.Resampling.LANCZOS), corner)
                _reached(pen, found, corner, tile)
    pen.text((MARGIN, size[1] - MARGIN - FOOT + 10), LEGEND, fill=FAINT, font=_font(11))
    return sheet


def write_sheet(
    sheet: Image.Image, path: Path, *, quality: int = 82, limit: int = 1_000_000
) -> None:
    """Write a sheet as .webp, .png or .jpg.

    Parameters
    ----------
    quality
        Of a .webp or .jpg, when that keeps it within the limit.
    limit
        Bytes; a .webp or .jpg above it is written with less quality, down to half.

    Raises
    ------
    SynestheteError
        Another ending, or a place that cannot be written.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise SynestheteError(f"{path} must end in {', '.join(FORMATS)}")
    data = b""
    for tried in range(quality, quality // 2, -8):
        stream = io.BytesIO()
        sheet.save(stream, kind, quality=tried)
        data = stream.getvalue()
        if len(data) <= limit or kind == "PNG":
            break
    write_file(path, data)


def _headings(
    pen: ImageDraw.ImageDraw,
    names: Sequence[str],
    ink: tuple[int, int, int],
    corner: tuple[int, int],
    tile: int,
) -> None:
    """Names of the columns, centred above a band of rows."""
    x, y = corner
    for place, name in enumerate(names):
        middle = x + place * (tile + GAP) + tile // 2
        pen.text((middle, y), name, fill=ink, font=_font(12), anchor="ms")


def _reached(
    pen: ImageDraw.ImageDraw, item: Visualization, corner: tuple[int, int], tile: int
) -> None:
    """The percentile below a visualization; one that does not excite is marked."""
    x, y = corner
    label = percentile(item.percentile)
    if not item.excites:
        label = f"× {label}"
        pen.rectangle((x - 1, y - 1, x + tile, y + tile), outline=ACCENT, width=2)
    ink = FAINT if item.excites else ACCENT
    pen.text((x + tile // 2, y + tile + 12), label, fill=ink, font=_font(10), anchor="ms")


def _label(pen: ImageDraw.ImageDraw, atlas: Atlas, item: Visualization, top: int) -> None:
    title = item.target
    if item.unit >= 0 and atlas.analysed:
        neuron = atlas.neuron(item.target)
        title = (
            neuron.heading if neuron.name else f"{neuron.heading}?" if neuron.heading else "unknown"
        )
    for line, (text, size, colour) in enumerate(((title, 14, INK), (item.target, 10, FAINT))):
        while text and pen.textlength(text, font=_font(size)) > LABEL - 10:
            text = text[:-2] + "…"
        pen.text((MARGIN, top + 22 + 20 * line), text, fill=colour, font=_font(size))


def _strongest(atlas: Atlas, item: Visualization) -> list[tuple[Image.Image, str]]:
    """Real images that excite a unit most, and of which modality each is."""
    if item.unit < 0:
        return []
    kept = atlas.exemplars(item.layer)
    shown: list[tuple[int, str]] = []
    for modality in list(kept.groups)[-REAL:]:
        limit = REAL if len(kept.groups) < REAL else 1
        ids = kept.top(item.unit, modality, limit=limit).ids.tolist()
        shown += [(int(image), modality) for image in ids]
    return [(atlas.thumbnail(image), modality) for image, modality in shown[:REAL]]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(io.BytesIO(font_bytes("Inter-Regular")), size)
