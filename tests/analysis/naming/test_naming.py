"""Names of planted units, of which the answer is known; and every door's refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from synesthete.analysis.naming import SCORERS, candidates, load_vocabulary, name_neurons
from synesthete.analysis.naming.candidates import (
    Images,
    alike,
    balanced_auc,
    contrast,
    interval,
    propose,
)
from synesthete.analysis.planted import Planted, plant
from synesthete.atlas import open_atlas
from synesthete.atlas.manifest import read_manifest, write_manifest
from synesthete.errors import SynestheteError
from synesthete.recording import record
from tests.analysis.planted_atlas import LAYER, record_planted, small_design
from tests.recording.fakes import FakeModel, FakeProbes
from tests.recording.trees import tree
from tests.small_atlas import record_small, write_known_analysis

UNITS = 120


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(small_design()[0], UNITS, noise=0.15, seed=5)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, planted: Planted) -> tuple[Path, dict]:
    path = record_planted(tmp_path_factory.mktemp("named"), *small_design(), planted)
    steps: list[tuple[int, int]] = []
    notes = name_neurons(path, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    return path, notes


def given_names(path: Path) -> list[list[str]]:
    table = open_atlas(path).unit_table(LAYER, "names")
    assert table is not None
    out: list[list[str]] = [[] for _ in range(UNITS)]
    for row in table.to_pylist():
        assert row["rank"] == len(out[row["unit"]])
        assert row["confidence_low"] <= row["confidence"] <= row["confidence_high"]
        out[row["unit"]].append(row["name"])
    return out


def test_units_are_called_by_what_was_planted(named: tuple[Path, dict], planted: Planted) -> None:
    names, concepts = given_names(named[0]), small_design()[0].concepts
    truth = [
        {concepts[one] for one in (first, second) if one >= 0}
        for first, second in zip(planted.concept, planted.second, strict=True)
    ]
    everywhere = np.isin(planted.kind, ("concept", "two concepts"))
    found = np.array([bool(some) for some in names])
    assert found[everywhere].mean() >= 0.95
    # Seven test images a concept are few for a unit that is silent in one of four modalities.
    assert found[np.isin(planted.kind, ("three ways", "images"))].mean() >= 0.4
    assert np.mean([names[u][0] in truth[u] for u in np.flatnonzero(found)]) >= 0.95
    both = np.flatnonzero(planted.kind == "two concepts")
    assert np.mean([set(names[u][:2]) == truth[u] for u in both]) >= 0.8
    wrong = sum(name not in truth[u] for u, some in enumerate(names) for name in some)
    assert wrong <= 0.05 * sum(map(len, names))


def test_units_that_say_nothing_are_unknown(named: tuple[Path, dict], planted: Planted) -> None:
    names = given_names(named[0])
    quiet = np.flatnonzero(np.isin(planted.kind, ("noise", "constant", "dead")))
    assert np.mean([not names[u] for u in quiet]) >= 0.9
    assert not any(names[u] for u in quiet if planted.kind[u] != "noise")
    notes = named[1]["layers"][LAYER]
    assert notes["named_random_twin"] <= 0.05 * UNITS
    assert notes["named_shuffled"] <= 0.05 * UNITS
    assert notes["named"] == sum(map(bool, names))
    assert notes["median_auc_named"] > 0.85 > notes["median_auc_unknown"]


def test_naming_again_gives_the_same_bytes(named: tuple[Path, dict]) -> None:
    before = tree(named[0])
    assert name_neurons(named[0]) == named[1]
    assert tree(named[0]) == before
    assert read_manifest(named[0])["names"] == json.loads(json.dumps(named[1]))


def test_a_given_threshold_is_kept_to(named: tuple[Path, dict], tmp_path: Path) -> None:
    path = Path(shutil.copytree(named[0], tmp_path / "copy.atlas"))
    few = name_neurons(path, threshold=0.97)["layers"][LAYER]
    assert (few["threshold"], few["threshold_from"]) == (0.97, "given")
    assert few["named"] < named[1]["layers"][LAYER]["named"]
    for wrong in (0.2, 1.0):
        with pytest.raises(SynestheteError, match="threshold"):
            name_neurons(path, threshold=wrong)


def test_balanced_auc_is_the_mean_of_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    modality = rng.integers(0, 3, 90)
    sets = rng.random((6, 90)) < 0.1
    sets[5, modality == 2] = False
    activations = np.round(rng.normal(size=(90, 4)), 1).astype(np.float32)
    images = Images(np.arange(90), modality, sparse.csr_array(sets.astype(float)))
    found = balanced_auc(activations, images)
    auc = found.auc
    assert ((found.error > 0) | np.isnan(auc)).all()
    for unit in range(4):
        for word in range(6):
            each = [
                roc_auc_score(sets[word, modality == m], activations[modality == m, unit])
                for m in range(3)
                if sets[word, modality == m].any()
            ]
            assert auc[unit, word] == pytest.approx(np.mean(each), abs=1e-5)


def test_the_interval_covers_what_it_promises() -> None:
    rng = np.random.default_rng(1)
    truth, covered = 0.8556, []  # P(N(1.5, 1) > N(0, 1))
    sets = np.zeros((1, 200))
    sets[0, :20] = 1
    images = Images(np.arange(200), np.zeros(200, np.int64), sparse.csr_array(sets))
    activations = rng.normal(size=(200, 400)) + 1.5 * sets.T
    found = balanced_auc(activations.astype(np.float32), images)
    low, high = interval(found.auc, found.error)
    covered = (low <= truth) & (truth <= high)
    assert 0.91 <= covered.mean() <= 0.995


def test_p_is_uniform_where_there_is_nothing() -> None:
    rng = np.random.default_rng(4)
    sets = np.zeros((1, 120))
    sets[0, ::13] = 1
    images = Images(np.arange(120), np.arange(120) % 3, sparse.csr_array(sets))
    p = balanced_auc(rng.normal(size=(120, 2000)).astype(np.float32), images).p[:, 0]
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= 1.35 * level + 0.003


def test_contrast_is_a_difference_of_means() -> None:
    rng = np.random.default_rng(2)
    activations = rng.normal(size=(40, 2)).astype(np.float32)
    sets = np.zeros((2, 40))
    sets[0, :7] = 1
    images = Images(np.arange(40), np.zeros(40, np.int64), sparse.csr_array(sets))
    found = contrast(activations, images)
    wanted = (activations[:7].mean(0) - activations[7:].mean(0)) / activations.std(0)
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-4)
    assert np.isnan(found[:, 1]).all()


def test_alike_takes_the_likest_for_their_modality() -> None:
    rng = np.random.default_rng(3)
    images, words = rng.normal(size=(300, 4)), rng.normal(size=(5, 4))
    modality = np.repeat([0, 1], 150)
    images[modality == 1] *= 0.3  # nothing there is as like a word, nor unlike
    sets = alike(
        np.arange(300), modality, images.astype(np.float32), words.astype(np.float32), concepts=30
    ).sets
    likeness = words @ images.T
    for word in range(5):
        for code in (0, 1):
            some = likeness[word, modality == code]
            likeness[word, modality == code] = (some - some.mean()) / some.std()
        best = np.argsort(-likeness[word])[:10]
        assert set(best) == set(np.flatnonzero(sets[[word]].toarray()[0]))
        assert len(set(modality[best])) == 2


def test_a_word_that_no_scorer_can_score_is_never_proposed() -> None:
    scores = np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, np.nan]], np.float32)
    found = propose({"a": scores, "b": scores})
    assert found.word[0].tolist() == [0, 2, -1]
    assert (found.word[1] == -1).all()


def test_candidates_do_not_depend_on_how_many_units_are_ranked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(6)
    scores = {name: rng.normal(size=(7, 9)).astype(np.float32) for name in "ab"}
    whole = propose(scores)
    monkeypatch.setattr(candidates, "AT_ONCE", 1)
    single = propose(scores)
    np.testing.assert_array_equal(single.word, whole.word)
    np.testing.assert_array_equal(single.score, whole.score)


def test_vocabularies_and_their_errors(tmp_path: Path) -> None:
    assert load_vocabulary("concepts", ["a", "b"]) == ["a", "b"]
    english = load_vocabulary("english")
    assert len(english) == len(set(english)) == 20_000
    file = tmp_path / "words.txt"
    file.write_text("# mine\n apple \n\nhot  dog\napple\nÄpfel\n", encoding="utf-8")
    assert load_vocabulary(str(file)) == ["apple", "hot dog", "Äpfel"]
    joined = "می\u200cخواهم\n👩\u200d🍳\n東京\n"  # joiners belong to the word
    file.write_text(joined, encoding="utf-8")
    assert load_vocabulary(str(file)) == joined.split("\n")[:3]
    for text, message in (
        ("", "empty"),
        ("a\n", "only 'a'"),
        ("a\nb\x07c\n", "line 2"),
        ("x" * 300, "not a word"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(SynestheteError, match=message):
            load_vocabulary(str(file))
    file.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(SynestheteError, match="UTF-8"):
        load_vocabulary(str(file))
    with pytest.raises(SynestheteError, match="no vocabulary concept"):
        load_vocabulary("concept")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = record_small(tmp_path_factory.mktemp("small"))
    write_known_analysis(path)
    return path


def test_a_free_vocabulary_asks_the_atlas_own_model(small: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("apple\nbanana\ncat\ncar\nhouse\n", encoding="utf-8")
    notes = name_neurons(small, vocabulary=str(words), threshold=0.5)["layers"]
    assert all((n["vocabulary"], n["words"]) == ("words.txt", 5) for n in notes.values())
    table = open_atlas(small).unit_table(open_atlas(small).layers[0], "names")
    assert table is not None
    assert set(table["name"].to_pylist()) <= {"apple", "banana", "cat", "car", "house"}
    assert set(table["method"].to_pylist()) <= {"auc", "contrast", "cos-cubed"}


@pytest.mark.parametrize("method", SCORERS)
def test_a_baseline_may_propose(small: Path, tmp_path: Path, method: str) -> None:
    path = Path(shutil.copytree(small, tmp_path / "copy.atlas"))
    layer = open_atlas(path).layers[0]
    notes = name_neurons(path, method=method, layers=[layer], threshold=0.5)["layers"][layer]
    assert notes["method"] == method
    table = open_atlas(path).unit_table(layer, "names")
    assert table is not None
    assert set(table["method"].to_pylist()) <= {method}
    assert set(table["name"].to_pylist()) <= set(open_atlas(path).concepts)


def test_one_layer_is_named_and_the_others_keep_their_names(tmp_path: Path) -> None:
    first, second = "visual.layer4.1", "visual.layer4.1:pre"
    path = record(FakeModel(), FakeProbes(70), [first, second], tmp_path / "two.atlas")
    whole = name_neurons(path, threshold=0.6)["layers"]
    assert list(whole) == [first, second]
    kept = open_atlas(path).unit_table(second, "names")
    one = name_neurons(path, layers=[first, first], threshold=0.5)["layers"]
    assert list(one) == [first]
    assert read_manifest(path)["names"]["layers"] == {**whole, **one}
    assert one[first]["named"] >= whole[first]["named"]
    assert open_atlas(path).unit_table(second, "names") == kept
    with pytest.raises(SynestheteError, match="no layer"):
        name_neurons(path, layers=["visual"])
    with pytest.raises(SynestheteError, match=r"no method 'softwpm'.*softwpmi"):
        name_neurons(path, method="softwpm")


def test_words_that_the_model_cannot_tell_apart_count_once(small: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("apple\nAPPLE\nApple\ncat\n", encoding="utf-8")
    path = Path(shutil.copytree(small, tmp_path / "copy.atlas"))
    notes = name_neurons(path, vocabulary=str(words))["layers"]
    assert {(n["words"], n["words_left_out"]) for n in notes.values()} == {(2, 2)}
    words.write_text("apple\nAPPLE\n", encoding="utf-8")
    with pytest.raises(SynestheteError, match="cannot tell the 2 words"):
        name_neurons(path, vocabulary=str(words))


def test_other_weights_are_refused(small: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(small, tmp_path / "copy.atlas"))
    manifest = read_manifest(path)
    manifest["model"]["weights_sha256"] = "0" * 64
    write_manifest(path, manifest)
    words = tmp_path / "words.txt"
    words.write_text("apple\nbanana\n", encoding="utf-8")
    with pytest.raises(SynestheteError, match="other weights"):
        name_neurons(path, vocabulary=str(words))


def test_an_atlas_without_the_dense_matrix_says_how_to_get_it(tmp_path: Path) -> None:
    path = record_small(tmp_path, dense=False)
    with pytest.raises(SynestheteError, match="dense matrix"):
        name_neurons(path)
