"""Recording's statistics and exemplars again, slower and plainer: fractions, lists and sorting."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

MASK = (1 << 64) - 1


def rounded(value: float) -> float:
    """An activation as an atlas keeps it; NaN for one that is not finite."""
    if not math.isfinite(value):
        return math.nan
    return float(np.float16(min(max(value, -65504.0), 65504.0))) + 0.0


def statistics(values: list[float]) -> dict[str, object]:
    """Statistics of one unit over the values of some images."""
    known = [Fraction(value) for value in values if not math.isnan(value)]
    count = len(known)
    found: dict[str, object] = {"count": count, "nonfinite": len(values) - count}
    if not count:
        return found
    total = sum(known, Fraction(0))
    squares = sum((value * value for value in known), Fraction(0))
    mean = total / count
    spread = sum(((value - mean) ** 2 for value in known), Fraction(0))
    return found | {
        "total": total,
        "squares": squares,
        "mean": float(mean),
        "m2": float(spread),
        "std": math.sqrt(spread / count),
        "minimum": float(min(known)),
        "maximum": float(max(known)),
    }


def code(value: float) -> int:
    """Rank of a float16 among all float16 bit patterns, negative ones first."""
    bits = int(np.array(value, np.float16).view(np.uint16))
    return 0xFFFF - bits if bits >= 0x8000 else bits + 0x8000


def id_hash(image: int) -> int:
    """Splitmix64 in Python integers."""
    mixed = (image + 0x9E3779B97F4A7C15) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


Image = tuple[int, float, int]


def exemplars(images: list[Image], limit: int, per_bin: int) -> dict[str, list[Image]]:
    """Top, bottom and stratified (id, value, position) of one unit in one group."""
    known = [image for image in images if not math.isnan(image[1])]
    bins: dict[int, list[Image]] = {}
    for image in known:
        bins.setdefault(code(image[1]) // 512, []).append(image)
    drawn = [
        image
        for number in sorted(bins)
        for image in sorted(bins[number], key=lambda image: id_hash(image[0]))[:per_bin]
    ]
    return {
        "top": sorted(known, key=lambda image: (-image[1], image[0]))[:limit],
        "bottom": sorted(known, key=lambda image: (image[1], image[0]))[:limit],
        "stratified": drawn,
    }
