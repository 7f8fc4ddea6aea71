"""Calibration, conformal coverage and selective risk of a classifier, on a test split."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from synesthete._core.arrays import Bool, Float64, Int64
from synesthete._core.intervals import bootstrap_interval
from synesthete.catalog.metrics.estimates import RESAMPLES, Estimate, mean_of, share_of

BINS = 10
CERTAINTY = 0.95
LIKELY = 0.8
RISKS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
"""Shares of wrong decisions that are suggested."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured on records that took no part in fitting.

    Attributes
    ----------
    accuracy
        Share of the records whose likeliest label is right.
    majority
        Share of the most frequent label: what there is to beat.
    log_loss, calibration_error
        Mean negative log probability of the right label; expected calibration error, in 10 bins of equal counts.
    raw_calibration_error
        The same before calibration.
    coverage
        Share of the records whose conformal set holds the right label.
    label_coverage
        The same label by label; the promise is about all labels together, unless it was made label by label.
    set_size
        Mean labels in a set.
    decided, risk
        Share of the records that it decides by itself; share of errors among those.
    """

    accuracy: Estimate
    majority: float
    log_loss: Estimate
    calibration_error: float
    raw_calibration_error: float
    coverage: Estimate
    label_coverage: dict[str, Estimate]
    set_size: Estimate
    decided: Estimate
    risk: Estimate


def measure(
    *,
    probabilities: Float64,
    raw: Float64,
    sets: Bool,
    threshold: float,
    truth: Int64,
    labels: tuple[str, ...],
) -> Measured:
    """Measure calibrated probabilities (and raw ones) `[records, labels]` and sets against the right labels `[records]`."""
    guess = probabilities.argmax(axis=1)
    right, confidence = guess == truth, probabilities.max(axis=1)
    own = np.arange(len(truth))
    inside = sets[own, truth]
    decided = confidence >= threshold
    losses = -np.log(np.clip(probabilities[own, truth], 1e-12, 1))
    return Measured(
        accuracy=share_of(int(right.sum()), len(truth)),
        majority=float(np.bincount(truth).max() / len(truth)),
        log_loss=mean_of(losses),
        calibration_error=calibration_error(confidence, right),
        raw_calibration_error=calibration_error(raw.max(axis=1), raw.argmax(axis=1) == truth),
        coverage=share_of(int(inside.sum()), len(truth)),
        label_coverage={
            label: share_of(int(inside[truth == i].sum()), int((truth == i).sum()))
            for i, label in enumerate(labels)
        },
        set_size=mean_of(sets.sum(axis=1).astype(float)),
        decided=share_of(int(decided.sum()), len(truth)),
        risk=share_of(int((~right & decided).sum()), int(decided.sum())),
    )


def calibration_error(confidence: Float64, right: Bool, bins: int = BINS) -> float:
    """Expected calibration error with bins of equal counts (Nguyen & O'Connor 2015).

    Examples
    --------
    >>> calibration_error(np.array([0.8] * 10), np.array([True] * 6 + [False] * 4), bins=1)
    0.2
    """
    order = np.argsort(confidence, kind="stable")
    total = 0.0
    for part in np.array_split(order, min(bins, len(order))):
        total += len(part) * abs(float(confidence[part].mean()) - float(right[part].mean()))
    return round(total / len(order), 12)


def calibration_interval(
    confidence: Float64, right: Bool, bins: int = BINS, *, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of `calibration_error` over cases `[cases]`, which must be independent.

    The error of a resample, binned again, is larger on average than that of the cases, so the interval errs upwards.

    Examples
    --------
    >>> low, high = calibration_interval(np.full(100, 0.8), np.arange(100) < 60, bins=1)
    >>> 0.05 < low < 0.2 < high < 0.35
    True
    """
    return bootstrap_interval(
        lambda drawn: calibration_error(confidence[drawn], right[drawn], bins),
        np.arange(len(right)),
        draws=RESAMPLES,
        seed=seed,
    )


def candidates_for(confidence: Float64, records: int, risk: float) -> Float64:
    """Thresholds worth testing: those above which so many records will lie that a good one passes.

    A faultless threshold passes with log(0.05) / log(1 - risk) records; the first one tested has two and a half times as
    many where there are, since one that fails ends the test.

    Parameters
    ----------
    confidence
        Of records that are not those of the test: what a probe gave them that had not seen them.
    records
        How many the test will have.
    """
    return np.asarray(np.quantile(confidence, 1 - _shares(records, risk)))


def _shares(records: int, risk: float) -> Float64:
    """Which shares of so many records may be decided, the strictest first."""
    needed = math.log(1 - CERTAINTY) / math.log(1 - risk)
    first = max(1.05 * needed, min(2.5 * needed, 0.5 * records))
    shares = np.linspace(0.05, 1.0, 39)
    return np.asarray(shares[shares * records >= first])


def least_decisions(risk: float) -> int:
    """How many decisions without an error it takes to promise that at most a share `risk` is wrong.

    Examples
    --------
    >>> least_decisions(0.05), least_decisions(0.2)
    (62, 15)
    """
    return math.ceil(1.05 * math.log(1 - CERTAINTY) / math.log(1 - risk))


def can_promise(confidence: Float64, right: Bool, records: int, risk: float) -> bool:
    """Whether a test on so many records would probably find a threshold: in four cases of five, if it errs as here.

    Parameters
    ----------
    confidence, right
        Of records that the probe had not seen, other than those of the test: the cross-validated ones.

    Examples
    --------
    >>> sure, right = np.linspace(0, 1, 100), np.arange(100) >= 20
    >>> can_promise(sure, right, 200, 0.05), can_promise(sure, right, 50, 0.05)
    (True, False)
    """
    shares = _shares(records, risk)
    if not shares.size:
        return False
    decided = confidence >= np.quantile(confidence, 1 - shares[0])
    n = int(shares[0] * records)
    errors = binom.ppf(LIKELY, n, float((~right & decided).sum() / decided.sum()))
    return bool(binom.cdf(errors, n, risk) <= 1 - CERTAINTY)


def promisable(confidence: Float64, right: Bool, records: int) -> float | None:
    """The lowest of `RISKS` that so many records can probably promise (`can_promise`); None for none."""
    return next((risk for risk in RISKS if can_promise(confidence, right, records, risk)), None)


def records_needed(confidence: Float64, right: Bool, risk: float) -> int | None:
    """From how many records on, about, a test can probably promise a risk (`can_promise`); None where a million would not do."""
    counts = np.unique(np.geomspace(least_decisions(risk), 1e6, 60).astype(int))
    enough = [can_promise(confidence, right, int(n), risk) for n in counts]
    failing = [place for place, passes in enumerate(enough) if not passes]
    first = failing[-1] + 1 if failing else 0
    return int(counts[first]) if first < len(counts) else None


def threshold_for(
    confidence: Float64, right: Bool, candidates: Float64, risk: float, certainty: float = CERTAINTY
) -> float:
    """Lowest confidence from which at most a share `risk` of the decisions are wrong, with the stated certainty.

    Candidates are tested from the strictest on, by the exact binomial law, until one fails (Angelopoulos et al. 2021,
    *Learn then Test*, fixed sequence), so that the choice among many costs nothing.

    Parameters
    ----------
    confidence, right
        `[records]`, of records that took no part in fitting nor in choosing the candidates.
    candidates
        Thresholds, chosen elsewhere.
    risk
        Share of wrong decisions that is accepted.

    Returns
    -------
    float
        Infinity when no candidate holds: decide nothing.

    Examples
    --------
    >>> sure = np.repeat([0.9, 0.6], 100)
    >>> threshold_for(sure, np.repeat([True, False], 100), np.array([0.9, 0.6]), risk=0.05)
    0.9
    """
    found = math.inf
    for candidate in sorted(candidates.tolist(), reverse=True):
        decided = confidence >= candidate
        n = int(decided.sum())
        if binom.cdf(int((~right & decided).sum()), n, risk) > 1 - certainty:
            break
        found = candidate
    return float(found)
