"""Sparseness: how few of the images a unit answers to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def lifetime_sparseness(activations: npt.NDArray[np.floating]) -> Float64:
    """Lifetime sparseness of each unit: 0 when it answers alike to every image, 1 when to one only.

    S = (1 - mean(r)^2 / mean(r^2)) / (1 - 1/n), with r the activation where positive, else 0, since the
    measure is for rates (Vinje & Gallant 2000, Science 287:1273; a signed reading is rectified).

    Parameters
    ----------
    activations
        `[images, units]`; missing values (NaN) are left out.

    Returns
    -------
    array `[units]`
        NaN for a unit that is never above zero, or has fewer than two images.

    Examples
    --------
    >>> import numpy as np
    >>> lifetime_sparseness(np.array([[1.0, 0.0], [1.0, 4.0]])).tolist()
    [0.0, 1.0]
    """
    result = np.full(activations.shape[1], np.nan)
    for unit in range(activations.shape[1]):
        values = activations[:, unit].astype(np.float64)
        rates = np.maximum(values[~np.isnan(values)], 0.0)
        squares = float((rates**2).mean()) if rates.size > 1 else 0.0
        if squares > 0:
            even = float(rates.mean()) ** 2 / squares
            result[unit] = max(0.0, (1 - even) / (1 - 1 / rates.size))
    return result
