"""Bias metrics against cases worked by hand, slow re-computations and fairlearn; lists that cannot be."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from synesthete.audits.bias import audit_bias, load_lists
from synesthete.audits.bias.associations import (
    association,
    association_matrix,
    leans,
    profiles,
    weat,
)
from synesthete.audits.bias.disparities import (
    People,
    gap,
    gap_interval,
    harm_rates,
    ndkl,
    skews,
    skews_with_interval,
)
from synesthete.audits.bias.lists import DEFAULT, parse_lists
from synesthete.audits.bias.sensitivity import effect_sensitivity, harm_sensitivity, moved
from synesthete.audits.bias.words import associations, load_words, word_associations
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel


def test_weat_by_hand() -> None:
    # A and B are the axes; X leans wholly to A, Y wholly to B.
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    x, y = np.array([[2.0, 0.0], [3.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 5.0]])
    assert leans(x, a, b).tolist() == [1, 1]
    found = weat(x, y, a, b)
    # Leans 1, 1, -1, -1: difference of means 2, standard deviation 2 / sqrt(3).
    assert found.effect == pytest.approx(math.sqrt(3))
    # One of the 6 equal partitions is as great.
    assert (found.p, found.partitions, found.exact) == (pytest.approx(1 / 6), 6, True)
    assert weat(y, x, a, b).effect == pytest.approx(-math.sqrt(3))
    assert weat(y, x, a, b).p == 1


def slow_p(lean: np.ndarray, size: int) -> float:
    """The permutation test in words: every split, means and all."""
    every = range(len(lean))
    found = lean[:size].mean() - lean[size:].mean()
    splits = []
    for chosen in combinations(every, size):
        rest = [i for i in every if i not in chosen]
        splits.append(lean[list(chosen)].mean() - lean[rest].mean() >= found - 1e-12)
    return float(np.mean(splits))


def test_weat_against_the_slow_way() -> None:
    rng = np.random.default_rng(0)
    for size_x, size_y in ((4, 4), (3, 5), (2, 6)):
        x, y, a, b = (rng.normal(size=(n, 7)) for n in (size_x, size_y, 3, 4))
        found = weat(x, y, a, b)
        lean = np.concatenate([leans(x, a, b), leans(y, a, b)])
        assert found.p == pytest.approx(slow_p(lean, size_x))
        assert found.low <= found.effect <= found.high
        assert abs(found.effect) <= 2


def test_sampled_permutations_agree_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y, a, b = (rng.normal(size=(8, 7)) for _ in range(4))
    exact = weat(x, y, a, b)
    monkeypatch.setattr("synesthete.audits.bias.associations.EXACT_UP_TO", 10)
    sampled = weat(x, y, a, b)
    assert exact.exact
    assert not sampled.exact
    assert sampled.p == pytest.approx(exact.p, abs=0.02)


def test_weat_under_the_null_is_level() -> None:
    rng = np.random.default_rng(2)
    p = [weat(*(rng.normal(size=(5, 6)) for _ in range(4))).p for _ in range(150)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.11


def test_weat_of_one_word() -> None:
    one, two = np.ones((1, 3)), np.eye(3)[:2]
    with pytest.raises(SynestheteError, match="sets of 1, 2, 2, 2 words"):
        weat(one, two, two, two)


def test_skews_by_hand() -> None:
    # 3 of 4 at the top are of group 0, which has half of all eight.
    ranked = [0, 0, 1, 0, 1, 1, 0, 1]
    found = skews(ranked, 2, 4)
    assert found.max_skew == pytest.approx(math.log(0.75 / 0.5))
    assert found.min_skew == pytest.approx(math.log(0.25 / 0.5))
    # A group that is missing counts as half of one.
    assert skews([0, 0, 0, 1, 1, 1], 2, 3).min_skew == pytest.approx(math.log(0.5 / 3 / 0.5))


def test_ndkl_by_hand() -> None:
    # Prefixes of [0, 1]: shares (1, 0), KL = log 2, weight 1 / log2(2) = 1; then (1/2, 1/2), KL 0, weight 1 / log2(3).
    found = ndkl(np.array([0, 1]), np.array([0.5, 0.5]))
    assert found == pytest.approx(math.log(2) / (1 + 1 / math.log2(3)))
    # Separated lists diverge more than mixed ones.
    assert skews([0] * 5 + [1] * 5, 2, 5).ndkl > skews([0, 1] * 5, 2, 5).ndkl


def test_skew_intervals_and_chance() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 30)
    fair: Any = skews_with_interval(rng.normal(size=60), codes, 2, 10)
    unfair: Any = skews_with_interval(rng.normal(size=60) + 4 * (codes == 0), codes, 2, 10)
    assert unfair["max_skew"]["value"] == pytest.approx(math.log(2), abs=1e-4)
    assert unfair["max_skew"]["interval"][0] > unfair["max_skew"]["shuffled"]
    assert unfair["ndkl"]["value"] > 2 * unfair["ndkl"]["shuffled"]
    low, high = fair["max_skew"]["interval"]
    assert low <= fair["max_skew"]["shuffled"] <= high


@pytest.mark.parametrize(("k", "groups"), [(0, 2), (5, 2), (2, 3)])
def test_rankings_that_cannot_be(k: int, groups: int) -> None:
    with pytest.raises(SynestheteError):
        skews([0, 1, 0, 1], groups, k)


def test_harm_rates_against_fairlearn() -> None:
    metrics = pytest.importorskip("fairlearn.metrics")
    rng = np.random.default_rng(0)
    groups = ["a", "b", "c"]
    codes = rng.integers(0, 3, 90)
    labels = {
        "person": np.array([1.0, 0, 0]),
        "thief": np.array([0, 1.0, 0]),
        "ape": np.array([0, 0, 1.0]),
    }
    embeddings = rng.dirichlet([1, 1, 1], 90).astype(np.float32)
    found = harm_rates(People(embeddings, codes, groups, labels), ["person"], {"crime": ["thief"], "not human": ["ape"]})  # fmt: skip
    for category, place in (("crime", 1), ("not human", 2)):
        harmed = embeddings.argmax(1) == place
        value = found["categories"][category]
        frame = metrics.MetricFrame(
            metrics=metrics.selection_rate, y_true=harmed, y_pred=harmed, sensitive_features=codes
        )
        for code, name in enumerate(groups):
            assert value["groups"][name]["rate"] == pytest.approx(frame.by_group[code], abs=1e-4)
        difference = metrics.demographic_parity_difference(harmed, harmed, sensitive_features=codes)
        assert value["gap"] == pytest.approx(difference, abs=1e-4)
        assert value["gap_interval"][0] <= value["gap"] <= value["gap_interval"][1]
        assert value["chance"] == pytest.approx(1 / 3, abs=1e-4)


def test_a_gap_is_never_certain_of_few() -> None:
    none = np.zeros(20, bool)
    codes = np.repeat([0, 1], 10)
    assert gap(none, codes, 2) == 0
    low, high = gap_interval(none, codes, 2)
    assert low == 0
    assert high > 0.1
    assert gap_interval(np.zeros(2000, bool), np.repeat([0, 1], 1000), 2)[1] < 0.01


def test_labels_that_are_offered_change_what_is_harmful() -> None:
    labels = {
        "person": np.array([1.0, 0, 0]),
        "thief": np.array([0, 1.0, 0]),
        "child": np.array([0, 0, 1.0]),
    }
    children = np.array([[0.1, 0.6, 0.9]] * 8, np.float32)
    codes = np.repeat([0, 1], 4)
    given: Any = (People(children, codes, ["a", "b"], labels), ["person"], {"crime": ["thief"]})
    without, with_child = harm_rates(*given), harm_rates(*given, ["child"])
    assert without["categories"]["crime"]["all"]["rate"] == 1
    assert with_child["categories"]["crime"]["all"]["rate"] == 0


def test_associations_of_planted_units() -> None:
    rng = np.random.default_rng(0)
    baseline = rng.normal(size=(60, 40))
    a, b = np.zeros(40), np.zeros(40)
    a[:5], b[5:10] = 4, 4
    near = {name: profiles(rng.normal(size=(6, 40)) + one, baseline) for name, one in (("a", a), ("b", b))}  # fmt: skip
    attributes = {name: profiles(rng.normal(size=(8, 40)) + one, baseline) for name, one in (("x", a), ("y", b))}  # fmt: skip
    found = association_matrix(near, attributes, "layer")
    values = np.array([[cell["value"] for cell in row] for row in found["matrix"]])
    assert values[0, 0] > 0.8 < values[1, 1]
    assert abs(values[0, 1]) < 0.4 > abs(values[1, 0])
    expected = np.corrcoef(near["a"].mean(0), attributes["x"].mean(0))[0, 1]
    assert values[0, 0] == pytest.approx(expected, abs=1e-4)
    mine = [row["address"] for row in found["units"] if (row["group"], row["attribute"]) == ("a", "x")]  # fmt: skip
    assert set(mine) == {f"layer:{unit}" for unit in range(5)}
    assert found["matrix"][0][0]["interval"][0] > 0.5


def test_units_that_never_vary_say_nothing() -> None:
    baseline = np.ones((5, 3))
    assert profiles(np.full((2, 3), 9.0), baseline).tolist() == [[0, 0, 0]] * 2
    assert association(np.zeros((2, 3)), np.ones((2, 3))) == 0


def test_the_built_in_lists_are_good() -> None:
    lists = load_lists()
    assert set(lists.groups) == {"gender", "age"}
    assert all(test.source for test in lists.tests)
    assert lists.harms.variants["with child"] == ("child",)


def changed(**changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    return value | changes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "must be a table"),
        (changed(version=2), "of version 2"),
        (changed(group={}), "did you mean 'groups'"),
        (changed(templates=["a photo"]), "a template has one {}"),
        (changed(groups={"g": {"one": {"words": ["x", "y"]}}}), "one group"),
        (changed(groups={"g": {"one": {"words": ["x"]}, "two": {"words": ["y", "z"]}}}), "has 1 word; two are needed"),
        (changed(groups={"g": {"one": {"words": ["x", "y"]}, "two": {"words": ["Y", "z"]}}}), "y stands in 'one' and in 'two'"),
        (changed(groups={"g": {"one": {"words": "x y"}, "two": {"words": ["y", "z"]}}}), "must be a list of words"),
        (changed(tests=[{"axis": "gendr", "attributes": ["career", "family"], "groups": ["men", "women"]}]), "did you mean 'gender'"),
        (changed(tests=[{"axis": "gender", "attributes": ["career"], "groups": ["men", "women"]}]), "two different attributes"),
        (changed(tests=[{"axis": "gender", "attributes": ["career", "famly"], "groups": ["men", "women"]}]), "did you mean 'family'"),
        (changed(harms={"neutral": ["man"], "categories": {"crime": ["thief"]}}), "harms.neutral has 1"),
        (changed(harms={"neutral": ["man", "thief"], "categories": {"crime": ["thief"]}}), "thief stands in 'neutral' and in 'crime'"),
        (changed(retrieval=[""]), "must be a list of words"),
        (changed(synonyms={"art": "dance"}), "synonyms.art must be a list of words"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be(value: Any, message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        parse_lists(value, "lists.yaml")


def test_files_that_are_no_lists(tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="cannot be read"):
        load_lists(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("groups: [", encoding="utf-8")
    with pytest.raises(SynestheteError, match="is no YAML"):
        load_lists(tmp_path / "broken.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(SynestheteError, match="is no YAML"):
        load_lists(tmp_path / "bytes.yaml")


def test_the_audit_with_a_folder_of_labelled_photos(report: dict[str, Any]) -> None:
    found = report["bias"]
    assert found["images"]["axes"] == {"shape": {"round": 16, "square": 16}}
    assert found["images"]["of_people"]
    assert [row["text"] for row in found["retrieval"]["shape"]] == ["a soft thing", "a hard thing"]
    assert set(found["harms"]["shape"]) == {"as listed", "with foam"}
    assert found["units"]["by_words"]["groups"] == ["shape: round", "shape: square"]
    # Two groups of an axis lean against each other.
    one, other = ([cell["value"] for cell in row] for row in found["units"]["by_images"]["matrix"])
    assert one == pytest.approx([-value for value in other], abs=1e-3)
    assert found["tests"][0]["partitions"] == 20
    moves = found["tests"][0]["sensitivity"]
    assert (moves["subsets"]["n"], moves["templates"], moves["synonyms"]["n"]) == (200, None, 200)
    assert set(found["label_sets"]["shape"]) == {"broken"}
    words = found["words"]["shape"]
    assert (words["n"], words["words"], set(words["types"])) == (32, 3, {"material", "thing"})


def test_people_of_no_known_group(model: ImageTextModel, place: Path) -> None:
    with pytest.raises(SynestheteError, match="no two groups of an axis"):
        audit_bias(model, place / "images", lists=place / "lists.yaml")


TYPES = {"crime": [f"crime {i}" for i in range(12)], "work": [f"work {i}" for i in range(20)]}


def scored(seed: int, lean: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 60 images of two groups to the words of TYPES: those of crime lean to the second group."""
    rng = np.random.default_rng(seed)
    codes = np.repeat([0, 1], 30)
    scores = rng.normal(size=(60, 32))
    scores[:, :12] += lean * codes[:, None]
    return scores, codes


