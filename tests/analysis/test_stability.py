"""Stability: sorting once gives what sorting each time gives; planted units keep their concept, noise does not."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from synesthete.analysis import analyze
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import Scores, score_halves, score_units
from synesthete.analysis.planted import plant, planted_design
from synesthete.analysis.selectivity import Ranking, auc_table
from synesthete.analysis.stability import (
    measure_stability,
    other_splits,
    resampled,
    stability,
)
from synesthete.atlas import open_atlas
from synesthete.atlas.summary import stability_of
from synesthete.cli.app import make_app
from synesthete.errors import SynestheteError
from tests.analysis.planted_atlas import LAYER, record_planted, small_design
from tests.oracles import selectivity as oracle


def coarse(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Activations with many ties, negative numbers, both zeros and a missing value."""
    values = np.round(generator.normal(size=shape) * 3) / 2
    values[values == 0.5] = -0.0
    values[0, 0] = np.nan
    return values.astype(np.float16)


@pytest.mark.parametrize("seed", range(4))
def test_ranks_in_a_subset_are_those_of_its_images_alone(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values, codes = coarse(generator, (60, 7)), generator.integers(0, 5, 60)
    ranking = Ranking(values, codes, 5)
    subset = generator.random(60) < 0.6
    found, expected = ranking.table(subset), auc_table(values[subset], codes[subset], 5)
    np.testing.assert_allclose(found.auc, expected.auc, rtol=1e-6)
    np.testing.assert_array_equal(found.n_pos, expected.n_pos)
    for unit in range(7):
        for concept in range(5):
            own = codes[subset] == concept
            judged = oracle.auc(values[subset, unit].astype(float), own)
            assert found.auc[unit, concept] == pytest.approx(judged, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_halves_sorted_once_are_scored_as_if_each_were_sorted(seed: int) -> None:
    design = planted_design(25, seed=seed)
    planted = plant(design, 70, noise=0.3, seed=seed)
    designs = [
        design,
        design.scored_on(~design.split.scoring),
        *other_splits(design, 2, seed=seed),
        *resampled(design, 2, seed=seed),
    ]
    for found, one in zip(score_halves(planted.activations, designs), designs, strict=True):
        (expected,) = score_units(planted.activations, one)
        for field in fields(Scores):
            if field.name != "correlation":
                ours, theirs = getattr(found, field.name), getattr(expected, field.name)
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, err_msg=field.name)


def test_chunks_of_units_do_not_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    design = planted_design(20)
    activations = plant(design, 30, noise=0.2).activations
    whole = stability(activations, design, splits=2, resamples=2)
    monkeypatch.setattr("synesthete.analysis.multimodality.RANKED_AT_ONCE", 2000)
    assert stability(activations, design, splits=2, resamples=2) == whole


def test_resamples_keep_the_halves_and_drop_a_third_of_the_artists() -> None:
    design = planted_design(30)
    everyone = np.unique(design.artist).size
    shares = []
    for one in resampled(design, 40):
        kept = one.modality >= 0
        assert not (one.split.scoring & ~design.split.scoring).any()
        assert (one.split.scoring == (design.split.scoring & kept)).all()
        artists = np.unique(design.artist[kept])
        assert (np.isin(design.artist, artists) == kept).all()  # all of an artist's images or none
        shares.append(artists.size / everyone)
    assert 0.6 < np.mean(shares) < 0.75  # 1 - (1 - 1/n)^n, n from 3 to 5


def test_splits_are_by_artist_and_differ() -> None:
    design = planted_design(30)
    splits = other_splits(design, 6)
    for one in splits:
        for artist in np.unique(design.artist):
            assert np.unique(one.split.scoring[design.artist == artist]).size == 1
        for m in range(len(design.modalities)):
            halves = [np.unique(design.artist[design.images(m, scoring=s)]).size for s in (0, 1)]
            assert abs(halves[0] - halves[1]) <= 1
    assert len({one.split.scoring.tobytes() for one in splits}) == 6
    again = other_splits(design, 6)
    assert all(
        (a.split.scoring == b.split.scoring).all() for a, b in zip(splits, again, strict=True)
    )


def test_planted_units_keep_their_concept_and_noise_does_not() -> None:
    design = planted_design(80)
    planted = plant(design, 400, noise=0.1, seed=1)
    clear = np.isin(planted.kind, ("concept", "three ways"))
    noise = planted.kind == "noise"
    found = stability(planted.activations[:, clear], design, splits=4, resamples=2)
    units = int(clear.sum())
    assert min(found["exchanged"]["kept_multimodal"]) >= 0.95 * units
    assert min(found["exchanged"]["same_concept_live"]) >= 0.99 * units
    chance = stability(planted.activations[:, noise], design, splits=4, resamples=0)
    assert max(chance["splits"]["same_concept_live"]) <= 0.2 * noise.sum()
    assert max(chance["splits"]["multimodal"]) <= 1


def test_counts_are_consistent() -> None:
    design = planted_design(60)
    activations = plant(design, 200, noise=0.25, seed=3).activations
    (printed,) = score_units(activations, design)
    for runs in stability(activations, design, splits=3, resamples=3).values():
        for i in range(len(runs["multimodal"])):
            assert runs["selective"][i] >= runs["multimodal"][i] >= runs["concept_cells"][i]
            for verdict in ("selective", "multimodal", "concept_cells"):
                assert runs[f"kept_{verdict}"][i] <= runs[verdict][i]
            assert runs["kept_multimodal"][i] <= runs["same_concept"][i]
            assert runs["same_concept"][i] <= printed.multimodal.sum()
            assert runs["same_concept"][i] <= runs["same_concept_live"][i]


@pytest.fixture(scope="module")
def atlas_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    design, artists = small_design()
    path = record_planted(
        tmp_path_factory.mktemp("stability"), design, artists, plant(design, 60, noise=0.1)
    )
    analyze(path)
    return path


def test_the_analysis_keeps_what_the_measurement_gives(atlas_path: Path) -> None:
    atlas = open_atlas(atlas_path)
    layer = atlas.manifest["analysis"]["layers"][LAYER]
    assert measure_stability(atlas) == {LAYER: layer["stability"]}
    facts = atlas.summary()
    splits = layer["stability"]["splits"]["multimodal"]
    assert len(splits) == 10
    assert facts["multimodal_range"] == [min(splits), max(splits)]
    assert facts["stability"]["splits"]["multimodal"] == {
        "mean": pytest.approx(np.mean(splits), abs=0.005),
        "low": min(splits),
        "high": max(splits),
    }
    twin = layer["stability_random_twin"]["splits"]["multimodal"]
    assert facts["multimodal_range_random_twin"] == [min(twin), max(twin)]
    assert max(layer["each_shuffled"]) == layer["multimodal_shuffled"]
    assert len(layer["each_rotation"]) == layer["runs_rotation"]


def test_layers_add_up() -> None:
    one = {"stability": {"splits": {"eligible": [5, 6], "multimodal": [3, 4]}}}
    other = {"stability": {"splits": {"eligible": [5, 6], "multimodal": [10, 0]}}}
    found = stability_of([one, other])
    assert found is not None
    assert found["splits"]["multimodal"] == {"mean": 8.5, "low": 4, "high": 13}
    assert found["splits"]["eligible"] == {"mean": 5.5, "low": 5, "high": 6}
    assert stability_of([one, {}]) is None


def test_the_command_shows_and_measures_again(
    atlas_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (atlas_path / "atlas.json").read_bytes()

    def run(*options: str) -> str:
        make_app()(["stability", str(atlas_path), *options], standalone_mode=False)
        return capsys.readouterr().out

    stored = json.loads(run("--json"))
    assert stored == open_atlas(atlas_path).summary()["stability"]
    fewer = json.loads(run("--splits", "3", "--resamples", "0", "--json"))
    assert fewer["splits"]["runs"] == 3
    assert fewer["resamples"]["runs"] == 0
    assert fewer["exchanged"] == stored["exchanged"]
    other = json.loads(run("--seed", "5", "--json"))
    assert other["splits"] != stored["splits"]
    printed = run()
    assert "10 splits" in printed
    assert max(map(len, printed.splitlines()[:6])) <= 80  # the table; prose wraps by itself
    assert "kept" in printed
    assert (atlas_path / "atlas.json").read_bytes() == before


def test_an_atlas_without_analysis_is_refused(tmp_path: Path) -> None:
    design, artists = small_design(6)
    path = record_planted(tmp_path, design, artists, plant(design, 5, noise=0.1))
    with pytest.raises(SynestheteError, match="is not analysed"):
        measure_stability(open_atlas(path))


def test_left_out_images_belong_to_no_half() -> None:
    design = Design.of(
        ["apple", "dog"] * 6, ["photo"] * 4 + ["symbol"] * 4 + ["word"] * 4, list("aabbccddeeff")
    )
    kept = design.artist != design.artist[0]
    fewer = design.only(kept)
    for m in range(len(design.modalities)):
        both = np.concatenate([fewer.images(m, scoring=half) for half in (False, True)])
        assert sorted(both) == list(np.flatnonzero(kept & (design.modality == m)))
    assert fewer.split.testable.sum() < design.split.testable.sum()
    assert (fewer.artists(design.concept) <= design.artists(design.concept)).all()
