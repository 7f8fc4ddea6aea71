"""P(category | activation) as a drawing: a row per category, a bar with its interval per bin."""

from __future__ import annotations

import math

from synesthete.analysis.conditional import Conditional, Curve
from synesthete.visualization.drawing import (
    STACK,
    element,
    escape,
    group,
    line,
    rectangle,
    shorten,
    text,
)

WIDTH, LEFT, RIGHT, ROW = 720, 170, 690, 74


def conditional_chart(found: Conditional) -> str:
    """The whole drawing as SVG."""
    height = 96 + ROW * len(found.curves) + 40
    pieces = [
        rectangle(0, 0, WIDTH, height, "ground"),
        text(30, 34, f"What {found.address} says", size=17, weight=600),
        text(
            30, 56, f"probability of each {found.by} given the activation, 95 % intervals", size=12,
            colour="soft",
        ),
    ]  # fmt: skip
    base = 96.0
    for curve in found.curves:
        pieces.append(_row(curve, base, len(found.images)))
        base += ROW
    pieces.append(_axis(found, base - 12))
    said = ", ".join(
        f"{curve.category} at most {max((p for p in curve.share if not math.isnan(p)), default=0):.2f}"
        for curve in found.curves
    )
    title = element("title", escape(f"Probability given the activation of {found.address}: {said}"))
    return element(
        "svg", title, *pieces, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}",
        width=WIDTH, height=height, font_family=STACK, role="img",
    )  # fmt: skip


def _row(curve: Curve, top: float, bins: int) -> str:
    tall, step = ROW - 22.0, (RIGHT - LEFT) / bins
    floor = top + tall
    pieces = [
        text(LEFT - 14, floor - tall / 2, shorten(curve.category, LEFT - 40, 13), anchor="end"),
        text(
            LEFT - 14, floor - tall / 2 + 16, f"base rate {curve.base:.1%}", size=10.5,
            colour="faint", anchor="end",
        ),
        line(LEFT, top, RIGHT, top, "track"),
        text(RIGHT + 6, top + 4, "1", size=10.5, colour="faint"),
        line(LEFT, floor, RIGHT, floor, "soft"),
    ]  # fmt: skip
    for i in range(bins):
        if math.isnan(curve.share[i]):
            continue
        x, middle = LEFT + i * step, LEFT + (i + 0.5) * step
        high = tall * curve.share[i]
        pieces.append(rectangle(x + 2, floor - high, step - 4, high, "accent"))
        pieces.append(
            line(middle, floor - tall * curve.low[i], middle, floor - tall * curve.high[i], "ink")
        )
    return group(pieces)


def _axis(found: Conditional, top: float) -> str:
    step = (RIGHT - LEFT) / len(found.images)
    pieces = [text(LEFT - 14, top, "images", size=10.5, colour="faint", anchor="end")]
    for i, count in enumerate(found.images):
        middle = LEFT + (i + 0.5) * step
        pieces.append(text(middle, top, f"{count:,}", size=9.5, colour="faint", anchor="middle"))
    for i in range(0, len(found.edges), 2):
        told = f"{found.edges[i]:.1f}".replace("-", "−")
        at = LEFT + i * step
        pieces.append(text(at, top + 18, told, size=10.5, colour="soft", anchor="middle"))
    told = "activation, standard deviations from zero"
    pieces.append(text(RIGHT, top + 36, told, size=11, colour="faint", anchor="end"))
    return group(pieces)
