"""The neurons most like one: by the correlation of their activations over the probe images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.server.columns import Columns
from synesthete.server.library import Site
from synesthete.server.matching import Float32, standardised
from synesthete.server.rows import NeuronRow, neuron_row

MOST = 12
# Activations looked at for one neuron, at most: of a larger layer, images at equal distances are taken.
ENTRIES = 6_000_000


@dataclass(frozen=True)
class Neighbour:
    """A neuron and its Pearson correlation with another."""

    neuron: NeuronRow
    correlation: float


@dataclass(frozen=True)
class Neighbours:
    """The most like, and over how many images that was measured."""

    images: int
    neurons: list[Neighbour]


def neighbours(site: Site, columns: Columns, unit: int) -> Neighbours | None:
    """Neurons of the same layer whose activations correlate most; None without the dense matrix."""
    if not site.atlas.manifest["dense"] or columns.dead[unit]:
        return None
    key = ("neighbours", columns.layer, unit)
    images, found = site.opened.computed(key, lambda: _nearest(site, columns, unit))
    rows = [Neighbour(neuron_row(site, columns, other), r) for other, r in found]
    return Neighbours(images, rows)


def _nearest(site: Site, columns: Columns, unit: int) -> tuple[int, list[tuple[int, float]]]:
    compared = site.opened.matrices.get(columns.layer, lambda: _compared(site, columns))
    return len(compared.values), nearest(compared.with_others(unit))


def nearest(r: npt.NDArray[np.floating]) -> list[tuple[int, float]]:
    """The units of highest correlation and what it is; of equal ones those of lower number."""
    least = np.partition(r, -MOST)[-MOST] if len(r) > MOST else -np.inf
    best = np.flatnonzero(r >= least)
    best = best[np.argsort(-r[best], kind="stable")][:MOST]
    return [(int(unit), float(r[unit])) for unit in best if np.isfinite(r[unit])]


def _compared(site: Site, columns: Columns) -> Compared:
    readable = np.flatnonzero(site.opened.probes.readable)
    step = max(1, -(-len(readable) * columns.units // ENTRIES))
    return Compared.of(np.asarray(site.atlas.activations(columns.layer)[readable[::step]]))


@dataclass(frozen=True)
class Compared:
    """Activations of a layer, made ready so that correlations are products.

    Attributes
    ----------
    values
        `[images, units]`, standardised.
    varies
        `[units]`.

    Examples
    --------
    >>> values = np.array([[1, 2, 4, 0], [3, 6, 2, 0], [2, 4, 3, 0]], np.float16)
    >>> Compared.of(values).with_others(0).round(3).tolist()
    [-inf, 1.0, -1.0, -inf]
    """

    values: Float32
    varies: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, activations: npt.NDArray[np.float16]) -> Compared:
        """From activations `[images, units]`; what is not finite counts as 0."""
        values = standardised(activations)
        return cls(values, np.asarray(values.any(axis=0)))

    def with_others(self, unit: int) -> Float32:
        """Pearson correlation of a unit with every unit, `[units]`; -inf with itself, and where one does not vary."""
        r: Float32 = np.minimum(self.values[:, unit] @ self.values, np.float32(1))
        r[~self.varies] = -np.inf
        r[unit] = -np.inf
        return r if self.varies[unit] else np.full_like(r, -np.inf)
