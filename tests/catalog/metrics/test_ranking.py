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
    measured,
    novelty,
    rankings_quality,
    ratio_of,
    share_of,
    team_draft,
)
from synesthete.errors import SynestheteError
from tests.oracles import ranking as oracle


def one(ranked: list[str], gains: dict[str, int], k: int) -> tuple[float, float, float]:
    """NDCG, recall and reciprocal rank of one ranking."""
    found = measured([ranked], [gains], [k])
    assert set(found) == {f"ndcg@{k}", f"recall@{k}", f"rr@{k}"}
    return tuple(float(values[0]) for values in found.values())  # type: ignore[return-value]


def test_quality_by_hand() -> None:
    # Gains 3, 0, 2 at places 1 to 3; the best order is 3, 2, 1.
    got = 3 / math.log2(2) + 0 + 2 / math.log2(4)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    gains = {"a": 3, "b": 2, "c": 1}
    assert one(["a", "x", "b"], gains, 3) == pytest.approx((got / best, 2 / 3, 1))
    assert one(["a", "b", "c"], gains, 10) == pytest.approx((1, 1, 1))
    assert one(["x", "y"], gains, 2) == (0, 0, 0)
    assert one([], gains, 2) == (0, 0, 0)
    # Cut at one: only the best one counts as ideal.
    assert one(["b"], gains, 1) == pytest.approx((2 / 3, 1 / 3, 1))
    assert one(["c", "x", "b", "a"], {"a": 1, "b": 2, "c": 0}, 4)[2] == pytest.approx(1 / 3)
    for nothing in ({}, {"a": 0}):
        assert all(math.isnan(value) for value in one(["x"], nothing, 2))
    # Ids in an order that is neither theirs nor the reverse: places count, not names.
    assert one(["9", "10", "1"], {"10": 1}, 3)[2] == 0.5


def test_quality_is_that_of_plain_python_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    ids = [f"item {n}" for n in range(30)]
    rankings = [rng.permutation(ids)[: rng.integers(0, 30)].tolist() for _ in range(300)]
    gains = [
        {str(item): int(rng.integers(0, 4)) for item in rng.permutation(ids)[: rng.integers(0, 6)]}
        for _ in rankings
    ]
    ks = (1, 5, 40)
    found = measured(rankings, gains, ks)
    for k in ks:
        slow = np.array([oracle.quality(*pair, k) for pair in zip(rankings, gains, strict=True)])
        for name, expected in zip(("ndcg", "recall", "rr"), slow.T, strict=True):
            np.testing.assert_allclose(found[f"{name}@{k}"], expected, rtol=0, atol=1e-12)
    assert 0 < np.isnan(found["ndcg@5"]).sum() < 150
    whole = measured([ids] * 300, gains, [7])["ndcg@7"]
    for value, some in zip(whole, gains, strict=True):
        if any(some.values()):
            truth = [[some.get(item, 0) for item in ids]]
            assert value == pytest.approx(ndcg_score(truth, [np.arange(30, 0, -1)], k=7))


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
    ("ranked", "gains", "ks"),
    [
        (["a", "a"], {}, [1]),
        (["a"], {"a": -1}, [1]),
        (["a"], {"a": 0.5}, [1]),
        (["a"], {"a": math.nan}, [1]),
        (["a"], {"a": math.inf}, [1]),
        (["a"], {}, [3, 0]),
        (["a"], {}, []),
    ],
)
def test_bad_rankings_are_refused(ranked: list[str], gains: dict[str, int], ks: list[int]) -> None:
    with pytest.raises(SynestheteError):
        measured([ranked], [gains], ks)


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
