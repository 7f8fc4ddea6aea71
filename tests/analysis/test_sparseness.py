"""Lifetime sparseness on cases worked by hand."""

from __future__ import annotations

import numpy as np

from synesthete.analysis.analyze import lifetime_sparseness


def test_worked_by_hand() -> None:
    rates = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 2.0], [1.0, 0.0, 3.0], [1.0, 4.0, np.nan]])
    # 1, 2, 3: mean 2, mean square 14/3, so (1 - 12/14) / (1 - 1/3) = 3/14
    np.testing.assert_allclose(lifetime_sparseness(rates), [0.0, 1.0, 3 / 14], atol=1e-12)


def test_negative_values_are_silence() -> None:
    signed = np.array([[-5.0, -1.0], [4.0, -2.0]], np.float16)
    result = lifetime_sparseness(signed)
    assert result[0] == 1.0
    assert np.isnan(result[1])


def test_large_half_precision_does_not_overflow() -> None:
    assert lifetime_sparseness(np.array([[60000.0], [60000.0]], np.float16))[0] == 0.0
