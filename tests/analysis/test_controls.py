"""Controls: mixtures keep the information and lose the units; counts take the worst of their runs."""

from __future__ import annotations

import numpy as np
import pytest

from synesthete.analysis import controls
from synesthete.analysis.controls import CURVE, counts, participation_ratio, rotated
from synesthete.analysis.multimodality import Criteria, score_units
from synesthete.analysis.planted import plant, planted_design
from synesthete.errors import SynestheteError


@pytest.mark.parametrize("standardised", [True, False])
def test_a_rotation_keeps_distances_between_images(standardised: bool) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(40, 12)).astype(np.float32) * np.arange(1, 13)
    values[:, 3] = 7.0  # dead
    live = np.delete(values, 3, axis=1)
    expected = (live - live.mean(0)) / (live.std(0) if standardised else 1.0)
    mixed = rotated(values, seed=1, standardised=standardised).astype(np.float64)
    assert mixed.shape == (40, 11)

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(mixed), distances(expected), rtol=0.01, atol=0.05)
    again = rotated(values, seed=1, standardised=standardised)
    assert (again == mixed.astype(np.float16)).all()
    assert (rotated(values, seed=2, standardised=standardised) != again).any()


def test_wide_layers_are_mixed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "BLOCK", 5)
    values = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    mixed = rotated(values, seed=0, standardised=False).astype(np.float64)
    assert mixed.shape == (30, 12)
    centred = values - values.mean(0)
    assert np.linalg.norm(mixed) == pytest.approx(np.linalg.norm(centred), rel=0.01)
    # Of a block of five only five units are needed to give its five mixtures.
    weights = np.linalg.lstsq(centred, mixed, rcond=None)[0]
    assert (np.abs(weights) > 0.01).sum(axis=0).max() <= 5


def test_participation_ratio_counts_directions() -> None:
    generator = np.random.default_rng(0)
    few = generator.normal(size=(2000, 3)) @ generator.normal(size=(3, 50))
    assert participation_ratio(few) <= 3.01
    assert participation_ratio(generator.normal(size=(5000, 20))) == pytest.approx(20, rel=0.05)
    wide = generator.normal(size=(10, 40))
    values = (wide - wide.mean(0)) / wide.std(0)
    spectrum = np.linalg.svd(values, compute_uv=False) ** 2
    expected = spectrum.sum() ** 2 / (spectrum**2).sum()
    assert participation_ratio(wide) == pytest.approx(expected, rel=1e-3)
    assert np.isnan(participation_ratio(np.ones((4, 2))))


def test_planted_units_pass_and_their_mixtures_do_not() -> None:
    design = planted_design(120, seed=3)
    planted = plant(design, 300, noise=0.15, seed=3, rectify=False)
    (scores,) = score_units(planted.activations, design)
    model = counts(scores, design)
    assert model["curve"] == sorted(model["curve"], reverse=True)
    assert model["curve"][CURVE.index(0.2)] == model["multimodal"]
    assert model["curve"][0] == model["selective"]
    assert sum(model["concepts"].values()) == model["multimodal"]
    mixed = rotated(planted.activations, seed=0, standardised=True)
    control = counts(score_units(mixed, design)[0], design)
    assert control["multimodal"] <= 0.1 * model["multimodal"]
    assert control["multimodal"] < control["selective"]


def test_verdicts_are_nested_and_thresholds_are_settings() -> None:
    design = planted_design(60, seed=1)
    planted = plant(design, 200, noise=0.3, seed=1)
    (scores,) = score_units(planted.activations, design)
    assert not (scores.concept_cell & ~scores.multimodal).any()
    assert not (scores.multimodal & ~scores.selective).any()
    (loose,) = score_units(planted.activations, design, criteria=Criteria(ap=0.0, cell=0.0))
    assert (loose.multimodal == scores.selective).all()
    (strict,) = score_units(planted.activations, design, criteria=Criteria(ap=1.0, cell=1.0))
    assert strict.multimodal.sum() <= scores.concept_cell.sum()
    tested = ~np.isnan(scores.ap)
    assert (scores.ap_low[tested] <= scores.ap[tested]).all()
    assert (scores.artists[tested] >= 1).all()
    assert (scores.artists <= scores.n).all()
    assert ((scores.n > 0) == tested).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"auc": 0.5}, "AUC threshold"),
        ({"q": 0.0}, "false discovery rate"),
        ({"ap": -0.1}, "average precision"),
        ({"ap": 0.6}, "average precision"),
        ({"cell": 1.1}, "average precision"),
        ({"ap": float("nan")}, "average precision"),
    ],
)
def test_thresholds_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        Criteria(**wrong)


def test_other_halves_have_their_own_testable_concepts() -> None:
    design = planted_design(40, seed=2)
    assert (design.scored_on(design.split.scoring).split.testable == design.split.testable).all()
    assert (design.scored_on(design.split.scoring).split.eligible == design.split.eligible).all()
    only_photos = design.modality == design.modalities.index("photo")
    other = design.scored_on(only_photos)
    assert not other.split.testable.any()  # never in both halves
    assert other.problem() is not None
    exchanged = design.scored_on(~design.split.scoring)
    assert (exchanged.split.testable == design.split.testable).all()
    assert (exchanged.images(0, scoring=True) == design.images(0, scoring=False)).all()
