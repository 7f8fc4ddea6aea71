"""Charts of an experiment as inline SVG: two rates with intervals, and how the bounds of the lift narrowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from synesthete.catalog.metrics import Estimate, Lift

WIDE = 640
FIRST = 8


def rates_chart(rows: Sequence[tuple[str, Estimate]]) -> str:
    """A bar with its interval for each row, on one scale; rows without a number say so."""
    top = max([one.high for _, one in rows if one.n] + [0.01]) * 1.1
    left, right, tall = 150.0, WIDE - 130.0, 36.0
    inside = []
    for place, (name, one) in enumerate(rows):
        y = 6 + place * tall
        inside.append(_text(left - 12, y + 19, name, "soft", "end"))
        inside.append(_box(left, y + 5, right - left, 18, "track"))
        if not one.n:
            inside.append(_text(left + 8, y + 19, "nothing yet", "faint"))
            continue
        scale = (right - left) / top
        inside.append(
            _box(left, y + 5, one.value * scale, 18, "other" if name == "A" else "accent")
        )
        low, high = left + max(one.low, 0) * scale, left + min(one.high, top) * scale
        inside.append(_line(low, y + 14, high, y + 14, "whisker"))
        inside += [_line(x, y + 10, x, y + 18, "whisker") for x in (low, high)]
        inside.append(_text(right + 10, y + 19, f"{100 * one.value:.3g} % · n = {one.n:,}", "ink"))
    told = "; ".join(f"{name} {one}" for name, one in rows)
    return _svg(WIDE, 10 + tall * len(rows), told, inside, "rates")


def lift_chart(lift: Lift) -> str:
    """The bounds of B - A after so many pairs, on a logarithmic axis of pairs; the verdict's moment is marked."""
    looks = [one for one in lift.looks if one.pairs >= FIRST]
    if len(looks) < 2:
        return _svg(
            WIDE,
            40,
            "Too few pairs for a chart",
            [_text(8, 24, "too few pairs for a chart", "faint")],
            "lift",
        )
    left, right, top, floor = 56.0, WIDE - 16.0, 12.0, 190.0
    # The first looks span everything; the scale is that of the later half, and earlier bounds run out of it.
    late = looks[len(looks) // 2 :]
    reach = max(0.01, *(abs(value) for one in late for value in (one.low, one.high)))
    first, last = math.log(looks[0].pairs), math.log(looks[-1].pairs)
    span = max(last - first, 1e-9)

    def x(pairs: int) -> float:
        return left + (math.log(pairs) - first) / span * (right - left)

    def y(value: float) -> float:
        kept = min(max(value, -reach), reach)
        return (top + floor) / 2 - kept / reach * (floor - top) / 2

    upper = [f"{x(one.pairs):.1f},{y(one.high):.1f}" for one in looks]
    lower = [f"{x(one.pairs):.1f},{y(one.low):.1f}" for one in looks]
    line = " ".join(f"{x(one.pairs):.1f},{y(one.value):.1f}" for one in looks)
    inside = [
        f'<polygon points="{" ".join(upper + lower[::-1])}" class="track band"/>',
        _line(left, y(0), right, y(0), "axis"),
        f'<polyline points="{line}" class="curve" fill="none"/>',
    ]
    for value in (-reach, 0.0, reach):
        inside.append(
            _text(left - 8, y(value) + 4, f"{value:+.2g}" if value else "0", "faint", "end")
        )
    for one in (looks[0], looks[len(looks) // 2], looks[-1]):
        anchor = "start" if one is looks[0] else "end" if one is looks[-1] else "middle"
        inside.append(_text(x(one.pairs), floor + 18, f"{one.pairs:,}", "faint", anchor))
    inside.append(_text(right, floor + 34, "pairs of visitors", "faint", "end"))
    if lift.decided_after is not None and lift.decided_after >= looks[0].pairs:
        at = x(lift.decided_after)
        inside.append(_line(at, top, at, floor, "whisker"))
        anchor = "end" if at > (left + right) / 2 else "start"
        inside.append(
            _text(at + (6 if anchor == "start" else -6), top + 10, "decided here", "faint", anchor)
        )
    told = (
        f"B - A is {lift.difference.value:+.3g}, between {lift.difference.low:+.3g} and {lift.difference.high:+.3g} "
        f"after {lift.difference.pairs:,} pairs: {lift.verdict}"
    )
    return _svg(WIDE, floor + 42, told, inside, "lift")


def _svg(width: float, height: float, told: str, inside: Sequence[str], kind: str) -> str:
    said = escape(told)
    return (
        f'<svg class="chart {kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{said}">'
        f"<title>{said}</title>{''.join(inside)}</svg>"
    )


def _text(x: float, y: float, told: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(told)}</text>'
    )


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" class="{kind}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'
