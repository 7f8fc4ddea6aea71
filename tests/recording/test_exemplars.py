"""Exemplars equal a plain sort, and merging does not care about partition or order."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.atlas.arrays import npz_bytes
from synesthete.atlas.exemplars import PER_BIN, Exemplars, parse_exemplars
from synesthete.atlas.half import to_half
from synesthete.errors import SynestheteError
from synesthete.recording.exemplars import (
    MAX_ID,
    empty_exemplars,
    exemplars_of,
    merge_exemplars,
)
from tests.oracles import recording as oracle

GROUPS = ("photo", "drawing", "word")
LIMIT = 4
# Few distinct values, so that ties and full bins are the rule.
LEVELS = st.sampled_from([0.0, 1.0, 1.25, 1.5, -2.0, 1000.0, float("nan"), 3e-6])


@st.composite
def images(draw: st.DrawFn) -> dict[str, np.ndarray]:
    count, units = draw(st.integers(0, 40)), draw(st.integers(1, 3))
    values = draw(st.lists(LEVELS, min_size=count * units, max_size=count * units))
    ids = draw(st.lists(st.integers(0, MAX_ID), min_size=count, max_size=count, unique=True))
    groups = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    places = draw(st.lists(st.integers(-1, 300), min_size=count * units, max_size=count * units))
    return {
        "values": to_half(np.array(values, np.float32).reshape(count, units)),
        "positions": np.array(places, np.int16).reshape(count, units),
        "ids": np.array(ids, np.int64),
        "groups": np.array(groups, np.int64),
    }


def of(data: dict[str, np.ndarray], rows: list[int]) -> Exemplars:
    part = [data[name][rows] for name in ("values", "positions", "ids", "groups")]
    return exemplars_of(*part, GROUPS, LIMIT)


@given(images())
def test_equals_the_oracle(data: dict[str, np.ndarray]) -> None:
    found = of(data, list(range(len(data["ids"]))))
    for unit in range(found.units):
        for group, name in enumerate(GROUPS):
            mine = [
                (int(id_), float(value), int(place))
                for id_, value, place, of_group in zip(
                    data["ids"],
                    data["values"][:, unit],
                    data["positions"][:, unit],
                    data["groups"],
                    strict=True,
                )
                if of_group == group
            ]
            expected = oracle.exemplars(mine, LIMIT, PER_BIN)
            for end in ("top", "bottom", "stratified"):
                one = getattr(found, end)(unit, name)
                listed = list(
                    zip(one.ids.tolist(), one.values.tolist(), one.positions.tolist(), strict=True)
                )
                assert listed == expected[end]


@given(images())
def test_all_groups_together_equal_the_oracle(data: dict[str, np.ndarray]) -> None:
    found = of(data, list(range(len(data["ids"]))))
    for unit in range(found.units):
        everything = [
            (int(id_), float(value), int(place))
            for id_, value, place in zip(
                data["ids"], data["values"][:, unit], data["positions"][:, unit], strict=True
            )
        ]
        expected = oracle.exemplars(everything, LIMIT, PER_BIN)
        assert found.top(unit).ids.tolist() == [image[0] for image in expected["top"]]
        assert found.bottom(unit).ids.tolist() == [image[0] for image in expected["bottom"]]
        drawn = [image[0] for image in expected["stratified"]]
        assert found.stratified(unit).ids.tolist() == drawn


@settings(max_examples=60)
@given(images(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_partition_in_any_order_gives_the_same_bytes(
    data: dict[str, np.ndarray], random: object, parts: int
) -> None:
    rows = list(range(len(data["ids"])))
    whole = npz_bytes(of(data, rows).arrays())
    random.shuffle(rows)  # type: ignore[attr-defined]
    pieces = [of(data, rows[part::parts]) for part in range(parts)]
    empty = empty_exemplars(data["values"].shape[1], GROUPS, LIMIT)
    assert npz_bytes(reduce(merge_exemplars, pieces, empty).arrays()) == whole
    assert npz_bytes(reduce(merge_exemplars, reversed(pieces)).arrays()) == whole
    # Associative: folding from the right is the same as from the left.
    folded = reduce(lambda right, left: merge_exemplars(left, right), reversed(pieces))
    assert npz_bytes(folded.arrays()) == whole


def test_survives_writing_and_reading() -> None:
    random = np.random.default_rng(0)
    data = {
        "values": to_half(random.normal(size=(50, 3))),
        "positions": random.integers(0, 49, (50, 3)).astype(np.int16),
        "ids": np.arange(50),
        "groups": random.integers(0, 3, 50),
    }
    found = of(data, list(range(50)))
    written = npz_bytes(found.arrays())
    again = parse_exemplars(written, 3, GROUPS, LIMIT, source="exemplars.npz")
    assert npz_bytes(again.arrays()) == written
    with pytest.raises(SynestheteError, match=r"exemplars\.npz cannot be read"):
        parse_exemplars(written, 4, GROUPS, LIMIT, source="exemplars.npz")


def test_what_cannot_be_is_refused() -> None:
    one = empty_exemplars(2, GROUPS, LIMIT)
    with pytest.raises(SynestheteError, match="do not merge"):
        merge_exemplars(one, empty_exemplars(2, GROUPS, LIMIT + 1))
    with pytest.raises(SynestheteError, match="no unit 2"):
        one.top(2)
    with pytest.raises(SynestheteError, match="did you mean 'word'"):
        one.top(0, "words")
    values, places = to_half(np.ones((1, 1))), np.zeros((1, 1), np.int16)
    with pytest.raises(SynestheteError, match="2\\^47"):
        exemplars_of(values, places, np.array([MAX_ID + 1]), np.array([0]), GROUPS, LIMIT)
