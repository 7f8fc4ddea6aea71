"""The exact interval: scipy's for whole numbers, never narrower than it says, and what Wilson's lower end is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from synesthete._core.intervals import exact, wilson


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
def test_whole_numbers_give_scipys(n: int) -> None:
    for hits in range(n + 1):
        expected = binomtest(hits, n).proportion_ci(0.95, method="exact")
        low, high = exact(hits / n, n)
        assert float(low) == pytest.approx(expected.low, abs=1e-9)
        assert float(high) == pytest.approx(expected.high, abs=1e-9)


def test_it_holds_the_share_and_narrows() -> None:
    share, n = np.meshgrid(np.linspace(0, 1, 41), [1.0, 2.0, 2.5, 10.0, 100.0])
    low, high = exact(share, n)
    assert (low <= share).all()
    assert (high >= share).all()
    assert (np.diff(high - low, axis=0) <= 1e-12).all()  # more trials, a narrower interval
    assert (np.diff(low, axis=1) >= 0).all()
    np.testing.assert_allclose(low, 1 - exact(1 - share, n)[1], atol=1e-9)


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_the_lower_end_is_above_the_truth_as_rarely_as_it_says(n: int) -> None:
    hits = np.arange(n + 1)
    least = {"exact": 1.0, "wilson": 1.0}
    for truth in np.linspace(0.005, 0.995, 199):
        chances = binom.pmf(hits, n, truth)
        for name, interval in (("exact", exact), ("wilson", wilson)):
            low = interval(hits / n, n)[0]
            least[name] = min(least[name], float(chances[low <= truth].sum()))
    assert least["exact"] >= 0.975 - 1e-9
    assert least["wilson"] < 0.96  # why it is not used for a lower end
