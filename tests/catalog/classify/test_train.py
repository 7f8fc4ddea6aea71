"""Calibration, coverage and risk against libraries, by hand, and by simulation that fails when a promise is broken."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from synesthete.catalog.classify.evaluate import (
    calibration_error,
    can_promise,
    candidates_for,
    least_decisions,
    promisable,
    records_needed,
    threshold_for,
)
from synesthete.catalog.classify.linear_probe import LinearProbe, calibrated
from synesthete.catalog.classify.train import (
    Fitted,
    before_fitting,
    conformal_quantile,
    curves,
    fit_linear_probe,
    least_records,
    lowest_risk,
    sharpness,
    split_records,
)
from synesthete.errors import SynestheteError

NAMES = np.array(["apple", "boat", "drum"])


def clouds(n: int, seed: int = 0, noise: float = 1.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three clouds of points, 12 features, with their labels and codes."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=n)
    centres = np.eye(3, 12) * 2
    return centres[codes] + noise * rng.normal(size=(n, 12)), NAMES[codes], codes


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    x, labels, _ = clouds(1000, noise=1.0)
    return fit_linear_probe(x, labels, parts={"first half": slice(0, 6)}, risk=0.1)


def test_what_is_promised_is_measured(fitted: Fitted) -> None:
    seen = fitted.measured
    assert seen.accuracy.value > seen.majority + 0.2
    assert abs(seen.coverage.value - 0.9) < 0.07
    assert math.isfinite(fitted.probe.threshold)
    assert seen.risk.low <= 0.1
    assert seen.decided.n == len(fitted.split.test)
    assert fitted.controls["shuffled labels"].value < seen.majority + 0.15
    assert fitted.controls["first half"].value <= seen.accuracy.high


def test_parts_do_not_overlap_and_groups_stay_together() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(40, size=400).astype(str)
    split = split_records(rng.integers(3, size=400), groups)
    parts = [set(groups[part]) for part in (split.fit, split.hold, split.test)]
    assert sum(map(len, parts)) == len(set().union(*parts)), "a group is in two parts"
    assert sorted(np.concatenate([split.fit, split.hold, split.test])) == list(range(400))
    with pytest.raises(SynestheteError, match="at least 8"):
        split_records(rng.integers(3, size=400), np.array(["a", "b"] * 200))


def test_the_conformal_quantile_by_its_definition() -> None:
    """The smallest score that enough of the scores, and of one more, are at most; everything where there is none."""
    rng = np.random.default_rng(0)
    for n in (1, 5, 19, 20, 100):
        scores = rng.random(n).round(2)  # with ties
        for coverage in (0.5, 0.9, 0.95, 0.99):
            enough = [q for q in scores if (scores <= q).sum() >= coverage * (n + 1) - 1e-9]
            assert conformal_quantile(scores, coverage) == min(enough, default=1.0)
    assert conformal_quantile(np.arange(1, 20) / 20, 0.95) == 0.95, "19 scores just allow for 95 %"
    assert conformal_quantile(np.arange(1, 19) / 20, 0.95) == 1.0, "18 do not: every label"


def test_sets_cover_as_promised() -> None:
    """On average over draws, sets hold the right label for `coverage` of new records, and no more than 1 / (n + 1) above."""
    n, draws = 99, 300
    for coverage in (0.5, 0.9):
        kept = []
        for seed in range(draws):
            x, _, codes = clouds(n + 300, seed=seed, noise=2)
            probe = LinearProbe(labels=tuple(NAMES), weights=np.eye(3, 12), intercept=np.zeros(3))
            chances = probe.probabilities(x)
            scores = 1 - chances[np.arange(n), codes[:n]]
            probe = dataclasses.replace(probe, quantiles=conformal_quantile(scores, coverage))
            kept.append(probe.sets(chances[n:])[np.arange(300), codes[n:]].mean())
        error = 4 * np.std(kept) / math.sqrt(draws)
        assert coverage - error <= np.mean(kept) <= coverage + 1 / (n + 1) + error


def test_coverage_of_a_rare_label_can_be_promised() -> None:
    """One label in eight is hard: over all labels together its sets fail, label by label they hold."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], [2100, 300])
    x = np.stack([codes * 1.0, rng.normal(size=codes.size)], axis=1) + rng.normal(
        size=(codes.size, 2)
    )
    found = {
        own: fit_linear_probe(x, NAMES[codes], per_label=own).measured for own in (False, True)
    }
    assert found[False].coverage.value > 0.85
    assert found[False].label_coverage["boat"].high < 0.85
    assert found[True].label_coverage["boat"].high > 0.9
    assert found[True].label_coverage["apple"].high > 0.9


