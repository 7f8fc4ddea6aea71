"""Half-precision activations: rounding, the order-preserving code and the universal histogram bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HISTOGRAM_BINS = 512
COARSE_BINS = 128
LARGEST = 65504.0


def to_half(values: NDArray[Any]) -> NDArray[np.float16]:
    """Round to half precision the way every activation of an atlas is stored.

    Parameters
    ----------
    values
        Floating-point array of any shape.

    Returns
    -------
    Array of the same shape, float16: finite values rounded to nearest even and clamped to
    ±65504, -0 turned into +0, and NaN, +inf and -inf all turned into one and the same NaN.

    Examples
    --------
    >>> to_half(np.array([1e9, -0.0, np.inf, 0.1], dtype=np.float32)).tolist()
    [65504.0, 0.0, nan, 0.0999755859375]
    """
    clamped = np.clip(values, -LARGEST, LARGEST)
    # Adding +0 turns -0 into +0: otherwise "the minimum of -0 and +0" would depend on the order.
    half: NDArray[np.float16] = clamped.astype(np.float16) + np.float16(0)
    half[~np.isfinite(values)] = np.float16(np.nan)
    return half


def half_code(values: NDArray[np.float16]) -> NDArray[np.uint16]:
    """Unsigned codes in the same order as the values: a < b exactly when code(a) < code(b).

    Examples
    --------
    >>> half_code(np.array([-65504, -1, 0, 1, 65504], dtype=np.float16)).tolist()
    [1024, 17407, 32768, 48128, 64511]
    """
    bits = np.ascontiguousarray(values).view(np.uint16)
    negative = bits >= 0x8000
    return np.where(negative, ~bits, bits | np.uint16(0x8000)).astype(np.uint16)


def half_value(codes: NDArray[np.uint16]) -> NDArray[np.float16]:
    """The values of codes; the inverse of `half_code`.

    Examples
    --------
    >>> half_value(half_code(np.array([-2.5, 0, 7], dtype=np.float16))).tolist()
    [-2.5, 0.0, 7.0]
    """
    codes = np.asarray(codes, dtype=np.uint16)
    bits = np.where(codes >= 0x8000, codes ^ np.uint16(0x8000), ~codes).astype(np.uint16)
    return bits.view(np.float16)


def coarse_bin(values: NDArray[np.float16]) -> NDArray[np.uint8]:
    """The coarse bin (0 … 127) of each finite value: 2 bins per octave and sign."""
    return (half_code(values) >> 9).astype(np.uint8)


def bin_bounds(bins: int = HISTOGRAM_BINS) -> NDArray[np.float64]:
    """Lowest and highest value of every bin, both inclusive.

    Parameters
    ----------
    bins
        512 for the histogram, 128 for the coarse bins of stratified exemplars.

    Returns
    -------
    Array [bins, 2]; NaN for the bins at both ends that no finite value falls in.

    Examples
    --------
    >>> bin_bounds()[376].tolist()
    [1.0, 1.1240234375]
    """
    width = 65536 // bins
    first = np.arange(0, 65536, width, dtype=np.uint32)
    codes = np.stack([first, first + width - 1], axis=1).astype(np.uint16)
    bounds = half_value(codes).astype(np.float64)
    bounds[~np.isfinite(bounds).all(axis=1)] = np.nan
    return bounds
