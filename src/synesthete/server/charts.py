"""Charts as inline SVG. Colours come from the style sheet by class, since the policy of the pages forbids inline styles."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from synesthete.server.counts import Count, Counts
from synesthete.server.distribution import Distribution, Meaning

WIDE = 480


def _svg(width: float, height: float, told: str, inside: Sequence[str], kind: str) -> Markup:
    body = "".join(inside)
    # An image has no parts; a chart with links in it is a group.
    role = "group" if "<a " in body else "img"
    return Markup(
        f'<svg class="chart {kind}" viewBox="0 0 {width:g} {height:g}" role="{role}" aria-label="{escape(told)}">'
        f"<title>{escape(told)}</title>{body}</svg>"
    )


def _text(x: float, y: float, told: object, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(str(told))}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" '
        f'class="{kind}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def share_bar(row: Count, counts: Counts, *, accent: bool) -> Markup:
    """One of the three shares with its interval; all bars of a headline have one scale."""
    rows = (counts.model, counts.random_twin, counts.shuffled)
    top = min(1.0, 1.08 * max([one.high or 0.0 for one in rows] + [0.01]))
    inside = [_box(0, 0, 100, 20, "track")]
    if row.share is not None and row.low is not None and row.high is not None:
        inside.append(_box(0, 0, row.share / top * 100, 20, "accent" if accent else "other"))
        low, high = row.low / top * 100, row.high / top * 100
        inside.append(_line(low, 10, high, 10, "whisker"))
        inside += [_line(x, 6, x, 14, "whisker") for x in (low, high)]
    body = "".join(inside).replace("<line ", '<line vector-effect="non-scaling-stroke" ')
    return Markup(
        f'<svg class="bar" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">{body}</svg>'
    )


def auc_bar(value: float | None, threshold: float) -> Markup:
    """One AUC from 0.5 to 1, with the threshold."""
    told = "not tested" if value is None else f"AUC {value:.3f}, threshold {threshold:g}"
    mark = (threshold - 0.5) * 2 * 200
    inside = [_box(0, 4, 200, 8, "track")]
    if value is not None:
        kind = "accent" if value >= threshold else "other"
        inside.append(_box(0, 4, max(0.0, value - 0.5) * 2 * 200, 8, kind))
    inside.append(_line(mark, 0, mark, 16, "whisker"))
    return _svg(200, 16, told, inside, "auc")


def histogram(found: Distribution) -> Markup:
    """How many images excite a neuron how much, on a scale of square roots; its concept's images in the accent colour."""
    left, floor, top = 2.0, 150.0, 18.0
    most, bins = max([*found.counts, 1]), len(found.counts)
    every = max(1, len(found.edges) // 6)
    step = (WIDE - 2 * left) / len(found.counts)

    def tall(count: int) -> float:
        return math.sqrt(count / most) * (floor - top)

    inside = []
    for place, count in enumerate(found.counts):
        x = left + place * step
        inside.append(_box(x + 0.5, floor - tall(count), step - 1, tall(count), "other"))
        own = found.own[place] if found.own is not None else 0
        if own:
            inside.append(_box(x + 0.5, floor - tall(own), step - 1, tall(own), "accent"))
    inside.append(_line(left, floor, WIDE - left, floor, "axis"))
    for place, edge in enumerate(found.edges):
        if (place % every == 0 and place <= len(found.edges) - every) or place == len(
            found.edges
        ) - 1:
            inside.append(
                _text(left + place * step, floor + 18, f"{edge:.2g}", "faint", _anchor(place, bins))
            )
    highest = found.counts.index(max(found.counts)) if found.counts else 0
    beside = left + (highest + 1) * step + 5
    late = highest > bins / 2
    x, side = (beside - step - 10, "end") if late else (beside, "start")
    inside.append(_text(x, top + 8, f"{most:,} images", "faint", side))
    told = f"Activations of {found.images:,} images, from {found.edges[0]:.2g} to {found.edges[-1]:.2g}"
    return _svg(WIDE, floor + 26, told, inside, "histogram")


def meaning_chart(found: Meaning) -> Markup:
    """P(concept | activation): a row of bars for each concept, with 95 % intervals."""
    left, right, tall = 128.0, WIDE - 2.0, 46.0
    bins = len(found.edges) - 1
    step = (right - left) / bins
    inside = []
    for place, curve in enumerate(found.curves):
        floor = 40 + place * tall
        inside.append(
            f'<a href="{escape(curve.path)}">{_text(left - 10, floor - 10, _short(curve.concept), "link", "end")}</a>'
        )
        inside.append(_line(left, floor, right, floor, "axis"))
        for b in range(bins):
            share = curve.share[b]
            if share is None:
                continue
            x, high = left + b * step, floor - 34
            inside.append(_box(x + 2, floor - share * 34, step - 4, share * 34, "accent"))
            middle = x + step / 2
            inside.append(
                _line(
                    middle,
                    floor - curve.low[b] * 34,
                    middle,
                    max(high, floor - curve.high[b] * 34),
                    "whisker",
                )
            )
    bottom = 40 + (len(found.curves) - 1) * tall + 16
    for b in range(0, bins + 1, 2):
        inside.append(
            _text(left + b * step, bottom, f"{found.edges[b]:.1f}", "faint", _anchor(b, bins))
        )
    inside.append(_text(right, bottom + 14, "activation in standard deviations", "faint", "end"))
    told = "; ".join(
        f"{curve.concept} at most {max([s for s in curve.share if s is not None], default=0):.0%}"
        for curve in found.curves
    )
    return _svg(
        WIDE,
        bottom + 22,
        f"Probability of a concept given the activation: {told}",
        inside,
        "meaning",
    )


def signed_bars(rows: Sequence[tuple[str, str, float]]) -> Markup:
    """What each of several units adds (label, path, value): bars to the right for, to the left against."""
    most = max([abs(value) for *_, value in rows] + [1e-9])
    tall, middle, reach = 26.0, WIDE / 2, 180.0
    inside = [_line(middle, 0, middle, tall * len(rows), "axis")]
    for place, (label, path, value) in enumerate(rows):
        y, wide = place * tall, abs(value) / most * reach
        inside.append(
            _box(
                middle if value >= 0 else middle - wide,
                y + 5,
                wide,
                16,
                "accent" if value >= 0 else "against",
            )
        )
        words = _text(
            middle - 10 if value >= 0 else middle + 10, y + 17, _short(label, 30), "link",
            "end" if value >= 0 else "start",
        )  # fmt: skip
        inside.append(f'<a href="{escape(path)}">{words}</a>')
        x = middle + wide + 6 if value >= 0 else middle - wide - 6
        inside.append(_text(x, y + 17, f"{value:+.3f}", "faint", "start" if value >= 0 else "end"))
    told = "; ".join(f"{label} {value:+.3f}" for label, _, value in rows)
    return _svg(WIDE, tall * len(rows) + 4, told, inside, "signed")


def _anchor(place: int, last: int) -> str:
    """Labels of an axis stay inside it: the first begins at its place, the last ends there."""
    return "start" if place == 0 else "end" if place == last else "middle"


def _short(told: str, most: int = 20) -> str:
    return told if len(told) <= most else told[: most - 1] + "…"
