"""Written words as images: a name set in a font, as large as it fits, over as many lines as help."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from synesthete._core.json_reader import read_json
from synesthete._core.user_files import UnusableFile, open_named
from synesthete.errors import SynestheteError, near

CASES = ("lower", "title", "upper")
FONT_FOLDER = Path(__file__).parent / "data" / "fonts"
MARGIN = 0.06
LINE_SPACING = 1.08
MAX_LETTERS = 120
_SMALLEST = 0.09

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Font:
    """A font file with its origin.

    `family` is the artist of the words set in it; `held_out` says that the shipped model has never
    seen it.
    """

    path: Path
    family: str
    style: str = ""
    source: str = ""
    licence: str = ""
    author: str = ""
    held_out: bool = False

    @property
    def name(self) -> str:
        """The file's name without its ending, as image keys have it."""
        return self.path.stem


def load_fonts(folder: Path = FONT_FOLDER) -> list[Font]:
    """The fonts that `fonts.json` lists in a folder, in its order.

    Raises
    ------
    SynestheteError
        The list or one of its fonts is missing or damaged.
    """
    try:
        listed = read_json(folder / "fonts.json", root=folder)
        fonts = [
            Font(
                path=folder / str(entry["file"]),
                family=str(entry["family"]),
                style=str(entry.get("style", "")),
                source=str(entry.get("source", "")),
                licence=str(entry.get("licence", "")),
                author=str(entry.get("author", "")),
                held_out=bool(entry.get("held_out", False)),
            )
            for entry in listed
        ]
    except (SynestheteError, KeyError, TypeError, AttributeError) as error:
        raise SynestheteError(
            f"no usable list of fonts in '{folder}' ({error})", hint="install the package again"
        ) from None
    for font in fonts:
        try:
            open_named(font.path).close()
        except UnusableFile as error:
            raise SynestheteError(
                f"no such font: {error}", hint="install the package again"
            ) from None
    return fonts


def set_case(text: str, case: str) -> str:
    """The text in `lower`, `title` or `upper` case.

    Examples
    --------
    >>> [set_case("Jack-o'-lantern", case) for case in CASES]
    ["jack-o'-lantern", "Jack-O'-Lantern", "JACK-O'-LANTERN"]
    >>> set_case("driver's licence", "title")
    "Driver's Licence"
    """
    if case == "lower":
        return text.lower()
    if case == "upper":
        return text.upper()
    if case == "title":
        # Unlike str.title, the letter after an apostrophe stays small.
        return re.sub(r"[^\s-]+", lambda m: m[0][:1].upper() + m[0][1:].lower(), text)
    raise SynestheteError(f"no such case '{case}'", hint=near(case, CASES) or ", ".join(CASES))


