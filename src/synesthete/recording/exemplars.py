"""Exemplars as a monoid: top, bottom and stratified images of each unit, ties broken by image id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synesthete.atlas.exemplars import PER_BIN, Exemplars, id_hash
from synesthete.atlas.half import COARSE_BINS, coarse_bin, half_code, half_value
from synesthete.errors import SynestheteError

# Value code and image id share one 64-bit sort key: 16 bits of code over 47 bits of id.
MAX_ID = (1 << 47) - 1
_ID_BITS = 47
_NONE = np.iinfo(np.int64).max

_End = tuple[NDArray[np.int64], NDArray[np.int16]]
_Rows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float16], NDArray[np.int16]]


def exemplars_of(
    values: NDArray[np.float16],
    positions: NDArray[np.int16],
    ids: NDArray[np.int64],
    groups_of_images: NDArray[np.integer],
    groups: Sequence[str],
    limit: int,
) -> Exemplars:
    """Exemplars of some images.

    Parameters
    ----------
    values
        Activations as `to_half` gives them, [images, units]; NaN is never an exemplar.
    positions
        Index of the maximum in the layer's grid, [images, units].
    ids
        Image ids, [images], each once, below 2^47.
    groups_of_images
        Index into `groups` of each image, [images].
    groups
        Names of the groups (modalities).
    limit
        How many to keep at either end, per unit and group.
    """
    if len(ids) and (ids.min() < 0 or ids.max() > MAX_ID):
        raise SynestheteError(f"image ids run from 0 to 2^47 - 1, not {ids.min()} to {ids.max()}")
    units = values.shape[1]
    tops: list[_End] = []
    bottoms: list[_End] = []
    rows: list[_Rows] = []
    for group in range(len(groups)):
        mine = groups_of_images == group
        # Hash order first: the stratified draw then only has to keep the first of each bin.
        order = np.argsort(id_hash(ids[mine]), kind="stable")
        group_ids = ids[mine][order]
        group_values = np.ascontiguousarray(values[mine][order].T)
        group_positions = np.ascontiguousarray(positions[mine][order].T)
        tops.append(_end(_keys(group_values, group_ids, top=True), group_positions, limit))
        bottoms.append(_end(_keys(group_values, group_ids, top=False), group_positions, limit))
        first_slot = np.arange(units, dtype=np.int64) * len(groups) + group
        rows.append(_draw(first_slot, group_values, group_ids, group_positions))
    return _assemble(tuple(groups), units, tops, bottoms, _concatenate(rows))


def empty_exemplars(units: int, groups: Sequence[str], limit: int) -> Exemplars:
    """The neutral element: exemplars of no image."""
    return exemplars_of(
        np.zeros((0, units), np.float16),
        np.zeros((0, units), np.int16),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        groups,
        limit,
    )


def merge_exemplars(first: Exemplars, second: Exemplars) -> Exemplars:
    """Exemplars of both sets of images together (the sets share no image).

    Raises
    ------
    SynestheteError
        When units, groups or limits differ.
    """
    if first.groups != second.groups or first.top_ids.shape != second.top_ids.shape:
        raise SynestheteError("exemplars of different units, groups or limits do not merge")
    tops: list[_End] = []
    bottoms: list[_End] = []
    for group in range(len(first.groups)):
        for ends, top in ((tops, True), (bottoms, False)):
            parts = [_end_of(half, group, top=top) for half in (first, second)]
            keys = np.concatenate([part[0] for part in parts], axis=1)
            places = np.concatenate([part[1] for part in parts], axis=1)
            ends.append(_end(keys, places, first.limit))
    rows = _keep_first(_concatenate([_rows_of(first), _rows_of(second)]))
    return _assemble(first.groups, first.units, tops, bottoms, rows)


def _keys(values: NDArray[np.float16], ids: NDArray[np.int64], *, top: bool) -> NDArray[np.int64]:
    """Sort keys [units, images]: best value first, then smaller id; never for NaN."""
    codes = half_code(values).astype(np.int64)
    keys = ((0xFFFF - codes if top else codes) << _ID_BITS) | ids
    return np.where(np.isfinite(values), keys, _NONE)


def _end(keys: NDArray[np.int64], positions: NDArray[np.int16], limit: int) -> _End:
    """The `limit` smallest keys of each unit in order, with their positions; padded with none."""
    if keys.shape[1] > limit:
        chosen = np.argpartition(keys, limit - 1, axis=1)[:, :limit]
        keys = np.take_along_axis(keys, chosen, axis=1)
        positions = np.take_along_axis(positions, chosen, axis=1)
    order = np.argsort(keys, axis=1, kind="stable")
    keys = np.take_along_axis(keys, order, axis=1)
    positions = np.take_along_axis(positions, order, axis=1)
    missing = limit - keys.shape[1]
    keys = np.pad(keys, ((0, 0), (0, missing)), constant_values=_NONE)
    positions = np.pad(positions, ((0, 0), (0, missing)), constant_values=-1)
    positions[keys == _NONE] = -1
    return keys, positions


def _end_of(exemplars: Exemplars, group: int, *, top: bool) -> _End:
    end = "top" if top else "bottom"
    ids = getattr(exemplars, f"{end}_ids")[group]
    values = getattr(exemplars, f"{end}_values")[group]
    return _keys(values, ids, top=top), getattr(exemplars, f"{end}_positions")[group]


def _draw(
    slots: NDArray[np.int64],
    values: NDArray[np.float16],
    ids: NDArray[np.int64],
    positions: NDArray[np.int16],
) -> _Rows:
    """Per unit and coarse bin, the first images in the hash order they come in."""
    bins = np.where(np.isfinite(values), coarse_bin(values), np.uint8(COARSE_BINS))
    order = np.argsort(bins, axis=1, kind="stable")
    bins = np.take_along_axis(bins, order, axis=1)
    keep = bins < COARSE_BINS
    keep[:, PER_BIN:] &= bins[:, PER_BIN:] != bins[:, :-PER_BIN]
    unit, place = np.nonzero(keep)
    image = order[unit, place]
    key = slots[unit] * COARSE_BINS + bins[unit, place]
    return key, ids[image], values[unit, image], positions[unit, image]


def _rows_of(exemplars: Exemplars) -> _Rows:
    lengths = np.diff(exemplars.offsets)
    slots = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    values = exemplars.stratified_values
    key = slots * COARSE_BINS + coarse_bin(values)
    return key, exemplars.stratified_ids, values, exemplars.stratified_positions


def _concatenate(parts: Sequence[_Rows]) -> _Rows:
    keys, ids, values, positions = zip(*parts, strict=True)
    joined = tuple(np.concatenate(part) for part in (keys, ids, values, positions))
    order = np.lexsort((id_hash(joined[1]), joined[0]))
    return joined[0][order], joined[1][order], joined[2][order], joined[3][order]


def _keep_first(rows: _Rows) -> _Rows:
    keep = np.ones(len(rows[0]), dtype=bool)
    keep[PER_BIN:] = rows[0][PER_BIN:] != rows[0][:-PER_BIN]
    return rows[0][keep], rows[1][keep], rows[2][keep], rows[3][keep]


def _assemble(
    groups: tuple[str, ...],
    units: int,
    tops: Sequence[_End],
    bottoms: Sequence[_End],
    rows: _Rows,
) -> Exemplars:
    top_ids, top_values = _decoded(np.stack([keys for keys, _ in tops]), top=True)
    bottom_ids, bottom_values = _decoded(np.stack([keys for keys, _ in bottoms]), top=False)
    slots = np.arange(units * len(groups) + 1, dtype=np.int64)
    return Exemplars(
        groups=groups,
        top_ids=top_ids,
        top_values=top_values,
        top_positions=np.stack([positions for _, positions in tops]),
        bottom_ids=bottom_ids,
        bottom_values=bottom_values,
        bottom_positions=np.stack([positions for _, positions in bottoms]),
        offsets=np.searchsorted(rows[0], slots * COARSE_BINS).astype(np.int64),
        stratified_ids=rows[1],
        stratified_values=rows[2],
        stratified_positions=rows[3],
    )


def _decoded(
    keys: NDArray[np.int64], *, top: bool
) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Ids and values of sort keys; -1 and NaN for none."""
    there = keys != _NONE
    codes = (keys >> _ID_BITS) & 0xFFFF
    values = half_value((0xFFFF - codes if top else codes).astype(np.uint16))
    ids = np.where(there, keys & MAX_ID, -1)
    return ids, np.where(there, values, np.float16(np.nan)).astype(np.float16)
