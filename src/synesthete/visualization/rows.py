"""The rows of a neuron card: a bar and the strongest images for each modality, then the weakest images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from synesthete.visualization.drawing import (
    amount,
    frame,
    group,
    line,
    picture,
    rectangle,
    shorten,
    text,
    text_width,
)
from synesthete.visualization.facts import CardFacts, Exemplar, ModalityRow

MARGIN = 44
RIGHT = 1028
GRID_X = 256
THUMB = 86
GAP = 12
PITCH = 136
BAR = 168
REGION = "#e0532f"


def scale(facts: CardFacts) -> str:
    """The line above the rows: the scale of the bars, and what the frames mean."""
    y = 214.0
    at = MARGIN + BAR * _along(facts.threshold)
    marks = [
        text(MARGIN, y, "0.5", size=10.5, colour="faint"),
        text(at, y, f"{facts.threshold:g}", size=10.5, colour="faint", anchor="middle"),
        text(GRID_X, y, "images of highest activation, by modality", size=11, colour="faint"),
        _legend(facts, y),
    ]
    if BAR * (1 - _along(facts.threshold)) > 20:
        marks.append(text(MARGIN + BAR, y, "1", size=10.5, colour="faint", anchor="end"))
    return group(marks)


def _along(auc: float) -> float:
    """Where an AUC lies on the bar: 0 at 0.5 (chance) and below, 1 at 1."""
    return min(max((auc - 0.5) / 0.5, 0.0), 1.0)


def modality(facts: CardFacts, row: ModalityRow, y: float) -> str:
    """A modality: its AUC as a bar, and the images of highest activation."""
    tested = not math.isnan(row.auc)
    passes = tested and row.auc >= facts.threshold
    name = row.modality or "no modality"
    tick = MARGIN + BAR * _along(facts.threshold)
    pieces = [
        text(MARGIN, y + 18, shorten(name, 110, 15), size=15, weight=600),
        text(
            MARGIN + BAR,
            y + 18,
            f"{row.auc:.2f}" if tested else "not tested",
            size=15 if tested else 12,
            weight=600 if passes else None,
            colour="ink" if passes else "soft",
            anchor="end",
        ),
        rectangle(MARGIN, y + 30, BAR, 7, "track", radius=1.5),
    ]
    if tested and row.auc > 0.5:
        fill = "accent" if passes else "other"
        pieces.append(rectangle(MARGIN, y + 30, BAR * _along(row.auc), 7, fill, radius=1.5))
    pieces += [
        line(tick, y + 26, tick, y + 41, "ink", stroke=1.25),
        text(
            MARGIN,
            y + 58,
            f"n = {row.positives:,} of {row.images:,}, {'held out' if facts.held_out else 'half held out'}",
            size=11.5,
            colour="faint",
        ),
        _strip(row.exemplars, y),
    ]
    return group(pieces)


def least(facts: CardFacts, y: float) -> tuple[str, float]:
    """The images of lowest activation, and the height in pixels that they take.

    After a ReLU most images tie at zero; then a sentence says so in place of arbitrary pictures.
    """
    values = [exemplar.value for exemplar in facts.least]
    label = "most inhibited" if values and values[0] < 0 else "least excited"
    name = text(MARGIN, y + 18, label, size=15, weight=600)
    if len(values) > 1 and min(values) == max(values):
        ties, total = facts.distribution.at_lowest, int(facts.distribution.counts.sum())
        many = f"{ties:,} of {total:,} images" if ties is not None else "the weakest images all"
        told = f"none stands out: {many} give the lowest value, {amount(values[0])}"
        return group([name, text(GRID_X, y + 18, told, size=13, colour="soft")]), 54
    note = [
        text(MARGIN, y + 38, "lowest activation,", size=11.5, colour="faint"),
        text(MARGIN, y + 53, "in any modality", size=11.5, colour="faint"),
    ]
    return group([name, *note, _strip(facts.least, y)]), PITCH


def _strip(exemplars: Sequence[Exemplar], y: float) -> str:
    return group(
        _thumbnail(exemplar, GRID_X + place * (THUMB + GAP), y)
        for place, exemplar in enumerate(exemplars)
    )


def _thumbnail(exemplar: Exemplar, x: float, y: float) -> str:
    pieces = [picture(x, y, THUMB, exemplar.picture, exemplar.alt)]
    if exemplar.box is not None and exemplar.box[2:] != (1.0, 1.0):
        left, top, width, height = (THUMB * part for part in exemplar.box)
        region = (x + left + 1.5, y + top + 1.5, width - 3, height - 3)
        pieces.append(frame(*region, "#ffffff", stroke=2.5, radius=2, raw=True))
        pieces.append(frame(*region, REGION, stroke=1.25, radius=2, raw=True))
    if exemplar.own:
        pieces.append(frame(x - 2, y - 2, THUMB + 4, THUMB + 4, "accent", stroke=2, radius=3))
    else:
        pieces.append(frame(x - 0.5, y - 0.5, THUMB + 1, THUMB + 1, "line", radius=2))
    colour = "ink" if exemplar.own else "soft"
    pieces.append(text(x, y + THUMB + 16, amount(exemplar.value), size=12, colour=colour))
    if not exemplar.own:
        other = shorten(exemplar.concept or "no concept", THUMB, 11)
        pieces.append(text(x, y + THUMB + 30, other, size=11, colour="faint"))
    return group(pieces)


def _legend(facts: CardFacts, y: float) -> str:
    """What the two kinds of frame mean, at the right end of a line."""
    shown = f"shows {shorten(facts.neuron.concept or 'its concept', 140, 11)}"
    x = RIGHT - text_width(shown, 11)
    pieces = [
        text(RIGHT, y, shown, size=11, colour="soft", anchor="end"),
        frame(x - 16, y - 9, 9, 9, "accent", stroke=2, radius=1.5),
    ]
    if facts.grid is not None and facts.grid != (1, 1):
        where = f"where its maximum lies ({facts.grid[0]} × {facts.grid[1]} positions)"
        x -= 36
        pieces.append(text(x, y, where, size=11, colour="soft", anchor="end"))
        x -= text_width(where, 11) + 16
        pieces.append(frame(x, y - 8.5, 8.5, 8.5, REGION, stroke=1.25, radius=1.5, raw=True))
    return group(pieces)
