"""A sum of units as a drawing: a bar per unit, to the right what adds, to the left what takes away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synesthete.visualization.drawing import STACK, element, escape, line, rectangle, shorten, text

WIDTH, LEFT, ROW = 720, 300, 26


def signed(weight: float) -> str:
    """A weight with its sign.

    Examples
    --------
    >>> signed(-0.25)
    '−0.250'
    """
    return f"{weight:+.3f}".replace("-", "−")


def sum_chart(
    title: str,
    subtitle: str,
    terms: Sequence[tuple[str, str, float]],
    *,
    told: Callable[[float], str] = signed,
) -> str:
    """The whole drawing as SVG.

    Parameters
    ----------
    title, subtitle
        Two lines above.
    terms
        Address, what the unit is called, and its weight, in the order drawn.
    told
        How a weight is written.
    """
    height = 84 + ROW * len(terms) + 16
    low = min([0.0, *(weight for *_, weight in terms)])
    high = max([0.0, *(weight for *_, weight in terms)])
    scale = (WIDTH - LEFT - 80) / max(high - low, 1e-12)
    zero = LEFT - low * scale
    pieces = [
        rectangle(0, 0, WIDTH, height, "ground"),
        text(30, 34, shorten(title, WIDTH - 60, 17), size=17, weight=600),
        text(30, 56, shorten(subtitle, WIDTH - 60, 12), size=12, colour="soft"),
        line(zero, 70, zero, 84 + ROW * len(terms), "line"),
    ]
    for i, (address, called, weight) in enumerate(terms):
        y = 80 + i * ROW
        pieces.append(text(30, y + 15, shorten(address, 150, 11), size=11, colour="faint"))
        pieces.append(text(188, y + 15, shorten(called or "–", LEFT - 200, 13), size=13))
        x = zero + min(weight, 0.0) * scale
        colour = "accent" if weight >= 0 else "other"
        pieces.append(rectangle(x, y + 4, abs(weight) * scale, ROW - 12, colour))
        end = zero + max(weight, 0.0) * scale + 6
        pieces.append(text(end, y + 15, told(weight), size=11, colour="soft"))
    said = "; ".join(f"{called or address} {told(weight)}" for address, called, weight in terms)
    return element(
        "svg", element("title", escape(f"{title}: {said}")), *pieces,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", width=WIDTH,
        height=height, font_family=STACK, role="img",
    )  # fmt: skip
