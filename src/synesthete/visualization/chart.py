"""The distribution of a neuron's activations: all images as a histogram, its own concept as ticks."""

from __future__ import annotations

import math

import numpy as np

from synesthete.visualization.drawing import group, line, rectangle, text
from synesthete.visualization.facts import CardFacts

HEIGHT = 92
STRIP = 15


def distribution_chart(facts: CardFacts, left: float, right: float, y: float) -> tuple[str, float]:
    """The histogram (counts on a logarithmic scale) with a strip of ticks per modality beneath.

    Parameters
    ----------
    facts
        The card's facts.
    left, right, y
        Where it stands, in pixels.

    Returns
    -------
    tuple
        The drawing, and its height in pixels.
    """
    distribution = facts.distribution
    low, high = float(distribution.edges[0]), float(distribution.edges[-1])
    scale = (right - left) / (high - low)
    base = y + HEIGHT
    highest = max(int(distribution.counts.max(initial=0)), 1)
    unit = (HEIGHT - 14) / math.log10(1 + highest)
    pieces = [text(left, y + 4, "images (logarithmic)", size=11, colour="faint")]
    for power in range(int(math.log10(highest)) + 1):
        level = base - unit * math.log10(1 + 10**power)
        pieces.append(line(left, level, right, level, "track"))
        pieces.append(
            text(left - 8, level + 3.5, f"{10**power:,}", size=10.5, colour="faint", anchor="end")
        )
    step = (right - left) / len(distribution.counts)
    for place, count in enumerate(distribution.counts.tolist()):
        if count:
            tall = unit * math.log10(1 + count)
            pieces.append(
                rectangle(left + place * step + 0.5, base - tall, step - 1, tall, "other")
            )
    pieces.append(line(left, base, right, base, "soft"))
    strips = base + 8.0
    for name, values in distribution.own.items():
        pieces.append(
            text(
                left - 8, strips + 9, name or "no modality", size=10.5, colour="faint", anchor="end"
            )
        )
        pieces.append(rectangle(left, strips, right - left, STRIP - 4, "track"))
        for value in np.unique(values).tolist():
            at = left + (value - low) * scale
            pieces.append(line(at, strips, at, strips + STRIP - 4, "accent", stroke=1.5))
        strips += STRIP
    for value in ticks(low, high):
        at = left + (value - low) * scale
        pieces.append(line(at, base, at, base + 4, "soft"))
        pieces.append(
            text(
                at,
                strips + 14,
                f"{value:g}".replace("-", "−"),
                size=10.5,
                colour="soft",
                anchor="middle",
            )
        )
    if distribution.own:
        told = f"ticks: activation of each image of {facts.neuron.concept or 'its concept'}"
        pieces.append(text(left, strips + 32, told, size=11, colour="faint"))
    return group(pieces), strips + 40 - y


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
