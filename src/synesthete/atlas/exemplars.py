"""The images a unit answers to most, least and at each level: the arrays of `exemplars.npz`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synesthete.atlas.arrays import read_npz
from synesthete.atlas.half import coarse_bin, half_code
from synesthete.errors import SynestheteError, near

PER_BIN = 4


@dataclass(frozen=True)
class ExemplarList:
    """Images with the value of one unit, in the order asked for.

    Attributes
    ----------
    ids
        Image ids, [n] int64.
    values
        Activations, [n] float16.
    positions
        Where the maximum lies: row-major index in the layer's grid, -1 for none; [n] int16.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float16]
    positions: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class Exemplars:
    """Exemplars of every unit of a layer, kept apart for each modality.

    Attributes
    ----------
    groups
        The modalities, in the order of the first axis.
    top_ids, top_values, top_positions
        [groups, units, k]; highest value first, ties by smaller id; id -1 where there are fewer.
    bottom_ids, bottom_values, bottom_positions
        The same, lowest value first.
    offsets
        [units * groups + 1] int64: slot `unit * groups + group` owns the stratified rows
        `offsets[slot]` to `offsets[slot + 1]`.
    stratified_ids, stratified_values, stratified_positions
        [rows]: in every coarse bin of values up to 4 images drawn by the hash of their id.
    """

    groups: tuple[str, ...]
    top_ids: NDArray[np.int64]
    top_values: NDArray[np.float16]
    top_positions: NDArray[np.int16]
    bottom_ids: NDArray[np.int64]
    bottom_values: NDArray[np.float16]
    bottom_positions: NDArray[np.int16]
    offsets: NDArray[np.int64]
    stratified_ids: NDArray[np.int64]
    stratified_values: NDArray[np.float16]
    stratified_positions: NDArray[np.int16]

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.top_ids.shape[1])

    @property
    def limit(self) -> int:
        """Exemplars kept per unit and modality at either end."""
        return int(self.top_ids.shape[2])

    def top(
        self, unit: int, modality: str | None = None, *, limit: int | None = None
    ) -> ExemplarList:
        """The images that excite a unit most, in one modality or (None) in all together."""
        found = self._end("top", unit, modality)
        return _sorted(found, lambda value: 0xFFFF - half_code(value), limit or self.limit)

    def bottom(
        self, unit: int, modality: str | None = None, *, limit: int | None = None
    ) -> ExemplarList:
        """The images that excite a unit least (with a reading before the ReLU: inhibit most)."""
        found = self._end("bottom", unit, modality)
        return _sorted(found, half_code, limit or self.limit)

    def stratified(self, unit: int, modality: str | None = None) -> ExemplarList:
        """Images at every level of activation, up to 4 per coarse bin, lowest bin first."""
        parts = []
        for group in self._groups(modality):
            slot = self._unit(unit) * len(self.groups) + group
            parts.append(slice(int(self.offsets[slot]), int(self.offsets[slot + 1])))
        rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        values = self.stratified_values[rows]
        bins = coarse_bin(values)
        order = np.lexsort((id_hash(self.stratified_ids[rows]), bins))
        bins = bins[order]
        keep = np.ones(len(order), dtype=bool)
        keep[PER_BIN:] = bins[PER_BIN:] != bins[:-PER_BIN]
        rows = rows[order[keep]]
        return ExemplarList(
            self.stratified_ids[rows],
            self.stratified_values[rows],
            self.stratified_positions[rows],
        )

    def all_ids(self) -> NDArray[np.int64]:
        """Every image that is an exemplar of some unit, sorted."""
        every = [self.top_ids.ravel(), self.bottom_ids.ravel(), self.stratified_ids]
        ids: NDArray[np.int64] = np.unique(np.concatenate(every))
        return ids[ids >= 0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays under the names that the file gives them."""
        names = [name for name in Exemplars.__dataclass_fields__ if name != "groups"]
        return {name: getattr(self, name) for name in names}

    def _unit(self, unit: int) -> int:
        if not 0 <= unit < self.units:
            raise SynestheteError(f"no unit {unit}: the layer has units 0 to {self.units - 1}")
        return unit

    def _groups(self, modality: str | None) -> list[int]:
        if modality is None:
            return list(range(len(self.groups)))
        if modality not in self.groups:
            known = ", ".join(self.groups)
            hint = near(modality, self.groups)
            raise SynestheteError(f"no modality {modality!r}; there are {known}", hint=hint)
        return [self.groups.index(modality)]

    def _end(self, end: str, unit: int, modality: str | None) -> ExemplarList:
        index = (self._groups(modality), self._unit(unit))
        ids = getattr(self, f"{end}_ids")[index].ravel()
        values = getattr(self, f"{end}_values")[index].ravel()
        positions = getattr(self, f"{end}_positions")[index].ravel()
        there = ids >= 0
        return ExemplarList(ids[there], values[there], positions[there])


def id_hash(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Scrambled image ids (splitmix64): a fixed random order of all images, without ties.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).

    Examples
    --------
    >>> [hex(value) for value in id_hash(np.array([0, 1])).tolist()]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    """
    mixed = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result


def _sorted(
    found: ExemplarList, key: Callable[[NDArray[np.float16]], NDArray[Any]], limit: int
) -> ExemplarList:
    order = np.lexsort((found.ids, key(found.values)))[:limit]
    return ExemplarList(found.ids[order], found.values[order], found.positions[order])


def parse_exemplars(
    data: bytes, units: int, groups: Sequence[str], limit: int, *, source: str
) -> Exemplars:
    """Read the content of `exemplars.npz`.

    Raises
    ------
    SynestheteError
        When it is damaged or of another shape.
    """
    ends = (len(groups), units, limit)
    arrays = read_npz(
        data,
        {
            **{f"{end}_ids": (np.int64, ends) for end in ("top", "bottom")},
            **{f"{end}_values": (np.float16, ends) for end in ("top", "bottom")},
            **{f"{end}_positions": (np.int16, ends) for end in ("top", "bottom")},
            "offsets": (np.int64, (units * len(groups) + 1,)),
            "stratified_ids": (np.int64, (None,)),
            "stratified_values": (np.float16, (None,)),
            "stratified_positions": (np.int16, (None,)),
        },
        source=source,
    )
    offsets, rows = arrays["offsets"], len(arrays["stratified_ids"])
    lengths = {len(arrays[f"stratified_{part}"]) for part in ("ids", "values", "positions")}
    if lengths != {rows} or offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
        raise SynestheteError(f"{source} cannot be read: its offsets do not fit its rows")
    return Exemplars(groups=tuple(groups), **arrays)
