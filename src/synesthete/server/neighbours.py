"""The neurons most like one: by the correlation of their activations over the probe images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.server.columns import Columns
from synesthete.server.library import Site
from synesthete.server.rows import NeuronRow, neuron_row

MOST = 12
# Activations looked at for one neuron, at most: of a larger layer, images at equal distances are taken.
ENTRIES = 6_000_000
BLOCK = 1024


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
    matrix = site.atlas.activations(columns.layer)
    readable = np.flatnonzero(site.opened.probes.readable)
    step = max(1, -(-len(readable) * columns.units // ENTRIES))
    r = correlations(matrix, readable[::step], unit)
    r[unit] = -np.inf
    best = np.argsort(-r, kind="stable")[:MOST]
    found = [(int(other), float(r[other])) for other in best if np.isfinite(r[other])]
    return len(readable[::step]), found


def correlations(
    matrix: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], unit: int
) -> npt.NDArray[np.float64]:
    """Pearson correlation of one unit with every unit, over some images.

    Parameters
    ----------
    matrix
        `[images, units]`; read in blocks, so that memory stays bounded.
    rows
        Images to look at.
    unit
        The one.

    Returns
    -------
    `[units]`; -inf where a unit does not vary.
    """
    units, n = matrix.shape[1], len(rows)
    total, squares, products = (np.zeros(units) for _ in range(3))
    for start in range(0, n, BLOCK):
        block = np.nan_to_num(matrix[rows[start : start + BLOCK]].astype(np.float32))
        total += block.sum(axis=0, dtype=np.float64)
        squares += np.einsum("nu,nu->u", block, block)
        products += block[:, unit] @ block
    covariance = products / n - total * total[unit] / n**2
    variance = np.maximum(squares / n - (total / n) ** 2, 0)
    scale = np.sqrt(variance * variance[unit])
    there = variance > 1e-9 * (squares / n + 1e-12)
    made: npt.NDArray[np.float64] = np.full(units, -np.inf)
    if there[unit]:
        np.divide(covariance, scale, out=made, where=there)
    return np.clip(made, -np.inf, 1.0)