def render_word(
    text: str,
    font: Font | Path | str,
    *,
    size_px: int = 128,
    case: str = "lower",
    ink: Colour = (0, 0, 0),
    ground: Colour = (255, 255, 255),
) -> Image.Image:
    """Draw a word or short name in the middle of a square, as large as it fits.

    Of all ways to break the text at spaces and hyphens, the one that allows the largest letters is
    taken, and the one of fewest lines among equals; a word too long for readable letters is broken
    inside, with a hyphen.

    Parameters
    ----------
    text
        One to `MAX_LETTERS` characters.
    font
        A font of `load_fonts`, or any TrueType or OpenType file.
    size_px
        Side of the square, in pixels.
    case
        `lower`, `title` or `upper`.
    ink, ground
        Colours of letters and background, 0–255 each for red, green and blue.

    Returns
    -------
    Image.Image
        RGB, `size_px` × `size_px`. The same pixels for the same arguments.

    Raises
    ------
    SynestheteError
        Nothing to draw, too much, no such case, or a font that cannot be read.
    """
    words = set_case(text, case).split()
    if not words:
        raise SynestheteError("no text to draw")
    if len(text) > MAX_LETTERS:
        raise SynestheteError(f"a text of {len(text)} letters; at most {MAX_LETTERS} can be drawn")
    path = str(font.path if isinstance(font, Font) else font)
    room = round(size_px * (1 - 2 * MARGIN))
    lines, letter_px, _ = _largest(words, path, room, size_px)
    letters = _draw_lines(lines, _face(path, letter_px), letter_px, size_px)
    image = Image.new("RGB", (size_px, size_px), ground)
    place = ((size_px - letters.width) // 2, (size_px - letters.height) // 2)
    image.paste(ink, (*place, place[0] + letters.width, place[1] + letters.height), letters)
    return image


def render_line(
    text: str,
    font: Font | Path | str,
    *,
    letter_px: int = 96,
    case: str = "lower",
    ink: Colour = (0, 0, 0),
    ground: Colour = (255, 255, 255),
    margin: float = 0.25,
) -> tuple[Image.Image, Image.Image]:
    """Write a text on one line, as on a strip of paper.

    Parameters
    ----------
    letter_px
        Size of the letters, in pixels.
    margin
        Paper around the ink, by the size of the letters.

    Returns
    -------
    tuple
        The strip, RGB, and where its ink lies: a mask of the same size, 0 to 255.

    Raises
    ------
    SynestheteError
        As `render_word`.
    """
    line = " ".join(set_case(text, case).split())
    if not line:
        raise SynestheteError("no text to draw")
    if len(text) > MAX_LETTERS:
        raise SynestheteError(f"a text of {len(text)} letters; at most {MAX_LETTERS} can be drawn")
    face = _face(str(font.path if isinstance(font, Font) else font), letter_px)
    left, top, right, bottom = (round(edge) for edge in face.getbbox(line, anchor="ls"))
    room = round(margin * letter_px)
    mask = Image.new("L", (max(1, right - left) + 2 * room, max(1, bottom - top) + 2 * room))
    ImageDraw.Draw(mask).text((room - left, room - top), line, fill=255, font=face, anchor="ls")
    strip = Image.new("RGB", mask.size, ground)
    strip.paste(ink, (0, 0), mask)
    return strip, mask


def _draw_lines(
    lines: Sequence[str], face: ImageFont.FreeTypeFont, letter_px: int, size_px: int
) -> Image.Image:
    """The centred lines as a mask, cut to its ink.

    Ink is centred later on, not the font's own boxes, which differ from font to font.
    """
    height = round(len(lines) * letter_px * LINE_SPACING) + 2 * size_px
    mask = Image.new("L", (3 * size_px, height))
    draw = ImageDraw.Draw(mask)
    for number, line in enumerate(lines):
        left, _, right, _ = face.getbbox(line, anchor="ls")
        x = round(1.5 * size_px - (left + right) / 2)
        y = round(size_px + number * letter_px * LINE_SPACING)
        draw.text((x, y), line, fill=255, font=face, anchor="ls")
    return mask.crop(mask.getbbox() or (0, 0, 1, 1))


def has_letters(text: str, font: Font | Path | str) -> bool:
    """Whether the font has a shape of its own for every letter of the text."""
    path = str(font.path if isinstance(font, Font) else font)
    return all(_has_letter(path, letter) for letter in set(text) if not letter.isspace())


@lru_cache(maxsize=1 << 16)
def _has_letter(path: str, letter: str) -> bool:
    """Whether the letter looks otherwise than a code point that no font has."""
    face = _face(path, 32)
    drawn, missing = face.getmask(letter), face.getmask("\uffff")
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


def _largest(
    words: list[str], path: str, room: int, size_px: int
) -> tuple[list[str], int, tuple[float, float, float, float]]:
    """The lines, letter size in pixels and ink box of the largest setting that fits."""
    smallest = max(4, round(size_px * _SMALLEST))
    pieces = [piece for word in words for piece in _pieces(word)]
    for _ in range(8):
        best: tuple[int, list[str], tuple[float, float, float, float]] | None = None
        for lines in _settings(pieces, path):
            least = best[0] if best else 0
            found = _fit(lines, path, room, size_px, least)
            if found and found[0] > least:
                best = (found[0], lines, found[1])
        if best and best[0] >= smallest:
            return best[1], best[0], best[2]
        longest = max(range(len(pieces)), key=lambda i: (len(pieces[i][0]), -i))
        text, glue = pieces[longest]
        if len(text) < 8:
            break
        half = (len(text) + 1) // 2
        pieces[longest : longest + 1] = [(text[:half] + "-", ""), (text[half:], glue)]
    if best is None:
        raise SynestheteError(f"'{' '.join(words)}' does not fit into {size_px} pixels")
    return best[1], best[0], best[2]


def _pieces(word: str) -> list[tuple[str, str]]:
    """What a word may be broken into, each with what stands before the next on the same line."""
    parts: list[str] = []
    for part in re.findall(r"[^-]*-+(?=[^-])|.+", word):
        # A stub of one or two letters on a line of its own reads badly: t-shirt, x-ray.
        if parts and min(len(parts[-1].rstrip("-")), len(part.rstrip("-"))) < 3:
            parts[-1] += part
        else:
            parts.append(part)
    return [(part, "" if i < len(parts) - 1 else " ") for i, part in enumerate(parts)]


def _settings(pieces: Sequence[tuple[str, str]], path: str) -> list[list[str]]:
    """For each number of lines, the breaking whose longest line is shortest."""
    face = _face(path, 64)
    count = len(pieces)

    def line(start: int, end: int) -> str:
        return "".join(text + glue for text, glue in pieces[start:end]).strip()

    width = {
        (i, j): face.getlength(line(i, j)) for i in range(count) for j in range(i + 1, count + 1)
    }
    # best[end] = (longest line, sum of squares, breaks) of the first `end` pieces on the lines so
    # far; among equally long lines the squares prefer the even ones.
    best: dict[int, tuple[float, float, tuple[int, ...]]] = {0: (0.0, 0.0, (0,))}
    settings = []
    for _ in range(count):
        best = {
            end: min(
                (max(widest, width[start, end]), squares + width[start, end] ** 2, (*breaks, end))
                for start, (widest, squares, breaks) in best.items()
                if start < end
            )
            for end in range(min(best) + 1, count + 1)
        }
        if count in best:
            breaks = best[count][2]
            settings.append([line(a, b) for a, b in pairwise(breaks)])
    return settings


def _fit(
    lines: list[str], path: str, room: int, size_px: int, least: int
) -> tuple[int, tuple[float, float, float, float]] | None:
    """The largest letter size above `least` at which the lines' ink fits into the room."""
    box = _ink(lines, path, 64)
    scale = room / max(box[2] - box[0], box[3] - box[1], 1)
    # Hinting bends the proportion a little, so the size is searched for from just above.
    size = min(2 * size_px, int(64 * scale * 1.05) + 2)
    while size > least:
        box = _ink(lines, path, size)
        if max(box[2] - box[0], box[3] - box[1]) <= room:
            return size, box
        size -= 1
    return None


def _ink(lines: list[str], path: str, size: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of centred lines, from the first line's baseline and the middle."""
    face = _face(path, size)
    boxes = [face.getbbox(line, anchor="ls") for line in lines]
    half = max(box[2] - box[0] for box in boxes) / 2
    step = size * LINE_SPACING
    tops = [box[1] + i * step for i, box in enumerate(boxes)]
    bottoms = [box[3] + i * step for i, box in enumerate(boxes)]
    return -half, min(tops), half, max(bottoms)


@lru_cache(maxsize=256)
def _face(path: str, size: int) -> ImageFont.FreeTypeFont:
    try:
        # The basic layout is the same wherever Pillow runs; the other depends on a system library.
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise SynestheteError(f"cannot read the font '{path}' ({error})") from None
