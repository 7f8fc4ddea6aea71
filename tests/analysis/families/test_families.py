"""Families: what words belong to, planted units of a family, a user's own list, and bad files."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.families import (
    assign_families,
    geographic_share,
    load_families,
    nouns,
    published_families,
    wordnet,
)
from synesthete.analysis.naming import name_neurons
from synesthete.analysis.planted import Planted, plant
from synesthete.atlas import open_atlas, write_words
from synesthete.errors import SynestheteError
from tests.analysis.planted_atlas import LAYER, record_planted, small_design
from tests.recording.trees import tree

UNITS, OWN = 90, 8
CONCEPTS = Path(__file__).parents[3] / "training" / "build_concepts" / "concepts.tsv"
TWO = {
    "families": [
        {"name": "first", "roots": [], "words": [], "probe_families": ["family 0"]},
        {"name": "others", "roots": ["entity.n.01"], "probe_families": ["family 1", "family 2"]},
    ]
}


@pytest.mark.parametrize(
    ("word", "family"),
    [
        ("sadness", "emotion"),
        ("France", "region"),
        ("Paris", "region"),
        ("elvis presley", "person"),
        ("doctor", "person trait"),
        ("mosque", "religion"),
        ("violin", "image feature"),
        ("cats", "image feature"),
        ("Monday", "time"),
        ("seven", "counting"),
        ("turquoise", "color"),
        ("halloween", "holiday"),
        ("batman", "fictional universe"),
        ("lego", "brand"),
        ("justice", "abstract concept"),
        # Of several meanings the commonest decides.
        ("bat", "image feature"),
        ("mouse", "image feature"),
        ("bank", "image feature"),
    ],
)
def test_words_belong_where_people_would_put_them(word: str, family: str) -> None:
    found = published_families().of_word(word)
    assert next(iter(found)) == family, found
    assert sum(found.values()) == pytest.approx(1)


def test_an_ambiguous_word_keeps_its_other_meanings() -> None:
    turkey = published_families().of_word("turkey")
    assert turkey["region"] > 0.1
    assert turkey["image feature"] > turkey["region"]
    assert published_families().of_word("xyzzy") == {}


def test_wordnet_alone_mostly_agrees_with_the_curated_concepts() -> None:
    with CONCEPTS.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    families = published_families()
    judged = [
        (next(iter(families.of_word(row["concept"]))), next(iter(curated)))
        for row in rows
        if families.of_word(row["concept"])
        and (curated := families.of_concept(row["concept"], row["family"]))
    ]
    assert len(judged) > 600
    low, _ = wilson_interval(sum(a == b for a, b in judged), len(judged))
    assert low > 0.7


def test_hypernyms_are_walked_to_the_top() -> None:
    net = wordnet()
    dog = net.of("dog")[0][0]
    above = dict(net.above(dog))
    assert above[dog] == 0
    assert net.number["animal.n.01"] in above
    assert net.number["entity.n.01"] in above
    assert len(nouns(500)) == len(set(nouns(500))) == 500


@pytest.fixture(scope="module")
def planted() -> Planted:
    """The last units answer to all concepts of `family 0` (concepts 0, 3, 6, ...), in every modality."""
    design = small_design()[0]
    units = plant(design, UNITS, noise=0.15, seed=5)
    rng = np.random.default_rng(0)
    activations = np.array(units.activations)
    member = design.concept % 3 == 0
    noise = 0.3 * rng.normal(size=(len(member), OWN))
    activations[:, -OWN:] = (member[:, None] + noise).astype(np.float16)
    return replace(units, activations=activations)


@pytest.fixture(scope="module")
def atlas_path(tmp_path_factory: pytest.TempPathFactory, planted: Planted) -> Path:
    from synesthete.analysis import analyze

    path = record_planted(tmp_path_factory.mktemp("families"), *small_design(), planted)
    with pytest.raises(SynestheteError, match="no names yet"):
        assign_families(path)
    analyze(path)
    name_neurons(path)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.json"
    path.write_text(json.dumps(TWO))
    return path


def test_units_of_a_whole_family_are_found_by_images(
    atlas_path: Path, tmp_path: Path, two: Path
) -> None:
    path = Path(shutil.copytree(atlas_path, tmp_path / "copy.atlas"))
    notes = assign_families(path, families=two)["layers"][LAYER]
    atlas = open_atlas(path)
    own = [atlas.neuron(f"{LAYER}:{unit}") for unit in range(UNITS - OWN, UNITS)]
    assert np.mean([neuron.family == "first" for neuron in own]) >= 0.85
    assert notes["families"]["first"]["random_twin"] <= 0.05 * UNITS
    assert notes["families"]["first"]["shuffled"] <= 0.05 * UNITS
    table = atlas.unit_table(LAYER, "families")
    assert table is not None
    images = [row for row in table.to_pylist() if row["evidence"].startswith("images")]
    assert {row["family"] for row in images} <= {"first", "others"}
    before = tree(path)
    assign_families(path, families=two)
    assert tree(path) == before


def test_named_units_have_the_family_of_their_concept(
    atlas_path: Path, tmp_path: Path, two: Path
) -> None:
    path = Path(shutil.copytree(atlas_path, tmp_path / "copy.atlas"))
    assign_families(path, families=two)
    atlas = open_atlas(path)
    names = atlas.unit_table(LAYER, "names")
    assert names is not None
    given: dict[int, set[str]] = {}
    for row in names.to_pylist():
        first = int(row["name"][-4:]) % 3 == 0
        given.setdefault(row["unit"], set()).add("first" if first else "others")
    assert len(given) > 10
    for unit, families in given.items():
        wanted = "polysemantic" if len(families) > 1 else families.pop()
        assert atlas.neuron(f"{LAYER}:{unit}").family == wanted


def test_geographic_units_are_those_of_geographic_words(atlas_path: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(atlas_path, tmp_path / "copy.atlas"))
    words = ["france", "paris", "texas", "london", "africa", "dog", "cat", "violin"]
    rng = np.random.default_rng(0)
    answers = rng.random((len(words), UNITS)).astype(np.float16)
    answers[:5, 0] += 2
    answers[[0, 1, 2, 5, 6], 1] += 2
    answers[5:, 2] += 2
    dim = open_atlas(path).manifest["model"]["embedding_dim"]
    write_words(path, words, {LAYER: answers}, np.ones((len(words), dim), np.float16), {})
    found = geographic_share(open_atlas(path), LAYER)
    assert found["all"][:3].tolist() == [True, False, False]
    assert found["most"][:2].tolist() == [True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "needs"),
        ('{"families": [{"name": "a"}]}', "two families"),
        ('{"families": [{"name": "a"}, {"name": "a"}]}', "each name once"),
        ('{"families": [{"name": "a"}, {"roots": []}]}', "no name"),
        ('{"families": [{"name": "a"}, {"name": "b", "words": "x"}]}', "words of b"),
        ('{"families": [{"name": "a"}, {"name": "b", "roots": ["dgo.n.01"]}]}', "WordNet has no 'dgo.n.01'"),
    ],
)  # fmt: skip
def test_bad_files_of_families_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "families.json"
    path.write_text(text)
    with pytest.raises(SynestheteError, match=message):
        load_families(path)
    with pytest.raises(SynestheteError, match="cannot be read"):
        load_families(tmp_path / "nowhere.json")


def test_the_shipped_tables_are_what_wordnet_says() -> None:
    from training.build_wordnet import tables

    source = Path("/usr/share/wordnet")
    if not (source / "data.noun").exists():
        pytest.skip("WordNet's own files are not installed (Debian: wordnet-base)")
    built_nouns, built_synsets = tables(source)
    net = wordnet()
    assert built_synsets["parents"].to_pylist() == net.parents
    rows = zip(
        built_nouns["word"].to_pylist()[::97], built_nouns["synset"].to_pylist()[::97], strict=True
    )
    assert all(synset in {one for one, _ in net.senses[word]} for word, synset in rows)
