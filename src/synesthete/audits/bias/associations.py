"""Which groups and attributes excite the same units: by written words, and by pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synesthete._core.intervals import bootstrap_interval

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]
SHARED = 5
DRAWS = 200


def profiles(activations: Float, baseline: Float) -> Float64:
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
            low, high = bootstrap_interval(association, mine, theirs, draws=DRAWS, seed=rng)
            row.append(
                {
                    "value": round(association(mine, theirs), 4),
                    "interval": [round(low, 4), round(high, 4)],
                }
            )
            units += [
                {"group": group, "attribute": attribute, "address": f"{layer}:{unit}", "shared": value}
                for unit, value in shared_units(mine, theirs)
            ]  # fmt: skip
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
