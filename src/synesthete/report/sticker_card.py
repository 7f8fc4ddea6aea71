"""The card of a photo with a word on it: the answer without the word, with it, and without the neurons that carry it; to share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synesthete.report.svg import (
    DISPLAY,
    data_uri,
    document,
    embedded_image,
    frame,
    group,
    percent,
    rectangle,
    shorten,
    text,
    text_width,
)

if TYPE_CHECKING:
    from PIL import Image

# What pages that show a link's image expect: 1,200 by 630 pixels, drawn at twice the size.
WIDTH, HEIGHT = 600, 315
MARGIN, PHOTO = 24, 212
LEFT = MARGIN + PHOTO + 24
RIGHT = WIDTH - MARGIN
UNIT = 84


@dataclass(frozen=True)
class CardRow:
    """One state: what is the case, what the model answers, and how probable the photo's own answer is."""

    caption: str
    says: str
    share: float
    colour: str = "accent"


@dataclass(frozen=True)
class CardUnit:
    """A neuron that carries the word: what it is called, its number, and its strongest images."""

    heading: str
    unit: int
    image: Image.Image


def sticker_card(
    *,
    title: str,
    photo: Image.Image,
    answer: str,
    rows: Sequence[CardRow],
    units: Sequence[CardUnit],
    foot: str,
) -> str:
    """Draw the card as SVG, for `synesthete.report.svg.render`.

    Parameters
    ----------
    answer
        The photo's own answer, whose probability the bars show.
    rows
        At most four.
    units
        At most three.
    foot
        What was measured on what; one line.
    """
    lines = _two_lines(title, RIGHT - MARGIN, 23)
    pieces = [
        group(
            [text(MARGIN - 1, 44 + 26 * i, one, size=23) for i, one in enumerate(lines)],
            font_family=DISPLAY,
            font_weight=600,
            letter_spacing="-0.02em",
        )
    ]
    top = 62 + 26 * (len(lines) - 1)
    side = min(PHOTO, HEIGHT - top - 40)
    pieces.append(embedded_image(MARGIN, top, side, data_uri(photo), title))
    pieces.append(frame(MARGIN, top, side, side, "line"))
    y = top + 3.0
    for row in rows:
        pieces.append(_row(row, answer, y))
        y += 30
    place = max(y + 6, top + side - UNIT - 14)
    for i, one in enumerate(units):
        x = LEFT + i * (UNIT + 24)
        pieces.append(embedded_image(x, place, UNIT, data_uri(one.image), one.heading))
        label = shorten(one.heading or "no concept", UNIT + 18, 9)
        pieces.append(text(x, place + UNIT + 11, label, size=9, colour="soft"))
    pieces.append(text(MARGIN, HEIGHT - 13, foot, size=8.5, colour="faint"))
    pieces.append(
        text(RIGHT, HEIGHT - 13, "Synesthete", size=10, weight=600, colour="soft", anchor="end")
    )
    return document(WIDTH, HEIGHT, title, pieces)


def _row(row: CardRow, answer: str, y: float) -> str:
    """A caption, what the model says, and a bar of the photo's own answer."""
    wide = RIGHT - LEFT
    says = f"{shorten(row.says, 120, 11)}"
    colour = "accent" if row.says == answer else "against"
    share = percent(row.share, 0)
    if row.says != answer:  # or one would take it for the probability of what the model says
        share = f"{shorten(answer, 60, 9.5)} {share}"
    track = wide - text_width(share, 9.5) - 10
    return group(
        [
            text(LEFT, y + 9, shorten(row.caption, 190, 10.5), size=10.5, colour="soft"),
            text(RIGHT, y + 9, says, size=11, weight=600, colour=colour, anchor="end"),
            rectangle(LEFT, y + 14, track, 6, "track", radius=1.5),
            rectangle(LEFT, y + 14, track * row.share, 6, row.colour, radius=1.5),
            text(RIGHT, y + 20.5, share, size=9.5, colour="soft", anchor="end"),
        ]
    )


def _two_lines(title: str, width: float, size: float) -> list[str]:
    """A title on one line or two, the second shortened."""
    words, first = title.split(" "), ""
    while words and text_width(f"{first} {words[0]}".strip(), size) <= width:
        first = f"{first} {words.pop(0)}".strip()
    if not first:
        return [shorten(title, width, size)]
    return [first, shorten(" ".join(words), width, size)] if words else [first]