def test_a_planted_association_of_a_type_is_found_and_no_other() -> None:
    scores, codes = scored(1, 2.0)
    found = word_associations(scores, codes, ["a", "b"], TYPES)
    crime, work = found["types"]["crime"], found["types"]["work"]
    assert (crime["group"], crime["p"] <= 0.01) == ("b", True)
    assert crime["interval"][0] > 0.5
    assert crime["significant"]["successes"] >= 11
    assert crime["subsets"]["sign_changes"]["rate"] == 0
    assert work["p"] > 0.05
    assert work["significant"]["successes"] == 0
    assert work["subsets"]["sign_changes"]["rate"] > 0
    assert all((row["type"], row["group"]) == ("crime", "b") for row in found["strongest"])
    assert found["significant"]["successes"] == crime["significant"]["successes"]
    assert found["permuted"]["successes"] <= 1


def test_shuffled_labels_have_no_association(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synesthete.audits.bias.words.DRAWS", 200)
    called = []
    for seed in range(12):
        scores, codes = scored(seed, 2.0)
        mixed = np.random.default_rng(seed).permutation(codes)
        found = word_associations(scores, mixed, ["a", "b"], TYPES, seed=seed)
        called.append(found["significant"]["successes"] > 0)
    # A family-wise error of 5 %: three or more of twelve come in 2 %.
    assert sum(called) <= 2


def test_association_scores_against_the_slow_way() -> None:
    rng = np.random.default_rng(3)
    scores, codes = rng.normal(size=(20, 3)), rng.permutation(np.arange(20) % 3)
    scores[:, 2] = 1
    found = associations(scores, codes, 3)
    for group in range(3):
        for word in range(2):
            mine, rest = scores[codes == group, word], scores[codes != group, word]
            expected = (mine.mean() - rest.mean()) / scores[:, word].std()
            assert found[group, word] == pytest.approx(expected)
    assert (found[:, 2] == 0).all()


def test_effects_move_with_the_words_only_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 24))
    directions = {"x": a, "y": b, "a": a, "b": b, "s": a}
    embeddings = {
        f"{name}{i}": np.stack([d + rng.normal(size=24) for _ in range(3)])
        for name, d in directions.items()
        for i in range(6)
    }
    words = [[f"{name}{i}" for i in range(6)] for name in "xyab"]
    kind = effect_sensitivity(embeddings, words, {"x0": ["s0", "s1"]})
    assert [kind[key]["n"] for key in ("subsets", "templates", "synonyms")] == [200, 3, 200]
    assert all(one["sign_changes"]["rate"] == 0 and one["interval"][0] > 1 for one in kind.values())
    # Attributes dealt at random between the lists: halves of the words disagree.
    mixed = [w for pair in zip(words[0], words[1], strict=True) for w in pair]
    null = effect_sensitivity(embeddings, [mixed[:6], mixed[6:], *words[2:]], {})
    assert null["subsets"]["sign_changes"]["rate"] > 0.1
    assert null["synonyms"] is None


