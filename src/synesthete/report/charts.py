"""All charts: those that stand alone (`*_chart` with a title, for files) and those inside a page, from the pieces of `svg`.

Drawings for files are SVG documents. Charts for pages are `Markup` without sizes of letters: the page's style sheet, which
holds `svg.chart_css()`, gives them letters and colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from synesthete.report.svg import (
    auc,
    band,
    document,
    dot,
    element,
    group,
    inline,
    line,
    link,
    minus,
    number,
    polyline,
    rectangle,
    shorten,
    text,
    whisker,
)

if TYPE_CHECKING:
    from synesthete.analysis.conditional import Conditional, Curve
    from synesthete.report.counts import Count, Counts
    from synesthete.report.neuron import Curve as MeaningCurve
    from synesthete.report.neuron import Distribution, Meaning

DRAWING, WIDE, NARROW = (
    720,
    720,
    480,
)  # widths: a drawing for a file, a chart over a page, a chart in a column
ROW = 24
# Correlations of this size have the full shade at least, so that small ones look small.
STRONG = 0.3


def _heading(title: str, subtitle: str) -> list[str]:
    return [
        text(30, 34, shorten(title, DRAWING - 60, 17), size=17, weight=600),
        text(30, 56, shorten(subtitle, DRAWING - 60, 12), size=12, colour="soft"),
    ]


def conditional_chart(found: Conditional) -> str:
    """P(category | activation): a row per category, a bar with its interval per bin."""
    left, right, row, top = 170, 690, 74, 96.0
    tall, step = row - 22.0, (right - left) / len(found.images)
    pieces = _heading(
        f"What {found.address} says",
        f"probability of each {found.by} given the activation, 95 % intervals",
    )
    for place, curve in enumerate(found.curves):
        above = top + place * row
        floor = above + tall
        base = f"base rate {curve.base:.1%}"
        pieces += [
            text(left - 14, floor - tall / 2, shorten(curve.category, left - 40, 13), anchor="end"),
            text(left - 14, floor - tall / 2 + 16, base, size=10.5, colour="faint", anchor="end"),
            line(left, above, right, above, "track"),
            text(right + 6, above + 4, "1", size=10.5, colour="faint"),
            line(left, floor, right, floor, "soft"),
            group(_bins(curve, left=left, step=step, floor=floor, tall=tall)),
        ]
    bottom = top + row * len(found.curves) - 12
    pieces.append(text(left - 14, bottom, "images", size=10.5, colour="faint", anchor="end"))
    for i, count in enumerate(found.images):
        at = left + (i + 0.5) * step
        pieces.append(text(at, bottom, f"{count:,}", size=9.5, colour="faint", anchor="middle"))
    for i in range(0, len(found.edges), 2):
        edge, at = minus(f"{found.edges[i]:.1f}"), left + i * step
        pieces.append(text(at, bottom + 18, edge, size=10.5, colour="soft", anchor="middle"))
    unit = "activation, standard deviations from zero"
    pieces.append(text(right, bottom + 36, unit, size=11, colour="faint", anchor="end"))
    highest = ", ".join(
        f"{curve.category} at most {max((p for p in curve.share if not math.isnan(p)), default=0):.2f}"
        for curve in found.curves
    )
    description = f"Probability given the activation of {found.address}: {highest}"
    return document(DRAWING, top + row * len(found.curves) + 40, description, pieces)


def signed(weight: float) -> str:
    """A weight with its sign.

    Examples
    --------
    >>> signed(-0.25)
    '−0.250'
    """
    return minus(f"{weight:+.3f}")


def sum_chart(
    title: str,
    subtitle: str,
    terms: Sequence[tuple[str, str, float]],
    *,
    written: Callable[[float], str] = signed,
) -> str:
    """A sum of units: a bar per unit, to the right what adds, to the left what takes away.

    Parameters
    ----------
    title, subtitle
        Two lines above.
    terms
        Address, what the unit is called, and its weight, in the order drawn.
    written
        How a weight is written.
    """
    left, row = 300, 26
    low = min([0.0, *(weight for *_, weight in terms)])
    high = max([0.0, *(weight for *_, weight in terms)])
    scale = (DRAWING - left - 80) / max(high - low, 1e-12)
    zero = left - low * scale
    pieces = [
        *_heading(title, subtitle),
        line(zero, 70, zero, 84 + row * len(terms), "line"),
    ]
    for i, (address, called, weight) in enumerate(terms):
        y = 80 + i * row
        pieces.append(text(30, y + 15, shorten(address, 150, 11), size=11, colour="faint"))
        pieces.append(text(188, y + 15, shorten(called or "–", left - 200, 13), size=13))
        x = zero + min(weight, 0.0) * scale
        colour = "accent" if weight >= 0 else "other"
        pieces.append(rectangle(x, y + 4, abs(weight) * scale, row - 12, colour))
        end = zero + max(weight, 0.0) * scale + 6
        pieces.append(text(end, y + 15, written(weight), size=11, colour="soft"))
    parts = "; ".join(f"{called or address} {written(weight)}" for address, called, weight in terms)
    return document(DRAWING, 84 + row * len(terms) + 16, f"{title}: {parts}", pieces)


PARETO = {
    "greedy": "accent", "dyslexify": "accent", "gradient": "soft", "attention": "soft", "subspace": "ink", "random": "other",
    "random subspace": "faint",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One way of choosing units: its name, and `(units, kept, harm)` in the order of units."""

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
    """What a defence costs: a harm against what is kept, one line per way of choosing units.

    Parameters
    ----------
    lines
        `greedy` or `dyslexify`, `gradient` or `attention`, `subspace`, and any number of draws called `random` and `random subspace`.
    kept, harm
        What the axes are called: to the right more is kept, downwards there is less harm.
    proposal
        Units, kept, harm, and the harm's interval, of the edits that are proposed.
    """
    left, right, top, bottom = 86.0, 560.0, 92.0, 400.0
    points = [point for one in lines for point in one.points]
    low_x, high_x = _span([p[1] for p in points])
    around = [proposal[3], proposal[4]] if proposal else []
    low_y, high_y = _span([*(p[2] for p in points), *around])

    def x(value: float) -> float:
        return left + (value - low_x) / (high_x - low_x) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low_y) / (high_y - low_y) * (bottom - top)

    pieces = [
        *_heading(title, subtitle),
        text(30, 80, harm, size=11, colour="soft"),
        text(right, bottom + 42, f"{kept} →", size=11, colour="soft", anchor="end"),
    ]
    for value in ticks(low_y, high_y, 6):
        mark = minus(f"{value:g}")
        pieces.append(line(left, y(value), right, y(value), "track"))
        pieces.append(text(left - 10, y(value) + 4, mark, size=10.5, colour="faint", anchor="end"))
    for value in ticks(low_x, high_x, 7):
        mark = minus(f"{value:g}")
        pieces.append(line(x(value), bottom, x(value), bottom + 4, "soft"))
        pieces.append(text(x(value), bottom + 18, mark, size=10.5, colour="faint", anchor="middle"))
    pieces.append(line(left, bottom, right, bottom, "soft"))
    for one in sorted(lines, key=lambda one: list(PARETO).index(one.name), reverse=True):
        places = [(x(p[1]), y(p[2])) for p in one.points]
        thick = 2.5 if PARETO[one.name] == "accent" else 1.5
        pieces += [line(*a, *b, PARETO[one.name], stroke=thick) for a, b in pairwise(places)]
        if not one.name.startswith("random"):
            pieces += [dot(*place, 3.0, PARETO[one.name]) for place in places]
    if points:
        _, at, value = lines[0].points[0]
        pieces.append(dot(x(at), y(value), 5.0, "ink"))
        pieces.append(text(x(at), y(value) - 12, "unedited", size=11, anchor="middle"))
    if proposal:
        units, at, value, low, high = proposal
        count = f"{units} unit{'' if units == 1 else 's'}"
        pieces.append(line(x(at), y(low), x(at), y(high), "accent"))
        pieces.append(dot(x(at), y(value), 6.0, "accent"))
        pieces.append(text(x(at) + 10, y(value) + 4, count, size=11, weight=600))
    drawn = {one.name for one in lines}
    labels = {"random": "random units", "gradient": "by gradient", "attention": "by attention"}
    for place, name in enumerate(name for name in PARETO if name in drawn):
        at, colour = top + 8 + 22 * place, PARETO[name]
        label = labels.get(name, name)
        pieces.append(line(right + 24, at, right + 44, at, colour, stroke=2.5))
        pieces.append(text(right + 52, at + 4, label, size=12, colour="soft"))
    return document(DRAWING, 470, f"{title}: {subtitle}", pieces)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The values with a margin; never empty."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin


