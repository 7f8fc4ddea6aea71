"""What a picture reaches, as a percentile among what real images reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.atlas import Atlas

Float64 = npt.NDArray[np.float64]
BEYOND = 99.9


@dataclass(frozen=True)
class Real:
    """A target's activations on real images, as lowest and highest possible value of each with its count.

    Attributes
    ----------
    low, high
        Of each value or bin; equal where values are known one by one. Rising.
    count
        Images of it.
    std
        Standard deviation.
    """

    low: Float64
    high: Float64
    count: Float64
    std: float

    def percentile(self, activation: float, goal: str) -> float:
        """The share of real images below an activation, or for the goal `least` at it or below, 0 to 100.

        Where only bins are known, the picture gets no benefit of the doubt.

        Examples
        --------
        >>> real = real_values(np.array([0.0, 0.0, 1.0, 4.0]))
        >>> real.percentile(2.0, "most"), real.percentile(1.0, "most"), real.percentile(0.0, "least")
        (75.0, 50.0, 50.0)
        """
        total = float(self.count.sum())
        if not total:
            return float("nan")
        under = self.high < activation if goal == "most" else self.low <= activation
        return float(100 * self.count[under].sum() / total)

    def excites(self, activation: float, goal: str) -> bool:
        """Whether an activation lies beyond all but one in a thousand real images."""
        where = self.percentile(activation, goal)
        return where >= BEYOND if goal == "most" else where <= 100 - BEYOND


def real_values(values: npt.NDArray[np.floating]) -> Real:
    """From values one by one; those that are not finite are left out."""
    known, count = np.unique(values[np.isfinite(values)].astype(np.float64), return_counts=True)
    every = np.repeat(known, count)
    return Real(known, known, count.astype(np.float64), float(every.std()) if len(every) else 0.0)


def real_activations(atlas: Atlas, layer: str, unit: int) -> Real:
    """A unit's activations in an atlas: all of them, or the histogram where the matrix was not kept."""
    if atlas.manifest["dense"]:
        return real_values(np.asarray(atlas.activations(layer)[:, unit]))
    statistics = atlas.statistics(layer)
    used = np.flatnonzero(statistics.histogram[unit])
    bounds = statistics.bounds[used]
    return Real(
        bounds[:, 0], bounds[:, 1], statistics.histogram[unit, used].astype(np.float64),
        float(statistics.std[unit]),
    )  # fmt: skip
