"""Charts of a report as inline SVG; colours come from the page's style sheet, by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

WIDE = 720
ROW = 24
# Correlations of this size have the full shade at least, so that small ones look small.
STRONG = 0.3


def _svg(height: float, told: str, inside: Sequence[str], width: float = WIDE) -> Markup:
    return Markup(
        f'<div class="scroll"><svg class="chart audit-chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(told)}">'
        f"<title>{escape(told)}</title>{''.join(inside)}</svg></div>"
    )


def _text(x: float, y: float, told: object, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(str(told))}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str, more: str = "") -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" class="{kind}"{more}/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def rate_bars(
    rows: Sequence[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]], told: str
) -> Markup:
    """A bar for each rate, its interval, and its control as a mark.

    Parameters
    ----------
    rows
        Label, rate, and the rate of the control (or None).
    """
    left, right = 204.0, WIDE - 132.0
    inside = [_text(left, 11, "0 %", "faint"), _text(right, 11, "100 %", "faint", "end")]
    y = 18.0
    for label, rate, control in rows:
        inside.append(_text(left - 12, y + 15, label, "soft", "end"))
        inside.append(_box(left, y + 3, right - left, 15, "track"))
        if rate is None or rate["rate"] is None:
            inside.append(_text(left + 8, y + 15, "not measured", "faint"))
            y += ROW
            continue
        scale = right - left
        inside.append(_box(left, y + 3, rate["rate"] * scale, 15, "accent"))
        low, high = (left + bound * scale for bound in rate["interval"])
        inside += [
            _line(low, y + 10.5, high, y + 10.5, "whisker"),
            _line(low, y + 6, low, y + 15, "whisker"),
            _line(high, y + 6, high, y + 15, "whisker"),
        ]
        if control is not None and control["rate"] is not None:
            at = left + control["rate"] * scale
            inside.append(f'<path d="M{at:.1f} {y + 1:.1f}v19" class="control"/>')
        inside.append(_text(right + 12, y + 15, f"{percent(rate['rate'])} of {rate['n']:,}", "ink"))
        y += ROW
    return _svg(y + 4, told, inside)


def curves(
    sizes: Sequence[float], lines: Mapping[str, Sequence[Mapping[str, Any]]], told: str
) -> Markup:
    """Accuracy over the size of the change, an equal step for each size, the band of the `worst` line shaded."""
    left, right, top, base = 52.0, WIDE - 120.0, 12.0, 236.0
    step = (right - left) / max(len(sizes) - 1, 1)
    xs = [left + place * step for place in range(len(sizes))]

    def at(value: float) -> float:
        return base - value * (base - top)

    inside = []
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        inside.append(_line(left, at(mark), right, at(mark), "grid-line"))
        inside.append(_text(left - 8, at(mark) + 4, f"{mark:.0%}", "faint", "end"))
    for x, size in zip(xs, sizes, strict=True):
        inside.append(_text(x, base + 18, f"{size:g}/255", "faint", "middle"))
    worst = lines.get("worst")
    if worst:
        upper = [f"{x:.1f},{at(row['interval'][1]):.1f}" for x, row in zip(xs, worst, strict=True)]
        lower = [f"{x:.1f},{at(row['interval'][0]):.1f}" for x, row in zip(xs, worst, strict=True)]
        inside.append(f'<polygon points="{" ".join(upper + lower[::-1])}" class="band"/>')
    labels = sorted(
        ((at(rows[-1]["rate"] or 0.0), name) for name, rows in lines.items()), reverse=True
    )
    for name, rows in lines.items():
        points = " ".join(
            f"{x:.1f},{at(row['rate'] or 0):.1f}" for x, row in zip(xs, rows, strict=True)
        )
        kind = {"worst": "line-main", "noise": "line-control"}.get(name, "line-other")
        inside.append(f'<polyline points="{points}" class="{kind}"/>')
    lowest = base + 4
    for y, name in labels:
        y = min(y, lowest)
        inside.append(_text(right + 10, y + 4, name, "soft"))
        lowest = y - 14
    return _svg(base + 28, told, inside)


def matrix(found: Mapping[str, Any], told: str) -> Markup:
    """Groups × attributes as shades: stronger where the correlation is; a mark where its interval leaves 0 out."""
    names, rows = found["attributes"], found["matrix"]
    left, top, tall = 170.0, 30.0, 32.0
    wide = (WIDE - left - 8) / max(len(names), 1)
    top_value = max([abs(cell["value"]) for row in rows for cell in row] + [STRONG])
    inside = [
        _text(left + (place + 0.5) * wide, 20, name, "soft", "middle")
        for place, name in enumerate(names)
    ]
    for line, (group, row) in enumerate(zip(found["groups"], rows, strict=True)):
        y = top + line * tall
        inside.append(_text(left - 12, y + 21, group, "soft", "end"))
        for place, cell in enumerate(row):
            x = left + place * wide
            shade = abs(cell["value"]) / top_value
            kind = "accent" if cell["value"] >= 0 else "against"
            inside.append(_box(x + 1, y + 1, wide - 2, tall - 2, "track"))
            inside.append(
                _box(x + 1, y + 1, wide - 2, tall - 2, kind, f' fill-opacity="{0.65 * shade:.3f}"')
            )
            low, high = cell["interval"]
            sure = "" if low <= 0 <= high else " *"
            told_value = number(cell["value"], sign=True) + sure
            inside.append(_text(x + wide / 2, y + 21, told_value, "ink", "middle"))
    return _svg(top + len(rows) * tall + 4, told, inside)


def intervals(rows: Sequence[tuple[str, float, float, float]], told: str) -> Markup:
    """Numbers with their intervals around zero."""
    left, right = 250.0, WIDE - 96.0
    reach = max([abs(bound) for _, _, low, high in rows for bound in (low, high)] + [0.1])
    reach = min(reach, 2.5) * 1.05
    zero = (left + right) / 2

    def at(value: float) -> float:
        return zero + max(-1.0, min(1.0, value / reach)) * (right - left) / 2

    height = 8 + ROW * len(rows)
    inside = [_line(zero, 2, zero, height, "axis")]
    for place, (label, value, low, high) in enumerate(rows):
        y = 8 + place * ROW
        inside.append(_text(left - 12, y + 14, label, "soft", "end"))
        inside.append(_line(at(low), y + 10, at(high), y + 10, "whisker"))
        inside.append(f'<circle cx="{at(value):.1f}" cy="{y + 10:.1f}" r="4.5" class="accent"/>')
        inside.append(_text(right + 12, y + 14, number(value, sign=True), "ink"))
    return _svg(height + 4, told, inside)


def pair_lines(rows: Sequence[Mapping[str, Any]], told: str) -> Markup:
    """Attack and clean accuracy while units are switched off, beside random units."""
    series = {
        "attack": [row["to_word"]["rate"] for row in rows],
        "attack, random": [(row.get("random") or row)["to_word"]["rate"] for row in rows],
        "clean": [row["clean"]["rate"] for row in rows],
        "clean, random": [(row.get("random") or row)["clean"]["rate"] for row in rows],
    }
    left, right, top, base = 52.0, WIDE - 130.0, 12.0, 186.0
    step = (right - left) / max(len(rows) - 1, 1)

    def at(value: float | None) -> float:
        return base - (value or 0.0) * (base - top)

    inside = []
    for mark in (0.0, 0.5, 1.0):
        inside.append(_line(left, at(mark), right, at(mark), "grid-line"))
        inside.append(_text(left - 8, at(mark) + 4, f"{mark:.0%}", "faint", "end"))
    for place, row in enumerate(rows):
        label = f"{row['units']} units off" if place else "all on"
        inside.append(_text(left + place * step, base + 18, label, "faint", "middle"))
    ends = []
    for name, values in series.items():
        points = " ".join(f"{left + i * step:.1f},{at(v):.1f}" for i, v in enumerate(values))
        kind = ("line-against" if name.startswith("attack") else "line-main") + (
            " dashed" if name.endswith("random") else ""
        )
        inside.append(f'<polyline points="{points}" class="{kind}"/>')
        ends.append((at(values[-1]), name))
    lowest = math.inf
    for y, name in sorted(ends, reverse=True):
        y = min(y, lowest)
        inside.append(_text(right + 10, y + 4, name, "soft"))
        lowest = y - 14
    return _svg(base + 28, told, inside)


def percent(value: float | None) -> str:
    """A share in per cent.

    Examples
    --------
    >>> percent(0.1234), percent(None)
    ('12.3 %', '–')
    """
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: float | None, *, sign: bool = False) -> str:
    """A number with two decimals and a real minus sign.

    Examples
    --------
    >>> number(-1.084), number(0.5, sign=True), number(None)
    ('−1.08', '+0.50', '–')
    """
    return "–" if value is None else f"{value:{'+' if sign else ''}.2f}".replace("-", "−")
