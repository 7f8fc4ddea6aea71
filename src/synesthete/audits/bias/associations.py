"""Associations of groups with attributes: of text embeddings (WEAT), and of the units that both excite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Floating
from synesthete._core.intervals import bootstrap_interval
from synesthete.errors import SynestheteError

EXACT_UP_TO = 20_000
SAMPLED = 10_000
DRAWS = 1000
SHARED = 5
UNIT_DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class Weat:
    """One association test.

    Attributes
    ----------
    effect
        Difference of the mean lean of X and of Y by the standard deviation of all leans (ddof 1): between -2 and 2.
    low, high
        95 % bootstrap interval over the targets.
    p
        Share of the equal partitions of X ∪ Y whose difference is at least as great: one-sided.
    partitions
        How many were looked at.
    exact
        Whether these were all.
    lean_x, lean_y
        Mean lean of each set of targets: cosine to A minus cosine to B.
    """

    effect: float
    low: float
    high: float
    p: float
    partitions: int
    exact: bool
    lean_x: float
    lean_y: float


def leans(targets: Floating, a: Floating, b: Floating) -> Float64:
    """`[targets]`: mean cosine to A minus mean cosine to B, of embeddings of any length."""
    unit = [_unit(rows) for rows in (targets, a, b)]
    return np.asarray((unit[0] @ unit[1].T).mean(1) - (unit[0] @ unit[2].T).mean(1), np.float64)


def weat(x: Floating, y: Floating, a: Floating, b: Floating, *, seed: int = 0) -> Weat:
    """The test of Caliskan, Bryson & Narayanan 2017 (Science 356, 183–186); with sentences, SEAT (May et al. 2019).

    Parameters
    ----------
    x, y
        Embeddings of targets `[words, dim]`, two words or more each.
    a, b
        Embeddings of attributes `[words, dim]`.

    Raises
    ------
    SynestheteError
        Fewer than two targets in a set, an empty set of attributes.
    """
    if min(len(x), len(y)) < 2 or min(len(a), len(b)) < 1:
        sizes = ", ".join(str(len(rows)) for rows in (x, y, a, b))
        raise SynestheteError(f"sets of {sizes} words; an association test needs two or more each")
    lean = np.concatenate([leans(x, a, b), leans(y, a, b)])
    size = len(x)
    found = effect(lean[:size], lean[size:])
    p, count, exact = _permuted(lean, size, seed)
    low, high = bootstrap_interval(
        _effects, lean[:size], lean[size:], draws=DRAWS, seed=seed, vectorized=True
    )
    return Weat(
        effect=found,
        low=low,
        high=high,
        p=p,
        partitions=count,
        exact=exact,
        lean_x=float(lean[:size].mean()),
        lean_y=float(lean[size:].mean()),
    )


def effect(x: Float64, y: Float64) -> float:
    """Effect size of two sets of leans `[targets]`."""
    return float(_effects(x[None], y[None])[0])


def _effects(x: Float64, y: Float64) -> Float64:
    """Effect of each draw `[draws]` of leans `[draws, targets]`; 0 where all leans are the same."""
    spread = np.concatenate([x, y], axis=1).std(axis=1, ddof=1)
    rise = x.mean(axis=1) - y.mean(axis=1)
    return np.where(spread < 1e-12, 0.0, rise / np.maximum(spread, 1e-12))


def _permuted(lean: Float64, size: int, seed: int) -> tuple[float, int, bool]:
    """One-sided p of the difference of means when the targets are permuted; the true assignment counts too."""
    found = lean[:size].sum()
    # The difference of means grows with the sum of the first set alone.
    slack = 1e-9 * max(1.0, float(np.abs(lean).sum()))
    if comb(len(lean), size) <= EXACT_UP_TO:
        sums = np.array([sum(chosen) for chosen in combinations(lean.tolist(), size)])
        return float((sums >= found - slack).mean()), len(sums), True
    rng = np.random.default_rng(seed)
    mixed = rng.permuted(np.broadcast_to(lean, (SAMPLED, len(lean))), axis=1)
    sums = mixed[:, :size].sum(1)
    return float((1 + (sums >= found - slack).sum()) / (1 + SAMPLED)), SAMPLED, False


def _unit(rows: Floating) -> Float64:
    rows = np.asarray(rows, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def profiles(activations: Floating, baseline: Floating) -> Float64:
    """`[items, units]` in standard deviations from the mean over a baseline; units that never vary there are 0."""
    mean = baseline.mean(axis=0, dtype=np.float64)
    spread = baseline.std(axis=0, dtype=np.float64)
    z = (activations.astype(np.float64) - mean) / np.where(spread > 1e-9, spread, 1.0)
    return np.where(spread > 1e-9, z, 0.0)


def centred(items: Mapping[str, Float64]) -> dict[str, Float64]:
    """Profiles without what all the names have in common: the mean of their mean profiles.

    Without this every group goes with every attribute, since all of them are words, or all of them people.

    Examples
    --------
    >>> found = centred({"a": np.array([[1.0, 5.0]]), "b": np.array([[3.0, 5.0]])})
    >>> found["a"].tolist(), found["b"].tolist()
    ([[-1.0, 0.0]], [[1.0, 0.0]])
    """
    common = np.mean([rows.mean(0) for rows in items.values()], axis=0)
    return {name: np.asarray(rows - common) for name, rows in items.items()}


def association(groups: Float64, attributes: Float64) -> float:
    """Correlation over units of two mean profiles `[items, units]`."""
    a, b = groups.mean(0), attributes.mean(0)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 0.0 if size < 1e-12 else float(a @ b / size)


def association_matrix(
    groups: Mapping[str, Float64],
    attributes: Mapping[str, Float64],
    layer: str,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Groups × attributes: the correlation of their profiles, its interval, and the units they share.

    Parameters
    ----------
    groups, attributes
        Name → profiles `[items, units]`, `centred`.

    Returns
    -------
    dict
        `groups`, `attributes`, `matrix` (`[groups][attributes]` of `value` and a 95 % bootstrap `interval` over items)
        and `units`: for each group, how it leans: for each attribute, the units that both excite most, with the
        smaller of the two profiles' values.
    """
    rng = np.random.default_rng(seed)
    matrix, units = [], []
    for group, mine in groups.items():
        row = []
        for attribute, theirs in attributes.items():
            low, high = bootstrap_interval(association, mine, theirs, draws=UNIT_DRAWS, seed=rng)
            row.append(
                {
                    "value": round(association(mine, theirs), 4),
                    "interval": [round(low, 4), round(high, 4)],
                }
            )
            where = {"group": group, "attribute": attribute}
            units += [
                where | {"address": f"{layer}:{unit}", "shared": value}
                for unit, value in shared_units(mine, theirs)
            ]
        matrix.append(row)
    return {
        "groups": list(groups),
        "attributes": list(attributes),
        "items": {name: len(rows) for name, rows in (*groups.items(), *attributes.items())},
        "matrix": matrix,
        "units": units,
    }


def shared_units(
    groups: Float64, attributes: Float64, limit: int = SHARED
) -> Sequence[tuple[int, float]]:
    """Units that both excite: the smaller of the two mean profiles, greatest first; only those above 0.

    Examples
    --------
    >>> shared_units(np.array([[3.0, 1.0, -1.0]]), np.array([[2.0, 5.0, 9.0]]))
    [(0, 2.0), (1, 1.0)]
    """
    both = np.minimum(groups.mean(0), attributes.mean(0))
    order = np.argsort(-both, kind="stable")[:limit]
    return [(int(unit), round(float(both[unit]), 4)) for unit in order if both[unit] > 0]