def test_the_number_of_records_needed_is_right() -> None:
    """The estimate from cross-validation is right about fresh draws: so many records mostly do, half as many mostly do not."""

    def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        confidence = rng.random(n)
        return confidence, rng.random(n) > 0.3 * (1 - confidence) ** 2

    confidence, right = draw(20_000, 0)
    needed = records_needed(confidence, right, 0.05)
    assert needed is not None
    assert needed >= least_decisions(0.05)
    assert promisable(confidence, right, needed) == 0.05
    assert not can_promise(confidence, right, least_decisions(0.05) - 1, 0.05)
    passed = {}
    for records in (needed, needed // 2):
        thresholds = candidates_for(confidence, records, 0.05)
        tests = [draw(records, seed) for seed in range(1, 101)]
        found = [threshold_for(*test, thresholds, 0.05) for test in tests]
        passed[records] = np.isfinite(found).mean()
    assert passed[needed] >= 0.7
    assert passed[needed // 2] <= 0.5
    assert records_needed(confidence, np.zeros_like(right), 0.05) is None


def test_a_suggested_risk_can_mostly_be_promised() -> None:
    assert least_records(0.05) < 500
    kept = []
    for seed in range(8):
        x, labels, _ = clouds(500, seed=seed, noise=1.0)
        found = fit_linear_probe(x, labels)
        assert found.promisable_risk is not None
        again = fit_linear_probe(x, labels, risk=found.promisable_risk)
        kept.append(math.isfinite(again.probe.threshold))
    assert sum(kept) >= 5


def test_what_can_be_promised_is_known_before_fitting() -> None:
    for records in (60, 248, 500, 4000):
        assert least_records(lowest_risk(records) + 1e-3) <= records < least_records(lowest_risk(records) * 0.9)  # fmt: skip
    enough, later = before_fitting(500, 0.05)
    assert "takes 248 records" in enough
    assert "can promise 2.5 %" in enough
    assert "model card" in later
    _, nothing = before_fitting(120, 0.05)
    assert "decide nothing" in nothing
    suggested = float(nothing.split("--risk ")[1].split()[0])
    assert least_records(suggested) <= 120 < least_records(0.05)
    assert "to try" not in before_fitting(8, 0.05)[1]
    assert before_fitting(100, 2.0) == []


def test_what_is_measured_are_the_sets_that_are_kept(fitted: Fitted) -> None:
    x, labels, _ = clouds(1000, noise=1.0)
    chances = fitted.probe.probabilities(x[fitted.split.test])
    right = np.searchsorted(np.array(fitted.probe.labels), labels[fitted.split.test])
    inside = fitted.probe.sets(chances)[np.arange(len(right)), right]
    assert fitted.measured.coverage.value == pytest.approx(inside.mean())


def test_temperature_is_scikit_learns() -> None:
    x, _, codes = clouds(500, noise=2)
    regression = LogisticRegression(C=100).fit(x[:60], codes[:60])
    logits = regression.decision_function(x[60:])
    library = CalibratedClassifierCV(FrozenEstimator(regression), method="temperature", cv=None)
    library.fit(x[60:], codes[60:])
    ours = calibrated(logits, sharpness(logits, codes[60:]))
    assert np.allclose(ours, library.predict_proba(x[60:]), atol=2e-3)


def test_isotonic_is_scikit_learns() -> None:
    x, _, codes = clouds(500, noise=2)
    regression = LogisticRegression(C=100).fit(x[:60], codes[:60])
    logits = regression.decision_function(x[60:])
    library = CalibratedClassifierCV(FrozenEstimator(regression), method="isotonic", cv=None)
    library.fit(x[60:], codes[60:])
    ours = calibrated(logits, 1.0, curves(logits, codes[60:]))
    assert np.allclose(ours, library.predict_proba(x[60:]), atol=1e-6)


@pytest.mark.parametrize("calibration", ["temperature", "isotonic"])
def test_two_labels(calibration: str) -> None:
    x, labels, _ = clouds(900, seed=1)
    two = labels != "drum"
    fitted = fit_linear_probe(x[two], labels[two], calibration=calibration)  # type: ignore[arg-type]
    chances = fitted.probe.probabilities(x[two])
    assert chances.shape[1] == 2
    assert np.allclose(chances.sum(axis=1), 1)
    plain = LogisticRegression(C=1e6).fit(x[two], labels[two])
    agree = (np.array(fitted.probe.labels)[chances.argmax(axis=1)] == plain.predict(x[two])).mean()
    assert agree > 0.9


def test_too_confident_logits_are_tamed() -> None:
    x, _, codes = clouds(4000, noise=2.5)
    logits = x[:, :3] * 3
    before = calibrated(logits, 1.0)
    after = calibrated(logits, sharpness(logits[:2000], codes[:2000]))
    errors = [
        calibration_error(one[2000:].max(axis=1), one[2000:].argmax(axis=1) == codes[2000:])
        for one in (before, after)
    ]
    assert errors[0] > 0.15
    assert errors[1] < 0.05


def test_risk_is_kept_with_the_certainty_that_is_claimed() -> None:
    """Over many draws, the true risk of what is decided exceeds what was accepted in at most 5 % of them."""
    rng = np.random.default_rng(0)
    accepted, broken, decided = 0.1, 0, 0
    for _ in range(400):
        candidates = candidates_for(rng.random(300), 300, accepted)
        confidence = rng.random(300)
        right = rng.random(300) < 0.5 + confidence / 2
        threshold = threshold_for(confidence, right, candidates, accepted)
        if math.isfinite(threshold):
            decided += 1
            # P(wrong | confidence >= t) = mean of (1 - c) / 2 over t to 1.
            broken += (1 - threshold) / 4 > accepted
    assert decided > 100
    assert broken / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    naive = 0
    for _ in range(400):
        confidence = rng.random(300)
        right = rng.random(300) < 0.5 + confidence / 2
        order = np.argsort(-confidence)
        errors = np.cumsum(~right[order]) / np.arange(1, 301)
        kept = np.flatnonzero(errors <= accepted)
        naive += bool(len(kept)) and (1 - confidence[order][kept[-1]]) / 4 > accepted
    assert naive / 400 > 0.2, "the plain way breaks it often, so this test can tell"


def test_no_promise_that_cannot_be_kept() -> None:
    rng = np.random.default_rng(0)
    coin = rng.random(200) < 0.5
    assert threshold_for(rng.random(200), coin, np.linspace(0, 1, 20), 0.05) == math.inf
    assert candidates_for(rng.random(20), 20, 0.01).size == 0


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.5, 0.5, 0.9, 0.9])
    assert calibration_error(
        confidence, np.array([True, False, True, True]), bins=2
    ) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("n", "labels", "message"),
    [(20, 3, "20 records"), (100, 1, "1 labels"), (100, 100, "the rarest")],
)
def test_too_little_is_refused(n: int, labels: int, message: str) -> None:
    names = np.array([f"label {i % labels}" for i in range(n)])
    with pytest.raises(SynestheteError, match=message):
        fit_linear_probe(np.zeros((n, 3)), names)
    with pytest.raises(SynestheteError, match="risk is 0"):
        fit_linear_probe(np.zeros((n, 3)), names, risk=0)
