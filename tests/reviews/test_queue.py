"""The queue over many units: the same as judging each unit by itself, for any limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synesthete.atlas import Atlas, open_atlas, write_unit_tables
from synesthete.reviews import State, current, queue, request_review, say
from synesthete.reviews.queue import SENSITIVE, WEIGHTS
from tests.small_atlas import LAYER, record_small, write_known_analysis


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = record_small(tmp_path_factory.mktemp("queue"))
    write_known_analysis(path)
    units = int(open_atlas(path).layer(LAYER)["units"])
    rng = np.random.default_rng(5)
    named = np.sort(rng.choice(units, units - 1, replace=False))
    low = rng.uniform(0.6, 0.9, len(named)).round(2)
    names = {
        "unit": [*named, int(named[-1])], "rank": [0] * len(named) + [1], "name": [f"n{u}" for u in named] + ["second"],
        "method": ["auc"] * (len(named) + 1), "score": [1.0] * (len(named) + 1), "confidence": [0.9] * (len(named) + 1),
        "confidence_low": [*low, 0.1], "confidence_high": [*(low + rng.integers(0, 3, len(named)) / 10), 0.9],
    }  # fmt: skip
    notes = {"layers": {LAYER: {"threshold": 0.8}}}
    write_unit_tables(path, "names", {LAYER: pa.table(names)}, notes)
    families = ["region", "food", "person", "emotion"]
    rows = {
        "unit": named.tolist(), "rank": [0] * len(named), "family": [families[u % 4] for u in named],
        "confidence": [0.9] * len(named), "evidence": [""] * len(named),
    }  # fmt: skip
    write_unit_tables(path, "families", {LAYER: pa.table(rows)}, {})
    unnamed = int(np.setdiff1d(np.arange(units), named)[0])
    request_review(path, f"{LAYER}:{unnamed}", "no name held")
    say(path, "accept", f"{LAYER}:{named[0]}", rater="ann")
    say(path, "reject", f"{LAYER}:{named[0]}", rater="ben")
    say(path, "accept", f"{LAYER}:{named[1]}", rater="ann")
    return open_atlas(path)


def slowly(atlas: Atlas) -> list[tuple[float, str, str | None]]:
    """Unit by unit, as the documentation says it."""
    states = current(atlas)
    rows = {r["unit"]: r for r in atlas.unit_table(LAYER, "names").to_pylist() if r["rank"] == 0}
    spread = atlas.statistics(LAYER).std
    # Units of equal spread (dead ones) share no rank: numpy's order tells them apart.
    rank = {int(unit): place for place, unit in enumerate(np.argsort(spread))}
    found = []
    for unit in range(len(spread)):
        state, row = states.get(f"{LAYER}:{unit}", State()), rows.get(unit)
        requested = bool(state.requests) and not state.verdicts
        if state.verdicts and not state.disputed:
            continue
        if row is None and not requested and not state.disputed:
            continue
        undecided = 0.0
        if row is not None and row["confidence_high"] > row["confidence_low"]:
            low, high = row["confidence_low"], row["confidence_high"]
            undecided = max(0.0, 1 - abs(0.8 - (low + high) / 2) / ((high - low) / 2))
        score = (
            WEIGHTS["requested"] * requested
            + WEIGHTS["disputed"] * state.disputed
            + WEIGHTS["undecided"] * undecided
            + WEIGHTS["sensitive"] * (atlas.neuron(f"{LAYER}:{unit}").family in SENSITIVE)
            + WEIGHTS["use"] * rank[unit] / (len(spread) - 1)
        )
        found.append((float(score), f"{LAYER}:{unit}", row["name"] if row else None))
    return sorted(found, key=lambda one: (-one[0], one[1]))


def test_it_is_what_judging_each_unit_gives(reviewed: Atlas) -> None:
    expected, items = slowly(reviewed), queue(reviewed)
    assert {(item.address, item.name) for item in items} == {one[1:] for one in expected}
    scores = {item.address: item.score for item in items}
    assert scores == pytest.approx({address: score for score, address, _ in expected})
    assert [item.score for item in items] == sorted(scores.values(), reverse=True)


def test_a_limit_gives_the_first(reviewed: Atlas) -> None:
    items = queue(reviewed)
    assert len(items) > 3
    for limit in (0, 1, 2, 3, len(items), len(items) + 5):
        assert queue(reviewed, limit=limit) == items[:limit]


def test_without_names_only_requests_wait(tmp_path: Path) -> None:
    path = record_small(tmp_path)
    assert queue(open_atlas(path)) == []
    request_review(path, f"{LAYER}:1", "look")
    (item,) = queue(open_atlas(path))
    assert (item.address, item.name, item.why["requested"]) == (f"{LAYER}:1", None, 1.0)
