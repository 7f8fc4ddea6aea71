"""Image statistics: what they say of images, and activations without what they explain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synesthete.analysis.analyze import analyze
from synesthete.analysis.controls import control_counts, measured
from synesthete.analysis.design import Design
from synesthete.analysis.image_statistics import (
    STATISTICS,
    image_statistics,
    statistics_of,
    without_statistics,
)
from synesthete.analysis.multimodality import DEFAULT, score_units
from synesthete.analysis.planted import plant
from synesthete.atlas import open_atlas
from synesthete.recording import record
from tests.analysis.planted_atlas import small_design
from tests.recording.fakes import FakeModel, FakeProbes


def statistics(image: np.ndarray) -> dict[str, float]:
    return dict(zip(STATISTICS, statistics_of(image[None])[0].tolist(), strict=True))


def test_statistics_of_a_square() -> None:
    image = np.ones((40, 40, 3), np.float32)
    image[10:20, 20:40] = (1.0, 0.0, 0.0)
    image[:, -1] = 1.0
    found = statistics(image)
    share = 10 * 19 / 1600
    assert (found["ink"], found["area"]) == pytest.approx((share, share))
    assert found["red"] == 1.0
    assert found["green"] == found["blue"] == pytest.approx(1 - share)
    assert found["saturation"] == pytest.approx(share)
    assert found["centre x"] == pytest.approx((20 + 39) / 2 / 40, abs=1e-4)
    assert found["centre y"] == pytest.approx(15 / 40, abs=1e-4)
    assert found["spread x"] == pytest.approx(np.sqrt((19**2 - 1) / 12) / 40, abs=1e-3)
    assert found["spread y"] == pytest.approx(np.sqrt((10**2 - 1) / 12) / 40, abs=1e-3)
    assert found["contrast"] == pytest.approx(_grey(image).std(), rel=1e-4)
    # A step of one unit of colour along the square's outline, on 39 x 39 pixels.
    assert 0 < found["edges"] < 0.05
    empty = statistics(np.full((40, 40, 3), 0.5, np.float32))
    assert [empty[key] for key in ("ink", "area", "edges", "contrast")] == pytest.approx(
        [0] * 4, abs=1e-6
    )
    assert (empty["centre x"], empty["centre y"]) == pytest.approx((0.5, 0.5))


def _grey(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


def test_statistics_come_from_the_thumbnails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = open_atlas(record(FakeModel(), FakeProbes(70), None, tmp_path / "x.atlas", twins=()))
    rows = np.array([69, 0, 5])
    found = image_statistics(atlas, rows)
    assert found is not None
    small = [atlas.thumbnail(image).reduce(3) for image in rows.tolist()]
    tiles = [np.asarray(image, np.float32) / 255 for image in small]
    np.testing.assert_allclose(found, statistics_of(np.stack(tiles)), rtol=1e-6)
    monkeypatch.setattr("synesthete.recording.plan.THUMBNAIL_LIMIT", 60)
    late = open_atlas(record(FakeModel(), FakeProbes(70), None, tmp_path / "y.atlas", twins=()))
    assert image_statistics(late, rows) is None


@pytest.fixture(scope="module")
def design() -> Design:
    return small_design()[0]


def test_residuals_are_those_of_least_squares(design: Design) -> None:
    generator = np.random.default_rng(0)
    images = design.concept.size
    known = generator.normal(size=(images, 5))
    known = np.column_stack([known, known[:, 0] + known[:, 1], np.ones(images)])  # rank deficient
    values = generator.normal(size=(images, 6)).astype(np.float32)
    values[:, 1] += 3 * known[:, 2]
    values[:, 2] = 7.0
    values[design.images(0), 3] = 0.125
    values[4, 5] = np.nan
    found = without_statistics(values, known, design).astype(np.float64)
    for modality in range(len(design.modalities)):
        rows = design.images(modality)
        basis = np.column_stack([known[rows], np.ones(len(rows))])
        for unit in (0, 1):
            y = values[rows, unit].astype(np.float64)
            expected = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
            np.testing.assert_allclose(
                found[rows, unit] * values[:, unit].std(), expected, atol=5e-3
            )
    assert (found[:, 2] == 0).all(), "a dead unit stays dead"
    assert (found[design.images(0), 3] == 0).all()
    assert np.isnan(found[4, 5])
    assert np.isfinite(np.delete(found[:, 5], 4)).all()


def test_what_a_statistic_explains_is_gone_and_the_rest_stays(design: Design) -> None:
    """Units that follow a statistic which tells one concept pass before, and not without it; planted ones pass both ways."""
    planted = plant(design, 40, noise=0.1, seed=2, rectify=False)
    generator = np.random.default_rng(1)
    images = design.concept.size
    ink = generator.normal(size=images) * 0.1 + (design.concept == 3)
    of_ink = ink[:, None] * (1 + np.arange(5)) + 1e-3 * generator.normal(size=(images, 5))
    values = np.column_stack([planted.activations, of_ink]).astype(np.float16)
    statistics = np.column_stack([ink, generator.normal(size=(images, 3))])
    (scores,) = score_units(values, design)
    assert scores.multimodal[40:].all()
    after = score_units(without_statistics(values, statistics, design), design)[0]
    assert not after.multimodal[40:].any()
    found = measured(values, design, DEFAULT, scores=scores, statistics=statistics)
    own = int(scores.multimodal[:40].sum())
    assert found["multimodal_without_statistics"] == int(after.multimodal.sum()) >= 0.9 * own
    same = after.concept == scores.concept
    kept = found["multimodal_kept_without_statistics"]
    assert kept == int((after.multimodal & scores.multimodal & same).sum()) < found["multimodal"]
    twins = {"random_twin": values[:, 40:], "permuted": values}
    of = control_counts(values, twins, design, criteria=DEFAULT, seed=0, statistics=statistics)
    assert of["multimodal_random_twin"] == 5
    assert of["multimodal_without_statistics_random_twin"] == 0
    assert of["multimodal_kept_without_statistics_random_twin"] == 0
    assert of["multimodal_kept_without_statistics_permuted"] == kept
    assert of["multimodal_without_statistics_rotation"] is None
    unknown = measured(values, design, DEFAULT, scores=scores)
    assert set(unknown) == set(found)
    assert unknown["multimodal_without_statistics"] is None


def test_every_layer_is_counted_without_them(tmp_path: Path) -> None:
    layers = ["visual.layer4.1", "visual.layer4.1:pre"]
    path = record(FakeModel(), FakeProbes(280), layers, tmp_path / "x.atlas")
    analyze(path)
    facts = open_atlas(path).manifest["analysis"]["layers"]
    assert set(facts) == set(layers)
    for layer in facts.values():
        for of in ("", "_random_twin", "_permuted"):
            assert layer[f"multimodal_without_statistics{of}"] is not None
            assert layer[f"multimodal_equal_length{of}"] is not None
    summary = open_atlas(path).summary()
    assert summary["multimodal_without_statistics"] is not None
    assert summary["participation_ratio_permuted"] > 1
