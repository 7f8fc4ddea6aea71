"""Statistics are exact, and merging does not care about partition or order."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synesthete.atlas.arrays import npz_bytes
from synesthete.atlas.half import half_code, to_half
from synesthete.errors import SynestheteError
from synesthete.recording.statistics import MAX_IMAGES, UnitStatistics, _integer
from tests.oracles import recording as oracle

FLOATS = st.one_of(
    st.floats(width=32),
    st.sampled_from(
        [0.0, -0.0, 65504.0, -65504.0, 6e-8, -6e-8, 1e9, math.inf, -math.inf, math.nan]
    ),
)
VALUES = hnp.arrays(np.float32, st.tuples(st.integers(0, 30), st.integers(1, 4)), elements=FLOATS)


def bytes_of(statistics: UnitStatistics) -> bytes:
    return npz_bytes(statistics.arrays())


@given(VALUES)
def test_equals_the_oracle(values: np.ndarray) -> None:
    found = UnitStatistics.of(to_half(values))
    finished = found.finish()
    for unit in range(values.shape[1]):
        column = [oracle.rounded(float(value)) for value in values[:, unit]]
        expected = oracle.statistics(column)
        assert found.count[unit] == expected["count"]
        assert found.nonfinite[unit] == expected["nonfinite"]
        if not expected["count"]:
            assert np.isnan(finished.mean[unit])
            assert np.isnan(finished.minimum[unit])
            continue
        assert _integer(found.total[unit]) == expected["total"] * 2**24
        assert _integer(found.squares[unit]) == expected["squares"] * 2**48
        assert finished.mean[unit] == expected["mean"]
        assert finished.m2[unit] == expected["m2"]
        assert finished.std[unit] == pytest.approx(expected["std"], rel=1e-15)
        assert finished.minimum[unit] == expected["minimum"]
        assert finished.maximum[unit] == expected["maximum"]
        bins = [oracle.code(value) // 128 for value in column if not math.isnan(value)]
        assert finished.histogram[unit].tolist() == np.bincount(bins, minlength=512).tolist()


@settings(max_examples=50)
@given(VALUES, st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_partition_in_any_order_gives_the_same_bytes(
    values: np.ndarray, random: object, parts: int
) -> None:
    half = to_half(values)
    rows = list(range(len(half)))
    random.shuffle(rows)  # type: ignore[attr-defined]
    pieces = [UnitStatistics.of(half[rows[part::parts]]) for part in range(parts)]
    merged = reduce(UnitStatistics.merge, pieces, UnitStatistics.empty(half.shape[1]))
    assert bytes_of(merged) == bytes_of(UnitStatistics.of(half))


@given(VALUES, VALUES, VALUES)
def test_merge_is_associative_and_commutative(
    first: np.ndarray, second: np.ndarray, third: np.ndarray
) -> None:
    units = min(first.shape[1], second.shape[1], third.shape[1])
    a, b, c = (UnitStatistics.of(to_half(part[:, :units])) for part in (first, second, third))
    assert bytes_of(a.merge(b).merge(c)) == bytes_of(a.merge(b.merge(c)))
    assert bytes_of(a.merge(b)) == bytes_of(b.merge(a))
    assert bytes_of(a.merge(UnitStatistics.empty(units))) == bytes_of(a)


@pytest.mark.parametrize("value", [65504.0, -65504.0, 6e-8])
def test_no_overflow_with_a_million_million_images_of_the_largest_value(value: float) -> None:
    half = to_half(np.array([[value]]))
    statistics = UnitStatistics.of(half)
    for _ in range(40):
        statistics = statistics.merge(statistics)
    k = int(float(half[0, 0]) * 2**24)
    assert statistics.count[0] == 2**40
    assert _integer(statistics.total[0]) == k * 2**40
    assert _integer(statistics.squares[0]) == k * k * 2**40
    finished = statistics.finish()
    assert finished.mean[0] == float(half[0, 0])
    assert finished.m2[0] == 0


def test_more_images_than_can_be_held_are_refused() -> None:
    one = UnitStatistics.of(to_half(np.ones((1, 1))))
    for _ in range(62):
        one = one.merge(one)
    assert one.count[0] == MAX_IMAGES
    with pytest.raises(SynestheteError, match="2\\^62"):
        one.merge(one)
    with pytest.raises(SynestheteError, match="do not merge"):
        UnitStatistics.empty(1).merge(UnitStatistics.empty(2))


def test_blocks_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    half = to_half(np.random.default_rng(0).normal(size=(70, 3)) * 1000)
    whole = bytes_of(UnitStatistics.of(half))
    monkeypatch.setattr("synesthete.recording.statistics._MAX_ROWS", 16)
    assert bytes_of(UnitStatistics.of(half)) == whole


def test_rounding_is_ordered_and_reversible() -> None:
    bits = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = np.unique(bits[np.isfinite(bits)] + np.float16(0))
    codes = half_code(finite)
    assert (np.diff(codes.astype(int)) > 0).all()
    assert [oracle.code(value) for value in finite[::97]] == codes[::97].tolist()
