"""Bounds that hold whenever one looks: checked by simulation large enough to fail, by hand, and against the plain way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from synesthete.catalog.metrics import (
    assign,
    bounds,
    drift,
    evidence,
    lift,
    pair,
    pairs_needed,
    split_evidence,
    stability,
)
from synesthete.catalog.metrics.sequences import STAKES, Outcomes, log_wealth
from synesthete.errors import SynestheteError

TRIALS, PAIRS, ALPHA = 1500, 600, 0.05
# Where the level is 5 %, more false alarms than this happen once in a thousand such simulations.
MOST = int(binom.ppf(0.999, TRIALS, ALPHA))
KINDS = (np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))


def walk(rate_a: float, rate_b: float, seed: int) -> np.ndarray:
    """Counts of the kinds of pairs after each pair: [pairs, trials, kinds]."""
    rng = np.random.default_rng(seed)
    a, b = (rng.random((PAIRS, TRIALS)) < rate for rate in (rate_a, rate_b))
    return np.cumsum(np.eye(4)[2 * a + b], axis=0)


@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_false_alarms_under_continuous_peeking(rate: float) -> None:
    """Looking after every single pair; a fixed-size test, looked at as often, cries wolf far more often."""
    counts = walk(rate, rate, seed=1)
    alarmed = np.zeros(TRIALS, bool)
    plain = np.zeros(TRIALS, bool)
    for now in counts:
        alarmed |= evidence(Outcomes(*KINDS, now)) >= 1 / ALPHA
        won, lost = now[:, 1], now[:, 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            plain |= (np.abs(won - lost) / np.sqrt(won + lost) > 1.96) & (won + lost >= 10)
    assert alarmed.sum() <= MOST
    assert plain.sum() > 2 * MOST, "the simulation could not tell a wrong test from a right one"


@pytest.mark.parametrize("contrast", ["difference", "ratio"])
def test_the_truth_stays_inside_at_all_times(contrast: str) -> None:
    counts = walk(0.2, 0.35, seed=2)
    truth = 0.15 if contrast == "difference" else 0.35 / 0.2
    left = np.zeros(TRIALS, bool)
    for now in counts:
        for side in (1, -1):
            left |= log_wealth(Outcomes(*KINDS, now), truth, contrast, side) >= math.log(2 / ALPHA)  # type: ignore[arg-type]
    assert left.sum() <= MOST


def test_wealth_is_a_fair_game() -> None:
    """Against the truth the gambler has 1 on average: exactly, over all outcomes of three pairs."""
    rate_a, rate_b = 0.3, 0.5
    law = np.array([0.7 * 0.5, 0.7 * 0.5, 0.3 * 0.5, 0.3 * 0.5])
    for contrast, truth in (("difference", 0.2), ("ratio", rate_b / rate_a)):
        for side in (1, -1):
            mean = 0.0
            for i in range(4):
                for j in range(4):
                    for k in range(4):
                        counts = np.eye(4)[[i, j, k]].sum(axis=0)
                        wealth = np.exp(log_wealth(Outcomes(*KINDS, counts), truth, contrast, side))  # type: ignore[arg-type]
                        mean += float(law[i] * law[j] * law[k] * wealth)
            assert mean == pytest.approx(1.0, abs=1e-12)


def test_wealth_by_hand() -> None:
    # Two pairs that B won and one that A won, against "no difference": mean over stakes of (1+s)²(1-s).
    pairs = pair([0, 0, 1], [1, 1, 0])
    by_hand = np.mean((1 + STAKES) ** 2 * (1 - STAKES))
    assert math.exp(log_wealth(pairs, 0.0, "difference", 1)) == pytest.approx(by_hand)


def test_bounds_are_where_the_test_turns() -> None:
    pairs = pair([0] * 70 + [1] * 30, [1] * 40 + [0] * 60)
    for contrast in ("difference", "ratio"):
        found = bounds(pairs, contrast)  # type: ignore[arg-type]
        wall = math.log(40)
        for edge, side in ((found.low, 1), (found.high, -1)):
            at = [log_wealth(pairs, edge + step * side, contrast, side) for step in (-1e-6, 1e-6)]  # type: ignore[arg-type]
            assert at[0] >= wall - 1e-3
            assert at[1] <= wall + 1e-3
    assert bounds(pairs).value == pytest.approx(0.1)
    assert bounds(pairs, "ratio").value == pytest.approx(4 / 3)


def test_bounds_at_the_ends() -> None:
    nothing = bounds(pair([], []))
    assert (nothing.low, nothing.high, nothing.pairs) == (-1.0, 1.0, 0)
    never = bounds(pair([0] * 500, [0] * 500), "ratio")
    assert (never.low, never.high) == (0.0, math.inf)
    always = bounds(pair([0] * 200, [1] * 200))
    assert always.high == pytest.approx(1.0)
    assert always.low > 0.9
    values = bounds(pair([0.2, 0.4] * 300, [0.5, 0.7] * 300))
    assert values.low < 0.3 < values.high
    with pytest.raises(SynestheteError, match="within 0 to 1"):
        pair([2.0], [0.0])
    with pytest.raises(SynestheteError):
        pair([math.nan], [0.0])


def test_lift_decides_and_says_when() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random(4000) < rate for rate in (0.1, 0.16))
    found = lift(a, b[:3900])
    assert found.verdict == "B is better"
    assert found.decided_after is not None
    assert found.decided_after < 3900
    assert found.unpaired == 100
    assert found.difference.low > 0
    assert found.relative.low > 0
    assert found.p_value <= 0.05
    assert found.looks[-1].pairs == 3900
    assert found.looks[-1].low == pytest.approx(found.difference.low)
    opposite = lift(b[:3900], a)
    assert opposite.verdict == "A is better"
    assert opposite.difference.high == pytest.approx(-found.difference.low)
    nothing = lift([], [])
    assert (nothing.verdict, nothing.p_value, nothing.difference.pairs) == ("undecided", 1.0, 0)


def test_power_is_what_it_says() -> None:
    """Other random trials, stopped where the search says, find the effect about as often."""
    need = pairs_needed(0.2, 0.35, power=0.8)
    assert need.pairs is not None
    counts = walk(0.2, 0.35, seed=9)[: need.pairs]
    found = np.zeros(TRIALS, bool)
    for now in counts:
        found |= evidence(Outcomes(*KINDS, now)) >= 1 / ALPHA
    assert 0.74 <= found.mean() <= 0.9
    assert pairs_needed(0.1, 0.1, most=2000).pairs is None


def test_a_crooked_split_is_noticed_and_a_fair_one_is_not() -> None:
    rng = np.random.default_rng(0)
    assert split_evidence(5000, 5600) > 1000
    alarms = 0
    for _ in range(300):
        b = np.cumsum(rng.random(2000) < 0.3)
        alarms += any(
            split_evidence(n - int(b[n - 1]), int(b[n - 1]), 0.3) >= 20 for n in range(50, 2001, 50)
        )
    assert alarms <= binom.ppf(0.999, 300, 0.05)


def test_assignment_is_stable_and_fair() -> None:
    variants = [assign(f"visitor {i}", "spring", 0.3) for i in range(5000)]
    assert abs(variants.count("B") / 5000 - 0.3) < 0.025
    other = [assign(f"visitor {i}", "summer", 0.3) for i in range(5000)]
    both = sum(x == y == "B" for x, y in zip(variants, other, strict=True)) / 5000
    assert abs(both - 0.09) < 0.02, "lots of two experiments do not hang together"


def test_stability_by_hand() -> None:
    # Shares 0.5, 0.5 against 0.8, 0.2 (half an image added to each bin).
    expected = 0.3 * math.log(0.8 / 0.5) + (-0.3) * math.log(0.2 / 0.5)
    assert stability([9.5, 9.5], [15.5, 3.5]) == pytest.approx(expected)


def test_still_units_raise_no_alarm_and_moved_ones_do() -> None:
    rng = np.random.default_rng(5)
    then = rng.exponential(size=(60, 300))
    alarms = sum(
        one.level != "stable"
        for one in drift(then, rng.exponential(size=(40, 300)), [str(i) for i in range(300)])
    )
    assert alarms == 0, "with 40 images the index is far above 0.25 by chance alone"
    small = drift(then, rng.exponential(size=(40, 300)), [str(i) for i in range(300)])
    assert np.mean([one.psi for one in small]) == pytest.approx(small[0].chance, rel=0.35)
    moved = drift(then[:, :1], rng.exponential(size=(400, 1)) * 3, ["u"])[0]
    assert moved.level == "alert"
    assert moved.low < moved.psi < moved.high
    with pytest.raises(SynestheteError, match="for 2 units"):
        drift(then, then, ["a", "b"])
    with pytest.raises(SynestheteError, match="3 images before"):
        drift(then[:3], then, [str(i) for i in range(300)])
