"""`analyze` on a recorded atlas: what it writes, its controls, its refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from synesthete.analysis import analyze
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.planted import Planted, plant
from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from tests.analysis.planted_atlas import LAYER, record_planted, small_design, table_values

UNITS = 80
UNREADABLE = 3


@pytest.fixture(scope="module")
def design() -> Design:
    return small_design()[0]


@pytest.fixture(scope="module")
def artists() -> list[str]:
    return small_design()[1]


@pytest.fixture(scope="module")
def planted(design: Design) -> Planted:
    return plant(design, UNITS, noise=0.1, seed=2)


@pytest.fixture(scope="module")
def atlas_path(
    tmp_path_factory: pytest.TempPathFactory, design: Design, artists: list[str], planted: Planted
) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    path = record_planted(folder, design, artists, planted, broken={UNREADABLE: "truncated"})
    steps: list[tuple[int, int]] = []
    analyze(path, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    return path


def test_neurons_are_the_planted_ones(atlas_path: Path, planted: Planted) -> None:
    atlas = open_atlas(atlas_path)
    assert not atlas.verify()
    neurons = sorted(atlas.neurons(LAYER), key=lambda neuron: neuron.unit)
    called = np.array([neuron.multimodal for neuron in neurons])
    assert called[np.isin(planted.kind, ("concept", "three ways"))].mean() >= 0.9
    assert not (called & ~planted.multimodal).any()
    for neuron, kind, code in zip(neurons, planted.kind, planted.concept, strict=True):
        assert neuron.dead == (kind in ("constant", "dead"))
        if neuron.dead:
            assert neuron.concept == neuron.family == ""
            assert neuron.auc == {}
            assert np.isnan(neuron.multimodality)
        elif kind == "concept":
            assert neuron.concept == f"concept {code:04d}"
            assert neuron.family == f"family {code % 3}"
            assert neuron.n_concepts <= 1
            assert neuron.multimodality == pytest.approx(min(neuron.auc.values()))
    columns = planted.activations.astype(np.float64)
    readable = np.delete(columns, UNREADABLE, axis=0)
    np.testing.assert_allclose([n.mean for n in neurons], readable.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose([n.maximum for n in neurons], readable.max(axis=0))


def test_unreadable_images_are_left_out(
    atlas_path: Path, planted: Planted, design: Design, artists: list[str]
) -> None:
    rows = np.delete(np.arange(design.concept.size), UNREADABLE)
    alone = Design.of(
        [design.concepts[design.concept[i]] for i in rows],
        [design.modalities[design.modality[i]] for i in rows],
        [artists[i] for i in rows],
    )
    scores = score_units(planted.activations[rows], alone)[0]
    table = pq.read_table(atlas_path / "layers" / LAYER / "neurons.parquet")
    for m, modality in enumerate(alone.modalities):
        np.testing.assert_allclose(table_values(table, f"auc_{modality}"), scores.auc[:, m])
        np.testing.assert_allclose(table_values(table, f"p_{modality}"), scores.p[:, m])


def test_every_count_has_its_controls(atlas_path: Path, design: Design) -> None:
    atlas = open_atlas(atlas_path)
    summary = atlas.summary()
    assert summary["multimodal"] >= 20
    assert summary["multimodal_random_twin"] == summary["multimodal_shuffled"] == 0
    assert summary["threshold"] == 0.9
    notes = atlas.manifest["analysis"]
    counts = notes["layers"][LAYER]
    assert counts["live_units"] + sum(n.dead for n in atlas.neurons()) == counts["units"] == UNITS
    assert counts["runs_shuffled"] == 10
    assert counts["runs_rotation"] == 4
    # Units are planted in their own basis. Among few concepts an average precision of 0.2 is within reach of mixtures.
    assert 2 * counts["multimodal_rotation"] < counts["multimodal"]
    assert (
        counts["curve"][0] == counts["selective"] >= counts["multimodal"] >= counts["concept_cells"]
    )
    assert notes["curve"][3] == notes["ap"] == 0.2
    assert counts["curve"][3] == counts["multimodal"]
    assert 1 <= counts["participation_ratio"] <= counts["live_units"]
    mine = Counter(n.concept for n in atlas.neurons() if n.multimodal)
    assert counts["concepts"] == mine
    assert counts["concepts_random_twin"] == counts["concepts_shuffled"] == {}
    assert summary["multimodal_concepts"] == len(mine)
    assert summary["multimodal_concepts_random_twin"] == 0
    for key in ("multimodal", "answering", "polysemantic"):
        assert counts[f"{key}_random_twin"] == counts[f"{key}_shuffled"] == 0 < counts[key]
    assert counts["median_sparseness"] > 0 < counts["median_sparseness_random_twin"]
    assert 0 < counts["hypotheses"] <= 4 * counts["live_units"]
    assert notes["images_without_label"] == 1
    assert notes["images"] == design.concept.size - 1
    halves = notes["halves"]["selection"] + notes["halves"]["scoring"]
    assert sorted(halves) == sorted({*atlas.probes["artist"].to_pylist()})
    assert {*notes["modalities"]} == {*design.modalities}


def test_selectivity_rows(atlas_path: Path, planted: Planted) -> None:
    rows = open_atlas(atlas_path).selectivity(LAYER).to_pylist()
    found = {(row["unit"], row["concept"]): row for row in rows}
    assert [*found] == sorted(found)
    for unit, kind in enumerate(planted.kind):
        own = (unit, f"concept {planted.concept[unit]:04d}")
        if kind in ("concept", "two concepts"):
            assert found[own]["passes"]
            assert found[own]["auc_word"] > 0.95
            assert found[own]["q_word"] <= 0.01
            assert found[own]["n_word"] == 4
        if kind in ("constant", "dead"):
            assert not any(key[0] == unit for key in found)


def test_same_bytes_again(atlas_path: Path) -> None:
    files = [atlas_path / "layers" / LAYER / name for name in ("neurons", "selectivity")]
    files = [file.with_suffix(".parquet") for file in files] + [atlas_path / "atlas.json"]
    before = [file.read_bytes() for file in files]
    analyze(atlas_path)
    assert [file.read_bytes() for file in files] == before


def test_another_threshold_and_seed(atlas_path: Path) -> None:
    analyze(atlas_path, threshold=1.0, q=0.001, seed=5)
    strict = open_atlas(atlas_path).summary()
    analyze(atlas_path)
    usual = open_atlas(atlas_path).summary()
    assert strict["multimodal"] < usual["multimodal"]
    assert (strict["threshold"], strict["q"]) == (1.0, 0.001)


def test_without_twin_and_without_artists(tmp_path: Path, design: Design, planted: Planted) -> None:
    unknown = [""] * design.concept.size
    path = record_planted(tmp_path, design, unknown, planted, twin=False)
    analyze(path)
    atlas = open_atlas(path)
    assert atlas.summary()["multimodal_random_twin"] is None
    assert atlas.summary()["multimodal"] >= 20
    notes = atlas.manifest["analysis"]
    assert notes["halves"]["images_of_unknown_artist"] == design.concept.size


def test_bad_requests_are_refused_before_anything_changes(atlas_path: Path, tmp_path: Path) -> None:
    before = (atlas_path / "atlas.json").read_bytes()
    for options in ({"threshold": 0.5}, {"threshold": 1.5}, {"q": 0.0}, {"q": float("nan")}):
        with pytest.raises(SynestheteError, match="must be"):
            analyze(atlas_path, **options)
    assert (atlas_path / "atlas.json").read_bytes() == before
    with pytest.raises(SynestheteError, match="no atlas"):
        analyze(tmp_path / "none.atlas")


def record_noise(folder: Path, design: Design, artists: list[str]) -> Path:
    """An atlas of four units: one that answers to the first concept, two of noise, one constant."""
    images = design.concept.size
    values = np.random.default_rng(0).normal(size=(images, 4))
    values[:, 0] += 9 * (design.concept == 0)
    values[:, 3] = 1
    kind, code = np.array(["noise"] * 4), np.zeros(4, np.int64)
    units = Planted(
        activations=values.astype(np.float16),
        kind=kind,
        concept=code,
        second=code - 1,
        latent=values,
        noise=0.1,
    )
    return record_planted(folder, design, artists, units)


def test_without_words_units_are_described_and_nothing_is_counted(tmp_path: Path) -> None:
    names = [f"concept {i % 5:04d}" for i in range(80)]
    artists = [f"artist {i // 5 % 4}" for i in range(80)]
    modalities = ["drawing" if i < 40 else "photo" for i in range(80)]
    path = record_noise(tmp_path, Design.of(names, modalities, artists), artists)
    analyze(path)
    atlas = open_atlas(path)
    assert atlas.analysed
    assert not atlas.verify()
    best, *_, dead = atlas.neurons()
    assert (best.unit, best.concept, best.multimodal) == (0, "concept 0000", False)
    assert best.auc == {"drawing": 1.0, "photo": 1.0}
    assert best.q < 0.05
    assert (dead.unit, dead.dead, dead.concept) == (3, True, "")
    facts = atlas.summary()
    assert facts["live_units"] == 3
    counted = {key for key in facts if key.startswith("multimodal")}
    assert len(counted) == 10
    assert all(facts[key] is None for key in counted), "none found is another thing than not tested"
    assert "needs written words; the probe images are: photo, drawing" in facts["not_tested"]
    assert "record with --words" in facts["not_tested"]
    before = (path / "atlas.json").read_bytes()
    analyze(path)
    assert (path / "atlas.json").read_bytes() == before


def test_without_concepts_units_have_statistics_alone(tmp_path: Path) -> None:
    design = Design.of([""] * 40, ["photo"] * 40, ["a", "b"] * 20, at_least=1)
    path = record_noise(tmp_path, design, ["a", "b"] * 20)
    analyze(path)
    atlas = open_atlas(path)
    assert not atlas.verify()
    assert [neuron.dead for neuron in atlas.neurons()] == [False, False, False, True]
    for neuron in atlas.neurons():
        assert (neuron.concept, neuron.auc, neuron.multimodal) == ("", {}, False)
        assert np.isnan(neuron.multimodality)
    assert all(neuron.sparseness > 0 for neuron in atlas.neurons()[:3])
    assert "no named concept" in atlas.summary()["not_tested"]


def test_one_concept_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    kinds = ["photo", "drawing", "symbol", "word"] * 10
    artists = [f"{kind} {i // 4 % 2}" for i, kind in enumerate(kinds)]
    design = Design.of(["concept 0000"] * 40, kinds, artists, at_least=1)
    path = record_noise(tmp_path, design, artists)
    analyze(path)
    atlas = open_atlas(path)
    assert {neuron.concept for neuron in atlas.neurons()} == {""}
    assert "only 'concept 0000'" in atlas.summary()["not_tested"]


def test_an_analysed_atlas_that_can_be_counted_says_nothing_of_it(atlas_path: Path) -> None:
    assert open_atlas(atlas_path).summary()["not_tested"] is None
    assert "not_tested" not in open_atlas(atlas_path).manifest["analysis"]
