"""Rates and experiments from logs small enough to count by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.catalog.events import EventLog
from synesthete.catalog.metrics import (
    assign,
    compare,
    duel,
    histories,
    known_by,
    summarize,
    team_draft,
)
from synesthete.errors import SynestheteError

NOW = datetime(2026, 5, 3, 12, tzinfo=UTC)


class Recorder:
    """Events written shortly: kind, item, visitor, list, and hours before now."""

    def __init__(self, folder: Path) -> None:
        self.log = EventLog(folder, known=lambda item: item != "gone", now=lambda: NOW)
        self.rows: list[dict[str, Any]] = []

    def __call__(
        self,
        kind: str,
        item: str,
        subject: str = "",
        shown: str = "",
        ago: float = 30.0,
        **more: Any,
    ) -> None:
        at = (NOW - timedelta(hours=ago)).isoformat()
        key = str(len(self.rows))
        self.rows.append(
            {
                "key": key,
                "kind": kind,
                "item": item,
                "subject": subject,
                "list": shown,
                "at": at,
                **more,
            }
        )

    def taken(self) -> EventLog:
        assert not self.log.take(self.rows).refused
        return self.log


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def test_rates_by_hand(record: Recorder) -> None:
    for item in "abcd":
        record("impression", item, "ann", "l1")
    record("impression", "a", "ann", "l1")  # shown once more in the same list
    record("click", "a", "ann", "l1")
    record("click", "a", "ann", "l1")  # a second click on the same impression
    record("conversion", "a", "ann", "l1", value=10.0)
    record("impression", "a", "ben", "l2", ago=2)
    record("dismissal", "a", "ben", "l2", ago=1)
    record("click", "b", "ben", "l2")  # never shown to ben
    record("click", "gone", "ben", "l2")
    found = summarize(record.taken())
    total = found.total
    assert (total.visitors, total.impressions) == (2, 5)
    assert total.click.value == pytest.approx(1 / 5)
    assert total.conversion.value == pytest.approx(1 / 5)
    assert total.dismissal.value == pytest.approx(1 / 5)
    assert (total.buyers.value, total.value.value) == (0.5, 5.0)
    assert total.click.n == 2, "the interval is over visitors, not impressions"
    assert found.left_out == {"unknown item": 1, "answer to what was not shown": 1}
    assert list(found.days) == ["2026-05-02", "2026-05-03"]
    assert found.days["2026-05-02"].click.value == pytest.approx(1 / 4)
    assert found.days["2026-05-03"].click.value == 0.0


def test_visitors_without_names(record: Recorder) -> None:
    record("impression", "a", shown="l1")
    record("click", "a", shown="l1")
    record("impression", "a", shown="l2")
    record("impression", "a")
    record("click", "a")  # joins nothing
    found = summarize(record.taken())
    assert (found.total.visitors, found.total.impressions) == (3, 3)
    assert found.total.click.value == pytest.approx(1 / 3)
    assert sum(found.left_out.values()) == 1


def test_an_empty_log(record: Recorder) -> None:
    found = summarize(record.taken())
    assert found.total.impressions == 0
    assert found.total.click.n == 0
    assert compare(record.log, "x").lift.verdict == "undecided"


def visit(
    record: Recorder, who: str, variant: str, ago: float = 30.0, *, bought: float | None = None
) -> None:
    record("impression", "a", who, f"l-{who}", ago, experiment="x", variant=variant)
    if bought is not None:
        record(
            "conversion", "a", who, f"l-{who}", bought, experiment="x", variant=variant, value=40.0
        )


def test_experiment_by_hand(record: Recorder) -> None:
    visit(record, "a1", "A")
    visit(record, "a2", "A", bought=29)
    visit(record, "b1", "B", bought=29)
    visit(record, "b2", "B", bought=28)
    visit(record, "late", "B", bought=5)  # 25 hours after the impression
    visit(record, "young", "A", ago=3, bought=2)
    visit(record, "both", "A")
    visit(record, "both", "B")
    record("impression", "a", experiment="x", variant="A")
    record("impression", "a", "other", experiment="y", variant="A")
    found = compare(record.taken(), "x", now=NOW)
    assert (found.lift.a.value, found.lift.a.n) == (0.5, 2)
    assert (found.lift.b.value, found.lift.b.n) == (pytest.approx(2 / 3), 3)
    assert found.left_out == {
        "visitors seen in both variants": 1,
        "visitors still inside the attribution window": 1,
        "events without a visitor's name": 1,
    }
    assert found.lift.verdict == "undecided"
    value = compare(record.taken(), "x", "value", now=NOW, cap=80.0)
    assert value.lift.a.value == pytest.approx(0.25)
    assert value.cap == 80.0


def test_what_came_before_the_impression_does_not_count(record: Recorder) -> None:
    record("conversion", "a", "ann", "l", 31, experiment="x", variant="A")
    visit(record, "ann", "A", ago=30)
    assert compare(record.taken(), "x", now=NOW).lift.a.value == 0.0


def test_wrong_questions(record: Recorder) -> None:
    with pytest.raises(SynestheteError, match="did you mean 'conversion'"):
        compare(record.log, "x", "conversions")  # type: ignore[arg-type]
    with pytest.raises(SynestheteError, match="cap"):
        compare(record.log, "x", "value")


def test_a_real_difference_is_found_and_a_mismatched_split_noticed(
    record: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "mismatched").mkdir()
    rng = np.random.default_rng(0)
    for i in range(900):
        variant = assign(f"v{i}", "x")
        bought = rng.random() < (0.15 if variant == "A" else 0.4)
        visit(record, f"v{i}", variant, ago=29 + rng.random(), bought=28.9 if bought else None)
    log = record.taken()
    found = compare(log, "x", now=NOW)
    assert found.lift.verdict == "B is better"
    assert found.lift.difference.low < 0.25 < found.lift.difference.high
    assert not found.split_is_off
    # Someone forgets to log those of A who do not buy.
    buyers = {row["subject"] for row in record.rows if row["kind"] == "conversion"}
    mismatched = EventLog(tmp_path / "mismatched", now=lambda: NOW)
    mismatched.take(
        [row for row in record.rows if row["variant"] == "B" or row["subject"] in buyers]
    )
    assert compare(mismatched, "x", now=NOW).split_is_off


def test_duel_by_hand_and_by_clicks(record: Recorder) -> None:
    rng = np.random.default_rng(0)
    for seed in range(120):
        draft = team_draft(["bad", "worse"], ["good", "fine"], 4, seed=seed)
        for place, (item, team) in enumerate(zip(draft.items, draft.teams, strict=True), start=1):
            record(
                "impression",
                item,
                f"v{seed}",
                f"l{seed}",
                position=place,
                experiment="d",
                team=team,
            )
        if seed % 4:
            record(
                "click",
                str(rng.choice(["good"] * 4 + ["bad"])),
                f"v{seed}",
                f"l{seed}",
                experiment="d",
            )
    found = duel(record.taken(), "d")
    assert (found.lists, found.ties) == (90, 30)
    assert found.lift.verdict == "B is better"
    assert found.lift.difference.value == pytest.approx(0.6, abs=0.15)


def test_histories_and_popularity(record: Recorder) -> None:
    record("impression", "a", "ann", ago=9)
    record("impression", "a", "ben", ago=8)
    record("impression", "b", "ben", ago=8)
    record("click", "b", "ben", ago=7)
    record("click", "a", "ben", ago=8)
    log = record.taken()
    assert list(histories(log).values()) == [["a", "b"]]
    assert known_by(log) == ({"a": 2, "b": 1}, 2)