def test_the_full_effect_is_that_of_weat() -> None:
    rng = np.random.default_rng(4)
    embeddings = {f"{name}{i}": rng.normal(size=(1, 9)) for name in "xyab" for i in range(2)}
    words = [[f"{name}{i}" for i in range(2)] for name in "xyab"]
    # Halves of two words are both: every draw is the whole list.
    found = effect_sensitivity(embeddings, words, {})["subsets"]["interval"]
    expected = weat(*(np.concatenate([embeddings[w] for w in one]) for one in words)).effect
    assert found == pytest.approx([expected, expected], abs=1e-4)


def test_a_harm_that_hangs_on_one_label_moves_with_the_label_set() -> None:
    labels = {name: np.eye(5, dtype=np.float32)[i] for i, name in enumerate(("person", "man", "thief", "robber", "child"))}  # fmt: skip
    codes = np.repeat([0, 1], 10)
    ages, given = ["young", "old"], (["person", "man"], {"crime": ["thief", "robber"]}, ["child"])
    # Everyone old is nearest to both crimes; the young to one, and to the child even more.
    people = np.array([[0.2, 0.2, 0.8, 0.1, 0.9]] * 10 + [[0.1, 0.1, 0.8, 0.8, 0]] * 10, np.float32)
    found = harm_sensitivity(People(people, codes, ages, labels), *given)["crime"]
    assert (found["value"], found["interval"]) == (0, [0, 1])
    steady = people.copy()
    steady[:10] = [0.9, 0.9, 0, 0, 0]
    found = harm_sensitivity(People(steady, codes, ages, labels), *given)["crime"]
    assert (found["groups"], found["value"], found["interval"]) == (["old", "young"], 1, [1, 1])
    assert found["sign_changes"]["successes"] == 0
    assert found["n"] == 200


def test_a_figure_of_nothing_has_no_sign() -> None:
    assert moved(0.0, [0.1, -0.1])["sign_changes"] == {"rate": None, "interval": [0, 1], "successes": 0, "n": 0}  # fmt: skip


def test_word_lists_are_read_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    file.write_text("type,word,note\ncrime,thief,x\ncrime, thief ,\nwork,tax  clerk,\n", "utf-8")
    assert load_words(file) == {"crime": ("thief",), "work": ("tax clerk",)}
    for text, message in (
        ("kind,word\na,b\n", "no column 'type'"),
        ("type,word\ncrime,\n", "line 2: a type and a word"),
        ("type,word\n", "has no word"),
        ("type,word\na,b,c\n", "more fields"),
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(SynestheteError, match=message):
            load_words(file)
    with pytest.raises(SynestheteError, match="cannot be read"):
        load_words(tmp_path / "none.csv")


def test_the_lists_of_the_documentation_are_good() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audits.md").read_text(encoding="utf-8")
    value = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    assert set(parse_lists(value, "docs").groups["work"]) == {"miners", "clerks"}
