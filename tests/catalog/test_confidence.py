"""Confidence as a probability: planted truths are found again, nothing is promised of nothing, bad cases are refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synesthete.catalog import Catalog
from synesthete.catalog.suggest import CONFIDENCE, fit_confidence, read_confidence, write_confidence
from synesthete.errors import SynestheteError
from tests.catalog.conftest import image, sample_items


def planted(count: int, power: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Strengths of which one is right with the chance strength ** power."""
    rng = np.random.default_rng(seed)
    strength = rng.random(count)
    return strength, rng.random(count) < strength**power


def test_a_planted_curve_is_found_again() -> None:
    found = fit_confidence(*planted(4000, 3.0), "planted")
    for strength in (0.2, 0.5, 0.8, 0.95):
        assert found.probability(strength) == pytest.approx(strength**3, abs=0.07)
    # The bare strength is too sure by the mean of s - s³, a quarter; the probability is not, on cases it never saw.
    assert found.raw_error == pytest.approx(0.25, abs=0.03)
    assert found.error < 0.04
    assert found.error_interval is not None
    assert found.raw_error_interval is not None
    assert found.raw_error_interval[0] < found.raw_error < found.raw_error_interval[1]
    assert (
        found.error_interval[1] < found.raw_error_interval[0] < 0.25 < found.raw_error_interval[1]
    )
    assert found.n == sum(one.n for one in found.bins) == 4000
    inside = sum(one.low <= one.stated <= one.high for one in found.bins)
    assert inside >= len(found.bins) - 1


def test_a_strength_that_tells_nothing_becomes_the_base_rate() -> None:
    rng = np.random.default_rng(1)
    found = fit_confidence(rng.random(2000), rng.random(2000) < 0.3, "noise")
    assert found.order == pytest.approx(0.5, abs=0.05)
    assert found.probability(0.5) == pytest.approx(0.3, abs=0.06)
    assert found.error < 0.06


def test_never_quite_sure() -> None:
    strength = np.linspace(0, 1, 100)
    found = fit_confidence(strength, strength > 0.5, "clean")
    assert found.order == 1.0
    assert 0 < found.probability(0.0) < 0.05
    assert 0.95 < found.probability(1.0) < 1
    assert np.all(np.diff([found.probability(x) for x in strength]) >= 0)


def test_kept_in_a_file(tmp_path: Path) -> None:
    assert read_confidence(tmp_path) is None
    found = fit_confidence(*planted(200, 2.0), "planted", generation=7)
    write_confidence(tmp_path, found)
    assert read_confidence(tmp_path) == found
    before = (tmp_path / CONFIDENCE).read_text()
    (tmp_path / CONFIDENCE).write_text(before.replace('"stated"', '"told"'))  # an earlier version
    assert read_confidence(tmp_path) == found
    facts = json.loads(before)
    del facts["error_interval"], facts["raw_error_interval"]  # an earlier one, too
    (tmp_path / CONFIDENCE).write_text(json.dumps(facts))
    earlier = replace(found, error_interval=None, raw_error_interval=None)
    assert read_confidence(tmp_path) == earlier
    (tmp_path / CONFIDENCE).write_text("{")
    with pytest.raises(SynestheteError, match="damaged"):
        read_confidence(tmp_path)


@pytest.mark.parametrize(
    ("count", "right", "message"),
    [(10, [True, False] * 5, "too few"), (60, [True] * 60, "all 60 cases are right")],
)
def test_cases_that_tell_nothing_are_refused(count: int, right: list[bool], message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        fit_confidence(np.linspace(0, 1, count), np.array(right), "x")


def test_suggestions_of_a_calibrated_catalogue(catalog: Catalog, tmp_path: Path) -> None:
    before = catalog.suggest(image("red", 8), "a lamp", threshold=0.0)
    assert (before.calibrated, before.confidence) == (False, before.strength)
    with pytest.raises(SynestheteError, match="too few"):
        catalog.calibrate()  # 24 items are too few cases
    rows = [["image", "text", "relevant"]]
    for place, item in enumerate(item for item in sample_items() if item.category):
        for turn in range(3):
            name = f"{place}-{turn}.png"
            (tmp_path / name).write_bytes(image(item.id.split("-")[1], place + 20 * turn))
            rows.append([name, item.category if turn else "", item.id])
    with (tmp_path / "asked.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = catalog.calibrate(tmp_path / "asked.csv")
    assert (found.n, found.source) == (len(rows) - 1, "asked.csv")
    after = catalog.suggest(image("red", 8), "a lamp", threshold=0.0)
    assert after.calibrated
    assert after.strength == before.strength
    assert after.confidence == pytest.approx(found.probability(before.strength))
    kinds = {item.id: item.category for item in catalog.items()}
    right = []
    for shot, text, item in rows[1:]:
        suggestion = catalog.suggest(tmp_path / shot, text or None, threshold=0.0)
        right.append(suggestion.categories[0].value == kinds[item])
    assert found.right == pytest.approx(np.mean(right))
