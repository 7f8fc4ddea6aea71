"""Units of all layers in one order: sorted as columns, so that only those on a page become objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.server.columns import Columns
from synesthete.server.library import Site
from synesthete.server.rows import NeuronRow, neuron_row

Unit = tuple[str, int]


Keys = tuple[npt.NDArray[np.float64] | npt.NDArray[np.int64], ...]


@dataclass(frozen=True)
class Part:
    """Some units of a layer with what they are sorted by.

    Attributes
    ----------
    layer
        Its name.
    units
        `[units]`.
    keys
        Each `[units]`; the first decides first, the lowest comes first.
    """

    layer: str
    units: npt.NDArray[np.int64]
    keys: Keys


def ranked(parts: Sequence[Part], first: int = 0, last: int | None = None) -> list[Unit]:
    """Layer and unit from place `first` to before `last` of the order: by the keys, then by layer, then by unit.

    Examples
    --------
    >>> one = Part("b", np.array([7, 3]), (np.array([0.5, 0.1]),))
    >>> two = Part("a", np.array([4]), (np.array([0.5]),))
    >>> ranked([one, two])
    [('b', 3), ('a', 4), ('b', 7)]
    """
    parts = sorted(parts, key=lambda part: part.layer)
    if not parts:
        return []
    units = np.concatenate([part.units for part in parts])
    layer = np.repeat(np.arange(len(parts)), [len(part.units) for part in parts])
    keys = [np.concatenate(same) for same in zip(*(part.keys for part in parts), strict=True)]
    order = np.lexsort((units, layer, *reversed(keys)))[first:last]
    return [(parts[layer[i]].layer, int(units[i])) for i in order]


def by_multimodality(columns: Columns, units: npt.NDArray[np.int64]) -> Part:
    """Units of a layer, the most multimodal first; those where it was not measured come last."""
    return Part(columns.layer, units, (-np.nan_to_num(columns.multimodality[units], nan=-1.0),))


def rows_of(site: Site, units: Sequence[Unit]) -> list[NeuronRow]:
    """Units of any layers as rows of a list."""
    return [neuron_row(site, site.opened.columns(layer), unit) for layer, unit in units]
