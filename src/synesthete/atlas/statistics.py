"""What is known of each unit over all images: the arrays of `statistics.npz`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synesthete.atlas.arrays import Shape, read_npz
from synesthete.atlas.half import HISTOGRAM_BINS, bin_bounds

SUM_LIMBS = 3
SQUARE_LIMBS = 4


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of every unit of a layer.

    Attributes
    ----------
    count, nonfinite
        Images counted, and images left out because the value was NaN or infinite; [units] int64.
    mean, m2, std
        Mean, sum of squared deviations from it, population standard deviation; [units] float64,
        in the units of the activation; NaN where `count` is 0.
    minimum, maximum
        [units] float16; NaN where `count` is 0.
    histogram
        Images per bin, [units, 512] int64; `bounds` gives the bins.
    sum_limbs, square_limbs
        Exact sum and sum of squares in base 2^32 (FORMAT.md), for merging.
    """

    count: NDArray[np.int64]
    nonfinite: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    std: NDArray[np.float64]
    minimum: NDArray[np.float16]
    maximum: NDArray[np.float16]
    histogram: NDArray[np.int64]
    sum_limbs: NDArray[np.int64]
    square_limbs: NDArray[np.int64]

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Lowest and highest value of each histogram bin, [512, 2]; NaN for bins never used."""
        return bin_bounds(HISTOGRAM_BINS)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays under the names that the file gives them."""
        return {name: getattr(self, name) for name in Statistics.__dataclass_fields__}


def parse_statistics(data: bytes, units: int, *, source: str) -> Statistics:
    """Read the content of `statistics.npz`.

    Raises
    ------
    SynestheteError
        When it is damaged or of another shape.
    """
    shapes: Mapping[str, tuple[Any, Shape]] = {
        "count": (np.int64, (units,)),
        "nonfinite": (np.int64, (units,)),
        "mean": (np.float64, (units,)),
        "m2": (np.float64, (units,)),
        "std": (np.float64, (units,)),
        "minimum": (np.float16, (units,)),
        "maximum": (np.float16, (units,)),
        "histogram": (np.int64, (units, HISTOGRAM_BINS)),
        "sum_limbs": (np.int64, (units, SUM_LIMBS)),
        "square_limbs": (np.int64, (units, SQUARE_LIMBS)),
    }
    return Statistics(**read_npz(data, shapes, source=source))
