"""Orders and correlations as columns: the same as sorting and correlating one by one."""

from __future__ import annotations

import numpy as np
import pytest

from synesthete.report.columns import Part, ranked
from synesthete.report.neuron import NEIGHBOURS, Compared, nearest


@pytest.mark.parametrize("seed", range(8))
def test_the_order_is_that_of_sorting_tuples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts, tuples = [], []
    for layer in ("b.2", "a", "b.10"):
        size = int(rng.integers(0, 40))
        units = rng.permutation(100)[:size]
        keys = (rng.integers(0, 3, size), rng.integers(0, 4, size) / 4)
        parts.append(Part(layer, units, keys))
        tuples += [(*key, layer, int(unit)) for *key, unit in zip(*keys, units, strict=True)]
    expected = [(layer, unit) for *_, layer, unit in sorted(tuples)]
    assert ranked(parts) == expected
    assert ranked(parts, 3, 9) == expected[3:9]
    assert ranked(parts, len(expected)) == []


def test_nothing_has_no_order() -> None:
    assert ranked([]) == []
    assert ranked([Part("a", np.zeros(0, np.int64), (np.zeros(0),))]) == []


def activations() -> np.ndarray:
    """`[images, units]`: small and large values, a constant unit, and one that never could be read."""
    rng = np.random.default_rng(3)
    common = rng.normal(size=(300, 1))
    values = 50 + 3 * (common + rng.normal(size=(300, 40)) * np.linspace(0.1, 4, 40))
    values[:, 7] = 41.0
    values[:, 8] = np.nan
    return values.astype(np.float16)


def test_correlations_are_those_of_numpy() -> None:
    values = activations()
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(values.astype(np.float64).T)
    compared = Compared.of(values)
    for unit in (0, 5, 39):
        found = compared.with_others(unit)
        others = [u for u in range(40) if u not in (unit, 7, 8)]
        assert found[others] == pytest.approx(expected[unit, others], abs=1e-5)
        assert np.isneginf(found[[unit, 7, 8]]).all()
    assert np.isneginf(compared.with_others(7)).all()


def test_the_nearest_are_the_highest_and_ties_go_to_the_first() -> None:
    r = np.zeros(50)
    r[[30, 4, 17]] = (0.9, 0.9, 0.95)
    found = nearest(r)
    assert found[:3] == [(17, 0.95), (4, 0.9), (30, 0.9)]
    assert [unit for unit, _ in found[3:]] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert len(found) == NEIGHBOURS
    assert nearest(np.array([-np.inf, 0.5, -np.inf])) == [(1, 0.5)]
