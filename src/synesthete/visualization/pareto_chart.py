"""What a defence costs: a harm against what is kept, one line per way of choosing units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from synesthete.visualization.chart import ticks
from synesthete.visualization.drawing import (
    STACK,
    element,
    escape,
    line,
    rectangle,
    shorten,
    text,
)

WIDTH, HEIGHT = 720, 470
LEFT, RIGHT, TOP, BOTTOM = 86.0, 560.0, 92.0, 400.0
COLOURS = {"greedy": "accent", "gradient": "soft", "random": "other"}


@dataclass(frozen=True)
class Line:
    """One way of choosing: its name, and `(units, kept, harm)` in the order of units."""

    name: str
    points: Sequence[tuple[int, float, float]]


def pareto_chart(
    title: str,
    subtitle: str,
    lines: Sequence[Line],
    *,
    kept: str,
    harm: str,
    proposal: tuple[int, float, float, float, float] | None = None,
) -> str:
    """The whole drawing as SVG.

    Parameters
    ----------
    lines
        `greedy`, `gradient`, and any number of draws called `random`.
    kept, harm
        What the axes are called: to the right more is kept, downwards there is less harm.
    proposal
        Units, kept, harm, and the harm's interval, of the edits that are proposed.
    """
    points = [point for one in lines for point in one.points]
    low_x, high_x = _span([p[1] for p in points])
    around = [proposal[3], proposal[4]] if proposal else []
    low_y, high_y = _span([*(p[2] for p in points), *around])

    def x(value: float) -> float:
        return LEFT + (value - low_x) / (high_x - low_x) * (RIGHT - LEFT)

    def y(value: float) -> float:
        return BOTTOM - (value - low_y) / (high_y - low_y) * (BOTTOM - TOP)

    pieces = [
        rectangle(0, 0, WIDTH, HEIGHT, "ground"),
        text(30, 34, shorten(title, WIDTH - 60, 17), size=17, weight=600),
        text(30, 56, shorten(subtitle, WIDTH - 60, 12), size=12, colour="soft"),
        text(30, 80, harm, size=11, colour="soft"),
        text(RIGHT, BOTTOM + 42, f"{kept} →", size=11, colour="soft", anchor="end"),
    ]
    for value in ticks(low_y, high_y, 6):
        pieces.append(line(LEFT, y(value), RIGHT, y(value), "track"))
        told = f"{value:g}".replace("-", "−")
        pieces.append(text(LEFT - 10, y(value) + 4, told, size=10.5, colour="faint", anchor="end"))
    for value in ticks(low_x, high_x, 7):
        pieces.append(line(x(value), BOTTOM, x(value), BOTTOM + 4, "soft"))
        told = f"{value:g}"
        pieces.append(text(x(value), BOTTOM + 18, told, size=10.5, colour="faint", anchor="middle"))
    pieces.append(line(LEFT, BOTTOM, RIGHT, BOTTOM, "soft"))
    order = sorted(lines, key=lambda one: list(COLOURS).index(one.name), reverse=True)
    for one in order:
        pieces += _drawn(one, [(x(p[1]), y(p[2])) for p in one.points])
    if points:
        start = lines[0].points[0]
        pieces.append(_dot(x(start[1]), y(start[2]), 5.0, "ink"))
        pieces.append(text(x(start[1]), y(start[2]) - 12, "unedited", size=11, anchor="middle"))
    if proposal:
        units, at, value, low, high = proposal
        pieces.append(line(x(at), y(low), x(at), y(high), "accent"))
        pieces.append(_dot(x(at), y(value), 6.0, "accent"))
        told = f"{units} unit{'' if units == 1 else 's'}"
        pieces.append(text(x(at) + 10, y(value) + 4, told, size=11, weight=600))
    for place, (name, colour) in enumerate(COLOURS.items()):
        top = TOP + 8 + 22 * place
        pieces.append(line(RIGHT + 24, top, RIGHT + 44, top, colour, stroke=2.5))
        told = "random units" if name == "random" else f"by {name}" if name == "gradient" else name
        pieces.append(text(RIGHT + 52, top + 4, told, size=12, colour="soft"))
    said = f"{title}: {subtitle}"
    return element(
        "svg", element("title", escape(said)), *pieces, xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT, font_family=STACK, role="img",
    )  # fmt: skip


def _drawn(one: Line, places: Sequence[tuple[float, float]]) -> list[str]:
    colour = COLOURS[one.name]
    thick = 2.5 if one.name == "greedy" else 1.5
    pieces = [line(*start, *end, colour, stroke=thick) for start, end in pairwise(places)]
    if one.name != "random":
        pieces += [_dot(*place, 3.0, colour) for place in places]
    return pieces


def _dot(x: float, y: float, radius: float, colour: str) -> str:
    return rectangle(x - radius, y - radius, 2 * radius, 2 * radius, colour, radius=radius)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The values with a margin; never empty."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin
