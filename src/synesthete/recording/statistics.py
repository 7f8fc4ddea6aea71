"""Statistics of units as an exact monoid: integer accumulators, so any order gives the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synesthete.atlas.half import HISTOGRAM_BINS, half_code, half_value
from synesthete.atlas.statistics import SQUARE_LIMBS, SUM_LIMBS, Statistics
from synesthete.errors import SynestheteError

# A finite float16 is k / 2^24 with |k| < 2^40. Up to 2^62 images, sums of k stay under 2^102 and
# sums of k² under 2^142: within the 3 and 4 limbs of 32 bits (the highest holds 64), checked below.
MAX_IMAGES = 1 << 62
_SCALE_BITS = 24
_LIMB_BITS = 32
_LIMB_MASK = (1 << _LIMB_BITS) - 1
_HALF_BITS = 20
# k = a · 2^20 + b with a, b < 2^20: over 2^20 rows, sums of a², 2ab and b² stay under 2^62.
_MAX_ROWS = 1 << 20
_EMPTY_MIN = 0xFFFF
_EMPTY_MAX = 0x0000


@dataclass(frozen=True, kw_only=True)
class UnitStatistics:
    """Accumulated statistics of the units of a layer; `merge` is associative and commutative.

    Attributes
    ----------
    count, nonfinite
        Values counted and values left out because they are NaN, [units] int64.
    total, squares
        Sum of k and of k² over the values k / 2^24, [units, limbs] int64 in base 2^32: lower limbs
        in 0 … 2^32 - 1, the highest signed.
    low, high
        Order-preserving codes of minimum and maximum, [units] uint16; 65535 and 0 for no value.
    histogram
        [units, 512] int64.
    """

    count: NDArray[np.int64]
    nonfinite: NDArray[np.int64]
    total: NDArray[np.int64]
    squares: NDArray[np.int64]
    low: NDArray[np.uint16]
    high: NDArray[np.uint16]
    histogram: NDArray[np.int64]

    @classmethod
    def empty(cls, units: int) -> UnitStatistics:
        """The neutral element: statistics of no image."""
        return cls(
            count=np.zeros(units, np.int64),
            nonfinite=np.zeros(units, np.int64),
            total=np.zeros((units, SUM_LIMBS), np.int64),
            squares=np.zeros((units, SQUARE_LIMBS), np.int64),
            low=np.full(units, _EMPTY_MIN, np.uint16),
            high=np.full(units, _EMPTY_MAX, np.uint16),
            histogram=np.zeros((units, HISTOGRAM_BINS), np.int64),
        )

    @classmethod
    def of(cls, values: NDArray[np.float16]) -> UnitStatistics:
        """Statistics of some images.

        Parameters
        ----------
        values
            Activations as `to_half` gives them, [images, units].
        """
        result = cls.empty(values.shape[1])
        for start in range(0, len(values), _MAX_ROWS):
            result = result.merge(cls._of_block(values[start : start + _MAX_ROWS]))
        return result

    @classmethod
    def _of_block(cls, values: NDArray[np.float16]) -> UnitStatistics:
        images, units = values.shape
        finite = np.isfinite(values)
        count = finite.sum(axis=0, dtype=np.int64)
        known = np.where(finite, values, np.float16(0))
        scaled = (known.astype(np.float64) * (1 << _SCALE_BITS)).astype(np.int64)
        upper, lower = np.divmod(np.abs(scaled), 1 << _HALF_BITS)
        squares = np.zeros((units, SQUARE_LIMBS), np.int64)
        for factor, shift in (
            ((lower * lower).sum(axis=0), 0),
            ((2 * upper * lower).sum(axis=0), _HALF_BITS),
            ((upper * upper).sum(axis=0), 2 * _HALF_BITS),
        ):
            squares = _carry(squares + _limbs(factor, shift, SQUARE_LIMBS))
        codes = half_code(values)
        cells = (codes >> 7).astype(np.int64) + np.arange(units) * HISTOGRAM_BINS
        histogram = np.bincount(cells[finite], minlength=units * HISTOGRAM_BINS)
        return cls(
            count=count,
            nonfinite=images - count,
            # |k| < 2^40 over at most 2^20 rows: the plain sum fits 64 bits.
            total=_carry(_limbs(scaled.sum(axis=0), 0, SUM_LIMBS)),
            squares=squares,
            low=np.where(finite, codes, np.uint16(_EMPTY_MIN)).min(axis=0, initial=_EMPTY_MIN),
            high=np.where(finite, codes, np.uint16(_EMPTY_MAX)).max(axis=0, initial=_EMPTY_MAX),
            histogram=histogram.astype(np.int64).reshape(units, HISTOGRAM_BINS),
        )

    def merge(self, other: UnitStatistics) -> UnitStatistics:
        """Statistics of both sets of images together.

        Raises
        ------
        SynestheteError
            When the units differ in number, or the images are more than 2^62.
        """
        if len(self.count) != len(other.count):
            raise SynestheteError(
                f"statistics of {len(self.count)} and of {len(other.count)} units do not merge"
            )
        seen = (self.count + self.nonfinite, other.count + other.nonfinite)
        if (seen[0] > MAX_IMAGES - seen[1]).any():
            raise SynestheteError("statistics of more than 2^62 images cannot be held")
        return UnitStatistics(
            count=self.count + other.count,
            nonfinite=self.nonfinite + other.nonfinite,
            total=_carry(self.total + other.total),
            squares=_carry(self.squares + other.squares),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            histogram=self.histogram + other.histogram,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The accumulators by name, for a shard's file."""
        return {name: getattr(self, name) for name in UnitStatistics.__dataclass_fields__}

    @staticmethod
    def shapes(units: int) -> Mapping[str, tuple[Any, tuple[int, ...]]]:
        """Type and shape of each accumulator, to check a shard's file by."""
        arrays = UnitStatistics.empty(units).arrays()
        return {name: (array.dtype, array.shape) for name, array in arrays.items()}

    def finish(self) -> Statistics:
        """Mean, spread and the rest, computed from the exact integers and rounded at the end."""
        mean = np.full(len(self.count), np.nan)
        m2, std = mean.copy(), mean.copy()
        for unit, count in enumerate(self.count.tolist()):
            if not count:
                continue
            total, squares = _integer(self.total[unit]), _integer(self.squares[unit])
            # Python divides integers of any size with one correct rounding.
            mean[unit] = total / (count << _SCALE_BITS)
            spread = count * squares - total * total
            m2[unit] = spread / (count << 2 * _SCALE_BITS)
            std[unit] = np.sqrt(spread / (count * count << 2 * _SCALE_BITS))
        return Statistics(
            count=self.count,
            nonfinite=self.nonfinite,
            mean=mean,
            m2=m2,
            std=std,
            minimum=_known(self.low, self.count),
            maximum=_known(self.high, self.count),
            histogram=self.histogram,
            sum_limbs=self.total,
            square_limbs=self.squares,
        )


def _limbs(values: NDArray[np.int64], shift: int, limbs: int) -> NDArray[np.int64]:
    """The numbers values · 2^shift in base 2^32, before carrying; |values| < 2^62."""
    first, bits = divmod(shift, _LIMB_BITS)
    result = np.zeros((len(values), limbs), np.int64)
    result[:, first] = (values & _LIMB_MASK) << bits
    result[:, first + 1] = (values >> _LIMB_BITS) << bits
    return result


def _carry(limbs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The one form in which lower limbs lie in 0 … 2^32 - 1."""
    limbs = limbs.copy()
    for index in range(limbs.shape[1] - 1):
        limbs[:, index + 1] += limbs[:, index] >> _LIMB_BITS
        limbs[:, index] &= _LIMB_MASK
    return limbs


def _integer(limbs: NDArray[np.int64]) -> int:
    return sum(limb << (_LIMB_BITS * index) for index, limb in enumerate(limbs.tolist()))


def _known(codes: NDArray[np.uint16], count: NDArray[np.int64]) -> NDArray[np.float16]:
    return np.where(count > 0, half_value(codes), np.float16(np.nan)).astype(np.float16)
