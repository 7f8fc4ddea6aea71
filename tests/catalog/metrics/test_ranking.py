"""Metrics of rankings against cases worked out by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from synesthete.catalog.metrics import (
    Interleaved,
    coverage,
    credit,
    diversity,
    leave_one_out,
    mean_of,
    ndcg_at,
    novelty,
    rankings_quality,
    ratio_of,
    recall_at,
    reciprocal_rank,
    share_of,
    team_draft,
)
from synesthete.errors import SynestheteError


def test_ndcg_by_hand() -> None:
    # Gains 3, 0, 2 at places 1 to 3; the best order is 3, 2, 1.
    got = 3 / math.log2(2) + 0 + 2 / math.log2(4)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    gains = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert ndcg_at(["a", "x", "b"], gains, 3) == pytest.approx(got / best)
    assert ndcg_at(["a", "b", "c"], gains, 10) == 1.0
    assert ndcg_at(["x", "y"], gains, 2) == 0.0
    assert math.isnan(ndcg_at(["x"], {"a": 0.0}, 2))
    # Cut at one: only the best one counts as ideal.
    assert ndcg_at(["b"], gains, 1) == pytest.approx(2 / 3)


def test_ndcg_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        gains = rng.integers(0, 4, 12).astype(float)
        if not gains.any():
            continue
        scores = rng.permutation(12).astype(float)
        ranked = [str(i) for i in np.argsort(-scores)]
        named = {str(i): gain for i, gain in enumerate(gains)}
        ours = ndcg_at(ranked, named, 5)
        assert ours == pytest.approx(ndcg_score([gains], [scores], k=5))


def test_recall_and_reciprocal_rank_by_hand() -> None:
    gains = {"a": 1.0, "b": 2.0, "c": 0.0}
    assert recall_at(["c", "a", "b"], gains, 1) == 0.0
    assert recall_at(["c", "a", "b"], gains, 2) == 0.5
    assert recall_at(["c", "a", "b"], gains, 99) == 1.0
    assert reciprocal_rank(["c", "x", "b", "a"], gains) == pytest.approx(1 / 3)
    assert reciprocal_rank(["c"], gains) == 0.0
    assert math.isnan(reciprocal_rank(["c"], {}))


def test_right_or_wrong_by_hand() -> None:
    ranked, right = ["a", "b", "c", "d"], dict.fromkeys("bdz", 1.0)
    assert recall_at(ranked, right, 2) == pytest.approx(1 / 3)
    assert recall_at(ranked, right, 4) == pytest.approx(2 / 3)
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_at(ranked, right, 4) == pytest.approx(gain / best)
    assert ndcg_at(ranked, dict.fromkeys("abc", 1.0), 2) == 1.0
    nothing = (recall_at(ranked, {}, 2), ndcg_at(ranked, {}, 2), reciprocal_rank(ranked, {}))
    assert all(math.isnan(value) for value in nothing)


def test_quality_over_queries() -> None:
    found = rankings_quality([["a", "b"], ["b", "a"], ["a"]], [{"a": 1}, {"a": 1}, {}], k=1)
    assert (found.recall.value, found.recall.n, found.skipped) == (0.5, 2, 1)
    assert found.mrr.value == pytest.approx(0.75)
    content = found.as_dict()
    assert content["recall@1"] == 0.5
    assert content["queries"] == 2
    with pytest.raises(SynestheteError, match="2 queries"):
        rankings_quality([["a"]], [{}, {}])


@pytest.mark.parametrize(
    ("ranked", "gains", "k"), [(["a", "a"], {}, 1), (["a"], {"a": -1.0}, 1), (["a"], {"a": math.nan}, 1), (["a"], {}, 0)]
)  # fmt: skip
def test_bad_rankings_are_refused(ranked: list[str], gains: dict[str, float], k: int) -> None:
    with pytest.raises(SynestheteError):
        ndcg_at(ranked, gains, k)


def test_leave_one_out_never_leaks() -> None:
    mixed = leave_one_out({"p": ["a", "b", "b"], "q": ["a", "a"], "r": []})
    assert mixed == {"p": (["a"], "b")}
    assert all(hidden not in known for known, hidden in mixed.values())


def test_coverage_by_hand() -> None:
    assert coverage([["a", "b", "z"], ["b", "c"]], 4, k=2).value == 0.75
    with pytest.raises(SynestheteError, match="catalogue of 1"):
        coverage([["a", "b"]], 1, k=2)


def test_diversity_is_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(6, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [1 - float(unit[i] @ unit[j]) for i in range(6) for j in range(i)]
    assert diversity([vectors * 3]).value == pytest.approx(np.mean(pairs))
    assert diversity([vectors[:1]]).n == 0
    with pytest.raises(SynestheteError, match="zero"):
        diversity([np.zeros((2, 3))])


def test_novelty_by_hand() -> None:
    # Known to 1 of 8 (3 bits) and to nobody (half a person of 8: 4 bits).
    assert novelty([["a", "new"]], {"a": 1}, 8, k=5).value == pytest.approx(3.5)
    assert novelty([["a"]], {}, 0, k=1).n == 0


def test_means_and_their_intervals() -> None:
    values = np.random.default_rng(2).exponential(size=400)
    found = mean_of(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.2 * half)
    assert math.isnan(mean_of([]).value)
    assert share_of(0, 0).n == 0
    with pytest.raises(SynestheteError):
        share_of(3, 2)


def test_clusters_widen_the_interval() -> None:
    alone = ratio_of([1] * 50 + [0] * 50, [1] * 100)
    assert (alone.low, alone.high) == (share_of(50, 100).low, share_of(50, 100).high)
    # The same share and as many trials, but ten visitors who always or never click.
    crowds = ratio_of([10] * 5 + [0] * 5, [10] * 10)
    assert crowds.value == 0.5
    assert crowds.high - crowds.low > 2 * (alone.high - alone.low)
    # By hand: spread of h - r t is 5 each, sd sqrt(250/9), by mean 10 and sqrt(10); Student's 2.262.
    assert crowds.high - 0.5 == pytest.approx(
        2.2622 * math.sqrt(250 / 9) / 10 / math.sqrt(10), rel=1e-3
    )
    assert ratio_of([0, 0], [3, 4]).high > 0.5, "two silent visitors prove little"


def test_interval_of_a_ratio_covers() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        rates = rng.beta(2, 6, size=80)
        trials = rng.integers(1, 9, size=80)
        found = ratio_of(rng.binomial(trials, rates), trials)
        hits += found.low <= 0.25 <= found.high
    assert 0.91 <= hits / 400 <= 0.98


def test_team_draft_keeps_the_rules() -> None:
    for seed in range(200):
        mixed = team_draft(["a", "b", "c", "d"], ["c", "a", "e", "f"], 5, seed=seed)
        assert len(mixed.items) == len(set(mixed.items)) == 5
        assert mixed.items[0] == ("a" if mixed.teams[0] == "A" else "c")
        for n in range(2, 6, 2):
            assert mixed.teams[:n].count("A") == n // 2, "teams grow together"
    assert team_draft(["a"], ["a"], 3, seed=0).items == ["a"]
    assert team_draft([], ["a", "b", "a"], 5, seed=0).items == ["a", "b"]


def test_team_draft_is_fair() -> None:
    """Random clicks speak for neither ranker."""
    rng = np.random.default_rng(0)
    credits = []
    for seed in range(2000):
        mixed = team_draft(list("abcd"), list("dcba"), 4, seed=seed)
        credits.append(credit(mixed, {str(rng.choice(list("abcd")))}))
    assert abs(np.mean(credits)) < 3.3 / math.sqrt(2000)


def test_credit_by_hand() -> None:
    shown = Interleaved(["a", "b", "c"], ["A", "B", "A"])
    assert credit(shown, {"a", "c"}) == -1
    assert credit(shown, {"b"}) == 1
    assert credit(shown, {"a", "b"}) == credit(shown, set()) == credit(shown, {"other"}) == 0
