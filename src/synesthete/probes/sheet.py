"""Contact sheets: a probe set laid out by concept and modality, to be looked through by eye."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage
from synesthete.probes.probe_set import ProbeSet

_PAPER = (255, 255, 255)
_INK = (30, 30, 30)
_FAINT = (110, 110, 110)
_RULE = (215, 215, 215)
_ALARM = (190, 30, 30)
_LABEL_PX = 150
_CAPTION_PX = 13
_HEAD_PX = 52
_GAP_PX = 5


def contact_sheets(
    probes: ProbeSet,
    *,
    tile_px: int = 72,
    per_cell: int | None = None,
    page_height_px: int = 1600,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Image.Image]:
    """Pages with a row per concept and a column per modality, under each image its id and artist.

    Parameters
    ----------
    probes
        The set; `probes.select(...)` for a part of it.
    tile_px
        Side of an image on the page, in pixels.
    per_cell
        Images of one concept and modality to show at most; how many are left out is written under
        the last. All by default.
    page_height_px
        A page ends before it gets higher than this, in pixels; a concept is never split.
    progress
        Called after each page with the number of concepts on it.

    Yields
    ------
    Image.Image
        One RGB page after another, one in memory at a time. In place of an image that cannot be
        read stands the reason.

    Raises
    ------
    SynestheteError
        The set has no concept, `tile_px` is under 16 or `per_cell` under 1.
    """
    if tile_px < 16 or (per_cell is not None and per_cell < 1):
        raise SynestheteError("a tile takes at least 16 pixels and a cell at least one image")
    if not probes.concepts:
        raise SynestheteError(f"no concepts in '{probes.name}' to lay out")
    layout = _Layout(probes, tile_px, per_cell)
    pages = layout.paginate(page_height_px)
    for number, concepts in enumerate(pages, start=1):
        yield layout.draw(concepts, f"page {number} of {len(pages)}")
        if progress is not None:
            progress(len(concepts))


def write_contact_sheets(
    probes: ProbeSet,
    out: Path,
    *,
    tile_px: int = 72,
    per_cell: int | None = None,
    page_height_px: int = 1600,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write `contact_sheets` as `NAME-001.png`, `NAME-002.png`, ... into a folder.

    Returns
    -------
    list of Path
        The pages in order.

    Raises
    ------
    SynestheteError
        The folder cannot be written; and as `contact_sheets`.
    """
    stem = re.sub(r"[^\w.-]+", "-", probes.name).strip("-.") or "probes"
    written = []
    sheets = contact_sheets(
        probes,
        tile_px=tile_px,
        per_cell=per_cell,
        page_height_px=page_height_px,
        progress=progress,
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, sheet in enumerate(sheets, start=1):
            path = out / f"{stem}-{number:03d}.png"
            sheet.save(path)
            written.append(path)
    except OSError as error:
        raise SynestheteError(f"cannot write into '{out}' ({error.strerror or error})") from None
    return written


@dataclass(frozen=True)
class _Column:
    modality: str
    left: int
    across: int


class _Layout:
    """Where everything of one probe set stands on its pages."""

    def __init__(self, probes: ProbeSet, tile_px: int, per_cell: int | None) -> None:
        self.probes = probes
        self.tile_px = tile_px
        self.per_cell = per_cell
        self.step = tile_px + _GAP_PX
        self.cells: dict[str, dict[str, list[int]]] = {
            concept: defaultdict(list) for concept in probes.concepts
        }
        self.families: dict[str, str] = {}
        names = ("artist", "key", "concept", "modality", "family")
        columns = [probes.labels[name].to_pylist() for name in names]
        self.artists: list[str] = columns[0]
        # By artist and key within a cell, so that the same style stands at the same place.
        for _, _, index, concept, modality, family in sorted(
            (artist, key, index, concept, modality, family)
            for index, (artist, key, concept, modality, family) in enumerate(
                zip(*columns, strict=True)
            )
            if concept
        ):
            self.cells[concept][modality].append(index)
            self.families[concept] = self.families.get(concept) or family
        self.columns = self._columns()
        self.width = max(480, self.columns[-1].left + self.columns[-1].across * self.step + _GAP_PX)

    def paginate(self, page_height_px: int) -> list[list[str]]:
        """The concepts of each page."""
        pages: list[list[str]] = [[]]
        used = _HEAD_PX
        for concept in self.probes.concepts:
            height = self._height(concept)
            if pages[-1] and used + height > page_height_px:
                pages.append([])
                used = _HEAD_PX
            pages[-1].append(concept)
            used += height
        return pages

    def draw(self, concepts: Sequence[str], page: str) -> Image.Image:
        """One page."""
        height = _HEAD_PX + sum(self._height(concept) for concept in concepts)
        sheet = Image.new("RGB", (self.width, height), _PAPER)
        draw = ImageDraw.Draw(sheet)
        count = f"{len(self.probes):,} images, {len(self.probes.concepts):,} concepts"
        draw.text((8, 6), f"{self.probes.name}: {count}, {page}", _INK, font=_font(15))
        for column in self.columns:
            draw.text((column.left, 30), column.modality, _INK, font=_font(15))
        top = _HEAD_PX
        for concept in concepts:
            draw.line((0, top, sheet.width, top), fill=_RULE)
            self._draw_label(draw, top + _GAP_PX, concept)
            for column in self.columns:
                self._draw_cell(sheet, column, top + _GAP_PX, concept)
            top += self._height(concept)
        return sheet

    def _shown(self, concept: str, modality: str) -> int:
        count = len(self.cells[concept].get(modality, ()))
        return count if self.per_cell is None else min(count, self.per_cell)

    def _columns(self) -> list[_Column]:
        """Wide enough that nine cells in ten take one line, or two where they are large."""
        columns = []
        left = _LABEL_PX
        for modality in self.probes.modalities:
            counts = sorted(self._shown(concept, modality) for concept in self.cells)
            usual = counts[int(0.9 * (len(counts) - 1))]
            across = max(1, min(10, usual if usual <= 6 else (usual + 1) // 2))
            columns.append(_Column(modality, left, across))
            left += across * self.step + 3 * _GAP_PX
        return columns

    def _height(self, concept: str) -> int:
        lines = max(-(-self._shown(concept, c.modality) // c.across) for c in self.columns)
        return max(1, lines) * (self.step + _CAPTION_PX) + 2 * _GAP_PX

    def _draw_label(self, draw: ImageDraw.ImageDraw, top: int, concept: str) -> None:
        room = _LABEL_PX - 16
        lines = _wrap(concept, _font(14), room)[:3]
        for number, line in enumerate(lines):
            draw.text((8, top + 17 * number), line, _INK, font=_font(14))
        family = _cut(self.families[concept], _font(11), room)
        draw.text((8, top + 17 * len(lines) + 2), family, _FAINT, font=_font(11))

    def _draw_cell(self, sheet: Image.Image, column: _Column, top: int, concept: str) -> None:
        draw = ImageDraw.Draw(sheet)
        indices = self.cells[concept].get(column.modality, [])
        shown = self._shown(concept, column.modality)
        for place, index in enumerate(indices[:shown]):
            line, across = divmod(place, column.across)
            x = column.left + across * self.step
            y = top + line * (self.step + _CAPTION_PX)
            self._draw_tile(sheet, draw, x, y, index)
            caption = f"{index} {self.artists[index]}"
            if place == shown - 1 and shown < len(indices):
                caption = f"and {len(indices) - shown} more"
            caption = _cut(caption, _font(10), self.tile_px)
            draw.text((x, y + self.tile_px + 1), caption, _FAINT, font=_font(10))

    def _draw_tile(
        self, sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, index: int
    ) -> None:
        side = self.tile_px
        try:
            image = self.probes.image(index)
        except UnreadableImage as error:
            draw.rectangle((x, y, x + side - 1, y + side - 1), outline=_ALARM)
            for number, part in enumerate(_wrap(error.message, _font(10), side - 4)[: side // 12]):
                draw.text((x + 2, y + 1 + 12 * number), part, _ALARM, font=_font(10))
            return
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        draw.rectangle((x - 1, y - 1, x + side, y + side), outline=_RULE)
        sheet.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise SynestheteError("Pillow was built without FreeType, which draws the labels")
    return font


def _cut(text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """The text, or as much of it as fits."""
    text = text[:200]
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"


def _wrap(text: str, font: ImageFont.FreeTypeFont, room: int) -> list[str]:
    """The text in lines, broken at spaces; a word that is too long is cut."""
    lines: list[str] = []
    for word in text[:400].split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, font, room))
    return lines or [""]
