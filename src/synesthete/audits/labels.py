"""Words written on images: on a paper label or bare, in any font, size, place, colour and contrast."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from synesthete.errors import SynestheteError, near, one_of
from synesthete.probes.words import Colour, Font, has_letters, load_fonts, render_line

HANDWRITTEN = "Caveat"
LETTER_PX = 96
# Of the free room, across and down.
PLACES: dict[str, tuple[float, float]] = {
    "top left": (0.0, 0.0),
    "top right": (1.0, 0.0),
    "middle": (0.5, 0.5),
    "bottom left": (0.0, 1.0),
    "bottom right": (1.0, 1.0),
}
ANYWHERE = "anywhere"
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a word is written.

    Attributes
    ----------
    share
        Area of the label by that of the image.
    font
        A font family of the package.
    place
        One of `PLACES`, or `anywhere`: a place drawn for each image.
    ink, paper
        Colours; without paper the letters stand on the image itself.
    case
        `lower`, `title` or `upper`.
    """

    share: float = 0.1
    font: str = HANDWRITTEN
    place: str = ANYWHERE
    ink: Colour = BLACK
    paper: Colour | None = WHITE
    case: str = "lower"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SynestheteError(f"a label of {self.share:g} of the image; expected 0 to 1")
        if self.place not in (*PLACES, ANYWHERE):
            hint = near(self.place, PLACES) or ", ".join((*PLACES, ANYWHERE))
            raise SynestheteError(f"no such place {self.place!r}", hint=hint)
        find_font(self.font)

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }


@lru_cache(maxsize=64)
def find_font(family: str) -> Font:
    """A font of the package by its family.

    Raises
    ------
    SynestheteError
        No such font.
    """
    fonts = {font.family: font for font in load_fonts()}
    if family not in fonts:
        raise SynestheteError(f"no font {family!r} in the package", hint=one_of(family, fonts))
    return fonts[family]


def can_write(text: str, style: Style) -> bool:
    """Whether the style's font has letters for the whole text."""
    return bool(text.strip()) and has_letters(text, find_font(style.font))


def legible(text: str, **style: Any) -> Style:
    """The style in the first font that has letters for the whole text, a handwritten one if it can be.

    Parameters
    ----------
    style
        As of `Style`, without the font.

    Raises
    ------
    SynestheteError
        A text that no font of the package can write.

    Examples
    --------
    >>> legible("apple").font
    'Caveat'
    """
    families = [HANDWRITTEN, *(font.family for font in load_fonts())]
    styles = (Style(font=family, **style) for family in families)
    found = next((one for one in styles if can_write(text, one)), None)
    if found is None:
        raise SynestheteError(f"no font here has all letters of {text[:60]!r}")
    return found


def write_label(
    image: Image.Image,
    text: str,
    style: Style,
    rng: np.random.Generator,
    *,
    blank: bool = False,
) -> Image.Image:
    """`image` with a text on it.

    Parameters
    ----------
    image
        As the model sees it, RGB.
    rng
        Draws the place where the style says `anywhere`: one draw of two numbers whatever the style, so that the
        same seed puts the word and its control at the same place.
    blank
        The control: the same paper at the same place without the text; without paper, the image as it was.

    Raises
    ------
    SynestheteError
        A text that cannot be drawn.
    """
    strip, mask = _strip(text, style.font, style.case, style.ink, style.paper or WHITE)
    drawn = rng.random(2)
    across, down = PLACES.get(style.place, (drawn[0], drawn[1]))
    out = image.convert("RGB").copy()
    size = _size(strip.size, out.size, style.share)
    corner = (round(across * (out.width - size[0])), round(down * (out.height - size[1])))
    if style.paper is not None:
        if blank:
            strip = Image.new("RGB", strip.size, style.paper)
        out.paste(strip.resize(size, Image.Resampling.LANCZOS), corner)
    elif not blank:
        cover = mask.resize(size, Image.Resampling.LANCZOS)
        out.paste(style.ink, (*corner, corner[0] + size[0], corner[1] + size[1]), cover)
    return out


@lru_cache(maxsize=512)
def _strip(
    text: str, font: str, case: str, ink: Colour, ground: Colour
) -> tuple[Image.Image, Image.Image]:
    """A word is written on many images, and drawn once. Nobody may change what this returns."""
    return render_line(
        text, find_font(font), letter_px=LETTER_PX, case=case, ink=ink, ground=ground
    )


def _size(strip: tuple[int, int], image: tuple[int, int], share: float) -> tuple[int, int]:
    """The label's size of `share` of the image's area, in the strip's proportions where that fits."""
    area = share * image[0] * image[1]
    height = min(image[1], max(1.0, float(np.sqrt(area * strip[1] / strip[0]))))
    width = min(float(image[0]), area / height)
    height = min(float(image[1]), area / width)
    return max(1, round(width)), max(1, round(height))


def contrast(ink: Colour, paper: Colour) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.1, relative luminance).

    Examples
    --------
    >>> round(contrast((0, 0, 0), (255, 255, 255)), 1), contrast(WHITE, WHITE)
    (21.0, 1.0)
    """
    light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
