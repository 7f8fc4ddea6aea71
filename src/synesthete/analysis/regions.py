"""Regions of a map: where its dots crowd together, and what the neurons there have in common more than by chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from synesthete._core.arrays import Float64, Int64
from synesthete.analysis.significance import benjamini_hochberg

SIDES = (20, 40, 80)  # cells along each side, from the whole map to near
LEAST, LEVEL = 4, 0.05


@dataclass(frozen=True, kw_only=True)
class Region:
    """A crowd of dots with a label.

    Attributes
    ----------
    text
        What its neurons have in common.
    x, y
        The mean place of those.
    count, units
        How many of its neurons share the text, and how many it has.
    q
        The smallest false discovery rate, over the regions of its level, at which the label holds.
    level
        0 on the whole map, higher when one is near.
    """

    text: str
    x: float
    y: float
    count: int
    units: int
    q: float
    level: int


def label_regions(
    x: Float64, y: Float64, groups: Iterable[tuple[str, Sequence[int]]]
) -> list[Region]:
    """Find the regions of a map at several levels and label those that a group of neurons is overrepresented in.

    A region is what drains into one maximum of the smoothed density of dots. Its label is the group whose number of members there is
    least likely by chance (binomial with the group's share of all dots, times the number of groups), where the false discovery rate over
    the regions of the level is at most 5 % (Benjamini and Hochberg 1995); other regions have none.

    Parameters
    ----------
    x, y
        `[dots]`.
    groups
        Text → its dots, such as a family, a concept, or what concepts are kinds of.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = np.r_[rng.normal(0, 1, 200), rng.normal(20, 1, 200)]
    >>> [(one.text, one.count, one.units) for one in label_regions(x, x, [("far", range(200, 400))]) if not one.level]
    [('far', 200, 200)]
    """
    members = [(text, np.asarray(list(dots), np.int64)) for text, dots in groups]
    members = [(text, dots) for text, dots in members if len(dots) >= LEAST]
    if not members or len(x) < 2 * LEAST:
        return []
    dots = np.concatenate([dots for _, dots in members])
    group = np.repeat(np.arange(len(members)), [len(dots) for _, dots in members])
    ones = np.ones(len(dots), np.float64)
    member = sparse.csr_array((ones, (dots, group)), shape=(len(x), len(members)))
    share = np.asarray([len(dots) for _, dots in members], np.float64) / len(x)
    found: list[Region] = []
    for level, side in enumerate(SIDES):
        basin, basins = _basins(x, y, side)
        found += _labelled(
            level, (x, y), basin, basins, member, share, [text for text, _ in members]
        )
    return found


def _labelled(
    level: int,
    place: tuple[Float64, Float64],
    basin: Int64,
    basins: int,
    member: sparse.csr_array,
    share: Float64,
    texts: Sequence[str],
) -> list[Region]:
    from scipy.special import bdtrc

    there = np.arange(len(basin))
    of = sparse.csr_array((np.ones(len(basin)), (basin, there)), shape=(basins, len(basin)))
    count = (of @ member).toarray()  # [basins, groups]
    size = np.bincount(basin, minlength=basins).astype(np.float64)
    tail = bdtrc(count - 1, size[:, None].astype(np.int64), share[None])
    p = np.where(count >= LEAST, tail, 1.0)
    # Of equally unlikely ones the largest: counts far from chance all have p 0.
    best = np.lexsort((-count, p), axis=1)[:, 0]
    q = benjamini_hochberg(np.minimum(p[np.arange(basins), best] * len(texts), 1.0))
    columns = member.tocsc()
    found = []
    for one in np.flatnonzero(q <= LEVEL).tolist():
        group = int(best[one])
        dots = columns.indices[columns.indptr[group] : columns.indptr[group + 1]]
        own = dots[basin[dots] == one]
        region = Region(
            text=texts[group],
            x=float(place[0][own].mean()),
            y=float(place[1][own].mean()),
            count=len(own),
            units=int(size[one]),
            q=float(q[one]),
            level=level,
        )
        found.append(region)
    return sorted(found, key=lambda one: (one.q, -one.count, one.text))


def _basins(x: Float64, y: Float64, side: int) -> tuple[Int64, int]:
    """Of each dot the maximum of the density that it lies under, `[dots]`, and how many maxima there are."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    cell = _cells(x, side) * side + _cells(y, side)
    density = np.bincount(cell, minlength=side * side).reshape(side, side).astype(np.float64)
    smooth = gaussian_filter(density, 1.0)
    # Each cell leads to the highest of its neighbours, until it is its own.
    highest = maximum_filter(smooth, size=3, mode="nearest")
    leads = np.arange(side * side)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            moved = np.full_like(smooth, -1.0)
            to = np.full(smooth.shape, -1, np.int64)
            rows, columns = np.indices(smooth.shape)
            a, b = rows + down, columns + right
            inside = (a >= 0) & (a < side) & (b >= 0) & (b < side)
            moved[inside] = smooth[a[inside], b[inside]]
            to[inside] = a[inside] * side + b[inside]
            leads = np.where((moved == highest).ravel(), to.ravel(), leads)
    for _ in range(side * side):
        further = leads[leads]
        if (further == leads).all():
            break
        leads = further
    maxima, basin = np.unique(leads[cell], return_inverse=True)
    return basin.astype(np.int64), len(maxima)


def _cells(values: Float64, side: int) -> Int64:
    """Of values the cell of `side` between the lowest and the highest."""
    low, high = float(values.min()), float(values.max())
    along = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.minimum((along * side).astype(np.int64), side - 1)