def ticks(low: float, high: float, wanted: int = 8) -> list[float]:
    """Round values that cover an axis.

    Examples
    --------
    >>> ticks(0.0, 7.3)
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    >>> ticks(-0.1, 0.25)
    [-0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    """
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((s * power for s in (1, 2, 2.5, 5, 10)), key=lambda s: (s < raw * 0.8, s))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 10) + 0.0 for place in range(first, last + 1)]


def share_bar(row: Count, counts: Counts, *, accent: bool) -> Markup:
    """One of the three shares with its interval; all bars of a headline have one scale."""
    top = min(
        1.0, 1.08 * max([max(one.high or 0.0, one.share or 0.0) for one in counts.rows] + [0.01])
    )
    pieces = [rectangle(0, 0, 100, 20, "track")]
    if row.share is not None:
        scale = 100 / top
        pieces.append(rectangle(0, 0, row.share * scale, 20, "accent" if accent else "other"))
        if row.low is not None and row.high is not None:
            pieces.append(
                whisker(row.low * scale, row.high * scale, 10, vector_effect="non-scaling-stroke")
            )
    return Markup(
        element(
            "svg",
            *pieces,
            class_="bar",
            viewBox="0 0 100 20",
            preserveAspectRatio="none",
            aria_hidden="true",
        )
    )


