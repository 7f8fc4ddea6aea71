"""Activation drift: population stability index of units between two times, with alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, false_discovery_control

from synesthete._core.arrays import Float64, Int64
from synesthete._core.intervals import percentile_interval
from synesthete.catalog.events import microseconds
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog.catalog import Catalog
    from synesthete.catalog.events import EventLog

BINS = 10
WATCH, ALERT = 0.1, 0.25
Q = 0.01
RESAMPLES = 500
Level = Literal["stable", "watch", "alert"]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far one unit's activations moved.

    Attributes
    ----------
    name
        The unit or concept.
    psi
        Population stability index, in nats.
    low, high
        95 % interval (bootstrap of both samples).
    chance
        What it would be on average with samples of these sizes if nothing had moved.
    p, q
        Chance of so high an index if nothing had moved; false discovery rate over all units looked at.
    n_before, n_now
        Images of each time.
    level
        `alert` from 0.25 on, `watch` from 0.1 on, if q is at most 1 %; else `stable`.
    """

    name: str
    psi: float
    low: float
    high: float
    chance: float
    p: float
    q: float
    n_before: int
    n_now: int
    level: Level


def stability(before: npt.ArrayLike, now: npt.ArrayLike) -> float:
    """Population stability index of binned counts: sum of (now - before) ln(now / before) over shares (Siddiqi 2006).

    Half an image is added to each bin, so that an empty one does not make it infinite.

    Parameters
    ----------
    before, now
        `[bins]`, counts.

    Examples
    --------
    >>> round(stability([50, 50], [50, 50]), 4), round(stability([49.5, 49.5], [74.5, 24.5]), 4)
    (0.0, 0.2747)
    """
    return float(_indices(np.asarray(before), np.asarray(now)))


def drift(
    before: npt.ArrayLike,
    now: npt.ArrayLike,
    names: Sequence[str],
    *,
    counts: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    bins: int = BINS,
    seed: int = 0,
) -> list[Drift]:
    """How far each unit's activations moved between two times, the furthest first.

    Bins hold equal shares of the images of before. If nothing moved, the index times n m / (n + m) follows
    chi-squared with one degree of freedom less than bins (Yurdakul & Naranjo 2020, *Statistical properties of the
    population stability index*): that gives `chance` and `p`, so that small samples raise no alarm.

    Parameters
    ----------
    before, now
        `[images, units]`, activations.
    names
        Of the units.
    counts
        How often each image of before and of now counts; without them once.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> then, now = rng.normal(size=(500, 2)), rng.normal(size=(400, 2)) + [0, 1]
    >>> [(one.name, one.level) for one in drift(then, now, ["still", "moved"])]
    [('moved', 'alert'), ('still', 'stable')]
    """
    then, later = np.asarray(before, np.float64), np.asarray(now, np.float64)
    if then.ndim != 2 or later.ndim != 2 or {then.shape[1], later.shape[1]} != {len(names)}:
        raise SynestheteError(
            f"activations of shapes {then.shape} and {later.shape} for {len(names)} units"
        )
    given = counts or (np.ones(len(then)), np.ones(len(later)))
    often = [np.asarray(some, np.int64) for some in given]
    n, m = (int(some.sum()) for some in often)
    if n < bins or not m:
        raise SynestheteError(
            f"{n} images before and {m} now", hint=f"at least {bins} before and 1 now"
        )
    if not (np.isfinite(then).all() and np.isfinite(later).all()):
        raise SynestheteError("an activation is not finite")
    rng = np.random.default_rng(seed)
    scale = n * m / (n + m)
    rows = []
    for unit in range(len(names)):
        # Repeated unit by unit: all units of a million impressions at once would take gigabytes.
        values = [
            np.repeat(one[:, unit], some) for one, some in zip((then, later), often, strict=True)
        ]
        edges = np.unique(np.quantile(values[0], np.linspace(0, 1, bins + 1)[1:-1]))
        binned = [_counts(one, edges) for one in values]
        psi = stability(*binned)
        freedom = max(len(binned[0]) - 1, 1)
        drawn = (rng.multinomial(one.sum(), one / one.sum(), RESAMPLES) for one in binned)
        again = _indices(*drawn)
        # A resample of a resample moves as much again: the bootstrap is turned round its value.
        low, high = percentile_interval(again)
        rows.append((psi, max(0.0, 2 * psi - high), max(psi, 2 * psi - low), freedom))
    p = np.array([chi2.sf(psi * scale, freedom) for psi, *_, freedom in rows])
    q = false_discovery_control(p) if len(p) else p
    found = [
        Drift(
            name=name,
            psi=psi,
            low=float(low),
            high=float(high),
            chance=freedom / scale,
            p=float(p[i]),
            q=float(q[i]),
            n_before=n,
            n_now=m,
            level=_level(psi, float(q[i])),
        )
        for i, (name, (psi, low, high, freedom)) in enumerate(zip(names, rows, strict=True))
    ]
    return sorted(found, key=lambda one: (-one.psi, one.name))


def drift_since(catalog: Catalog, log: EventLog, day: date) -> list[Drift]:
    """How far units moved between the items shown before a day (UTC) and those shown from it on, the furthest first.

    Every impression of an item with an image counts once.

    Raises
    ------
    SynestheteError
        No such impressions before the day or from it on, or too few of them.
    """
    moment = datetime.combine(day, datetime.min.time(), UTC)
    query = (
        "SELECT item, SUM(CASE WHEN time < :moment THEN 1 ELSE 0 END), COUNT(*) FROM events"
        " WHERE kind = 'impression' GROUP BY item"
    )
    with log.reading() as connection:
        given = {"moment": microseconds(moment)}
        rows = connection.execute(query, given).fetchall() if connection else []
    shown = sorted(tuple(row) for row in rows if row[0] in catalog)
    if not shown:
        raise SynestheteError(f"there are no impressions of images before or from {day} on")
    units = np.array(list(catalog.units([item for item, *_ in shown])))
    with_image = ~np.isnan(units).any(axis=1)
    before = np.array([some for _, some, _ in shown], np.int64)
    now = np.array([total - some for _, some, total in shown], np.int64)
    early, late = with_image & (before > 0), with_image & (now > 0)
    if not (early.any() and late.any()):
        raise SynestheteError(f"there are no impressions of images before or from {day} on")
    layer = catalog.manifest["model"]["layer"]
    names = [f"{layer}:{unit}" for unit in range(units.shape[1])]
    return drift(units[early], units[late], names, counts=(before[early], now[late]))


def _indices(before: npt.NDArray[np.generic], now: npt.NDArray[np.generic]) -> Float64:
    p, q = (np.asarray(counts, np.float64) + 0.5 for counts in (before, now))
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def _counts(values: Float64, edges: Float64) -> Int64:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


def _level(psi: float, q: float) -> Level:
    if q > Q or psi < WATCH:
        return "stable"
    return "alert" if psi >= ALERT else "watch"