def auc_bar(value: float | None, threshold: float) -> Markup:
    """One AUC from 0.5 to 1, with the threshold."""
    mark = (threshold - 0.5) * 2 * 200
    pieces = [rectangle(0, 4, 200, 8, "track")]
    if value is not None:
        colour = "accent" if value >= threshold else "other"
        pieces.append(rectangle(0, 4, max(0.0, value - 0.5) * 2 * 200, 8, colour))
    pieces.append(line(mark, 0, mark, 16, "ink", stroke=1.2))
    description = "not tested" if value is None else f"AUC {auc(value)}, threshold {threshold:g}"
    return inline(200, 16, description, pieces, "auc")


def histogram(found: Distribution) -> Markup:
    """How many images excite a neuron how much, on a scale of square roots; its concept's images in the accent colour."""
    left, floor, top = 2.0, 150.0, 18.0
    most, bins = max([*found.counts, 1]), len(found.counts)
    step = (NARROW - 2 * left) / bins

    def bar(place: int, count: int, colour: str) -> str:
        tall = math.sqrt(count / most) * (floor - top)
        return rectangle(left + place * step + 0.5, floor - tall, step - 1, tall, colour)

    pieces = []
    for place, count in enumerate(found.counts):
        pieces.append(bar(place, count, "other"))
        if found.own is not None and found.own[place]:
            pieces.append(bar(place, found.own[place], "accent"))
    pieces.append(line(left, floor, NARROW - left, floor, "faint"))
    every = max(1, bins // 6)
    for place in sorted({*range(0, bins + 1 - every, every), bins}):
        edge = minus(f"{found.edges[place]:.2g}")
        pieces.append(_label(left + place * step, floor + 18, edge, "faint", _anchor(place, bins)))
    highest = found.counts.index(max(found.counts)) if found.counts else 0
    beside = left + (highest + 1) * step + 5
    late = highest > bins / 2
    x, side = (beside - step - 10, "end") if late else (beside, "start")
    pieces.append(_label(x, top + 8, f"{most:,} images", "faint", side))
    span = f"from {found.edges[0]:.2g} to {found.edges[-1]:.2g}"
    description = f"Activations of {found.images:,} images, {span}"
    return inline(NARROW, floor + 26, description, pieces, "histogram")


def meaning_chart(found: Meaning) -> Markup:
    """P(concept | activation): a row of bars for each concept, with 95 % intervals."""
    left, right, row, tall = 128.0, NARROW - 2.0, 46.0, 34.0
    bins = len(found.edges) - 1
    step = (right - left) / bins
    pieces = []
    for place, curve in enumerate(found.curves):
        floor = 40 + place * row
        label = _label(left - 10, floor - 10, _short(curve.concept), "accent", "end")
        pieces.append(link(curve.path, label))
        pieces.append(line(left, floor, right, floor, "faint"))
        pieces += _bins(curve, left=left, step=step, floor=floor, tall=tall)
    bottom = 40 + (len(found.curves) - 1) * row + 16
    for b in range(0, bins + 1, 2):
        edge = minus(f"{found.edges[b]:.1f}")
        pieces.append(_label(left + b * step, bottom, edge, "faint", _anchor(b, bins)))
    pieces.append(_label(right, bottom + 14, "activation in standard deviations", "faint", "end"))
    highest = "; ".join(
        f"{curve.concept} at most {max([s for s in curve.share if s is not None], default=0):.0%}"
        for curve in found.curves
    )
    description = f"Probability of a concept given the activation: {highest}"
    return inline(NARROW, bottom + 22, description, pieces, "meaning")


def _bins(
    curve: Curve | MeaningCurve, *, left: float, step: float, floor: float, tall: float
) -> list[str]:
    """Probabilities of bins as bars with their intervals; nothing where a bin is empty."""
    pieces = []
    for i, value in enumerate(curve.share):
        if value is None or math.isnan(value):
            continue
        x, middle = left + i * step, left + (i + 0.5) * step
        low, high = floor - tall * curve.low[i], floor - tall * curve.high[i]
        pieces.append(rectangle(x + 2, floor - tall * value, step - 4, tall * value, "accent"))
        pieces.append(line(middle, low, middle, high, "ink"))
    return pieces


def signed_bars(rows: Sequence[tuple[str, str, float]]) -> Markup:
    """What each of several units adds (label, path, value): bars to the right for, to the left against."""
    most = max([abs(value) for *_, value in rows] + [1e-9])
    row, middle, reach = 26.0, NARROW / 2, 180.0
    pieces = [line(middle, 0, middle, row * len(rows), "faint")]
    for place, (label, path, value) in enumerate(rows):
        y, wide = place * row, abs(value) / most * reach
        side, before, after = (1, "end", "start") if value >= 0 else (-1, "start", "end")
        start = middle if value >= 0 else middle - wide
        colour = "accent" if value >= 0 else "against"
        pieces.append(rectangle(start, y + 5, wide, 16, colour))
        words = _label(middle - 10 * side, y + 17, _short(label, 30), "accent", before)
        pieces.append(link(path, words))
        end = middle + (wide + 6) * side
        pieces.append(_label(end, y + 17, signed(value), "faint", after))
    description = "; ".join(f"{label} {signed(value)}" for label, _, value in rows)
    return inline(NARROW, row * len(rows) + 4, description, pieces, "signed")


def _label(x: float, y: float, content: object, colour: str = "ink", anchor: str = "start") -> str:
    return text(x, y, content, size=None, colour=colour, anchor=anchor)


def _anchor(place: int, last: int) -> str:
    """Labels of an axis stay inside it: the first begins at its place, the last ends there."""
    return "start" if place == 0 else "end" if place == last else "middle"


def _short(label: str, most: int = 20) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _over_page(height: float, description: str, pieces: Sequence[str]) -> Markup:
    """A wide chart, which a phone scrolls."""
    chart = inline(WIDE, height, description, pieces, "wide-chart")
    return Markup('<div class="scroll">{}</div>').format(chart)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A rate with its interval.

    Attributes
    ----------
    value
        0 to 1; None where there is none, and then `note` says so.
    note
        What stands behind the bar.
    control
        The same rate of the control, as a mark.
    colour
        Of the bar.
    """

    label: str
    value: float | None
    low: float = 0.0
    high: float = 0.0
    note: str = ""
    control: float | None = None
    colour: str = "accent"


def rate_bars(rows: Sequence[Rate], description: str, *, top: float = 1.0) -> Markup:
    """A bar for each rate, its interval, and its control as a mark; the scale ends at `top`."""
    left, right = 204.0, WIDE - 132.0
    scale = (right - left) / top
    pieces = [
        _label(left, 11, "0 %", "faint"),
        _label(right, 11, f"{100 * top:.3g} %", "faint", "end"),
    ]
    y = 18.0
    for row in rows:
        pieces.append(_label(left - 12, y + 15, row.label, "soft", "end"))
        pieces.append(rectangle(left, y + 3, right - left, 15, "track"))
        if row.value is None:
            pieces.append(_label(left + 8, y + 15, row.note, "faint"))
        else:
            low, high = (left + min(max(x, 0.0), top) * scale for x in (row.low, row.high))
            pieces.append(rectangle(left, y + 3, row.value * scale, 15, row.colour))
            pieces.append(whisker(low, high, y + 10.5))
            if row.control is not None:
                at = left + row.control * scale
                pieces.append(line(at, y + 1, at, y + 20, "where", stroke=3))
            pieces.append(_label(right + 12, y + 15, row.note))
        y += ROW
    return _over_page(y + 4, description, pieces)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: a share of 0 to 1 at each step, perhaps with an interval at each."""

    name: str
    values: Sequence[float | None]
    colour: str = "faint"
    stroke: float = 1.4
    dashed: bool = False
    interval: Sequence[tuple[float, float]] = ()


def line_chart(
    labels: Sequence[str], series: Sequence[Series], description: str, *, base: float = 236.0
) -> Markup:
    """Shares over steps of equal width, each line with its name at its end."""
    left, right, top = 52.0, WIDE - 130.0, 12.0
    step = (right - left) / max(len(labels) - 1, 1)
    xs = [left + place * step for place in range(len(labels))]

    def at(value: float | None) -> float:
        return base - (value or 0.0) * (base - top)

    pieces = []
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        pieces.append(line(left, at(mark), right, at(mark), "line"))
        pieces.append(_label(left - 8, at(mark) + 4, f"{mark:.0%}", "faint", "end"))
    pieces += [
        _label(x, base + 18, label, "faint", "middle") for x, label in zip(xs, labels, strict=True)
    ]
    for one in series:
        if one.interval:
            lower = [(x, at(low)) for x, (low, _) in zip(xs, one.interval, strict=True)]
            upper = [(x, at(high)) for x, (_, high) in zip(xs, one.interval, strict=True)]
            pieces.append(band(lower, upper, one.colour))
    for one in series:
        points = [(x, at(value)) for x, value in zip(xs, one.values, strict=True)]
        pieces.append(polyline(points, one.colour, stroke=one.stroke, dashed=one.dashed))
    lowest = base + 4
    for y, name in sorted(((at(one.values[-1]), one.name) for one in series), reverse=True):
        y = min(y, lowest)
        pieces.append(_label(right + 10, y + 4, name, "soft"))
        lowest = y - 14
    return _over_page(base + 28, description, pieces)


def matrix(found: Mapping[str, Any], description: str) -> Markup:
    """Groups × attributes as shades: stronger where the correlation is; a mark where its interval leaves 0 out."""
    names, rows = found["attributes"], found["matrix"]
    left, top, tall = 170.0, 30.0, 32.0
    wide = (WIDE - left - 8) / max(len(names), 1)
    most = max([abs(cell["value"]) for row in rows for cell in row] + [STRONG])
    pieces = [
        _label(left + (place + 0.5) * wide, 20, name, "soft", "middle")
        for place, name in enumerate(names)
    ]
    for place, (name, row) in enumerate(zip(found["groups"], rows, strict=True)):
        y = top + place * tall
        pieces.append(_label(left - 12, y + 21, name, "soft", "end"))
        for column, cell in enumerate(row):
            x = left + column * wide
            colour = "accent" if cell["value"] >= 0 else "against"
            shade = 0.65 * abs(cell["value"]) / most
            low, high = cell["interval"]
            mark = "" if low <= 0 <= high else " *"
            value = number(cell["value"], sign=True) + mark
            pieces += [
                rectangle(x + 1, y + 1, wide - 2, tall - 2, "track"),
                rectangle(x + 1, y + 1, wide - 2, tall - 2, colour, opacity=shade),
                _label(x + wide / 2, y + 21, value, "ink", "middle"),
            ]
    return _over_page(top + len(rows) * tall + 4, description, pieces)


def intervals(rows: Sequence[tuple[str, float, float, float]], description: str) -> Markup:
    """Numbers with their intervals around zero."""
    left, right = 250.0, WIDE - 96.0
    reach = max([abs(bound) for _, _, low, high in rows for bound in (low, high)] + [0.1])
    reach = min(reach, 2.5) * 1.05
    zero = (left + right) / 2

    def at(value: float) -> float:
        return zero + max(-1.0, min(1.0, value / reach)) * (right - left) / 2

    height = 8 + ROW * len(rows)
    pieces = [line(zero, 2, zero, height, "faint")]
    for place, (label, value, low, high) in enumerate(rows):
        y = 8 + place * ROW
        pieces.append(_label(left - 12, y + 14, label, "soft", "end"))
        pieces.append(whisker(at(low), at(high), y + 10, cap=0))
        pieces.append(dot(at(value), y + 10, 4.5, "accent"))
        pieces.append(_label(right + 12, y + 14, number(value, sign=True)))
    return _over_page(height + 4, description, pieces)


def bounds_chart(
    looks: Sequence[tuple[int, float, float, float]],
    description: str,
    *,
    unit: str,
    decided_after: int | None = None,
) -> Markup:
    """How the bounds of a difference narrowed: `(n, value, low, high)` on a logarithmic axis of n.

    Parameters
    ----------
    unit
        What n counts.
    decided_after
        The n at which the verdict fell, which is marked.
    """
    left, right, top, floor = 56.0, WIDE - 16.0, 12.0, 190.0
    if len(looks) < 2:
        words = f"too few {unit} for a chart"
        return _over_page(40, words.capitalize(), [_label(8, 24, words, "faint")])
    # The first looks span everything; the scale is that of the later half, and earlier bounds run out of it.
    late = looks[len(looks) // 2 :]
    reach = max(0.01, *(abs(value) for _, _, low, high in late for value in (low, high)))
    first, last = math.log(looks[0][0]), math.log(looks[-1][0])
    span = max(last - first, 1e-9)

    def x(n: int) -> float:
        return left + (math.log(n) - first) / span * (right - left)

    def y(value: float) -> float:
        kept = min(max(value, -reach), reach)
        return (top + floor) / 2 - kept / reach * (floor - top) / 2

    lower = [(x(n), y(low)) for n, _, low, _ in looks]
    upper = [(x(n), y(high)) for n, _, _, high in looks]
    pieces = [
        band(lower, upper, "accent"),
        line(left, y(0), right, y(0), "faint"),
        polyline([(x(n), y(value)) for n, value, _, _ in looks], "accent", stroke=2),
    ]
    for value in (-reach, 0.0, reach):
        mark = minus(f"{value:+.2g}") if value else "0"
        pieces.append(_label(left - 8, y(value) + 4, mark, "faint", "end"))
    for n, anchor in (
        (looks[0][0], "start"),
        (looks[len(looks) // 2][0], "middle"),
        (looks[-1][0], "end"),
    ):
        pieces.append(_label(x(n), floor + 18, f"{n:,}", "faint", anchor))
    pieces.append(_label(right, floor + 34, unit, "faint", "end"))
    if decided_after is not None and decided_after >= looks[0][0]:
        at = x(decided_after)
        side, anchor = (-6, "end") if at > (left + right) / 2 else (6, "start")
        pieces.append(line(at, top, at, floor, "ink", stroke=1.2))
        pieces.append(_label(at + side, top + 10, "decided here", "faint", anchor))
    return _over_page(floor + 42, description, pieces)
