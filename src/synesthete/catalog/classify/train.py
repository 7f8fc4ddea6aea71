"""Fitting: from embeddings and labels to a calibrated probe with promises, and the measure of them. Arrays in, arrays out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from synesthete._core.arrays import Float64, Floating, Int64
from synesthete.catalog.classify.classifier import Classifier, vocabulary
from synesthete.catalog.classify.evaluate import (
    CERTAINTY,
    RISKS,
    Measured,
    candidates_for,
    least_decisions,
    measure,
    promisable,
    records_needed,
    threshold_for,
)
from synesthete.catalog.classify.linear_probe import (
    FACTS,
    FORMAT,
    VERSION,
    Calibration,
    Knots,
    LinearProbe,
    calibrated,
    write_classifier,
)
from synesthete.catalog.classify.records import Record, Records, Template, embed, fuse, personal
from synesthete.catalog.metrics.estimates import Estimate, share_of
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Label

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

PENALTIES = (0.001, 0.01, 0.1, 1.0)
FOLDS = 4
LEAST_RECORDS, LEAST_OF_LABEL = 60, 8
ITERATIONS = 400
HOLD = 4
"""One record in so many tests the promise."""


@dataclass(frozen=True)
class Split:
    """Which records do what; no group is in two parts.

    Attributes
    ----------
    fit, hold, test
        Indices: for weights and calibration; for the conformal quantile and the threshold; for the measure.
    """

    fit: Int64
    hold: Int64
    test: Int64


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A probe and how well it does.

    Attributes
    ----------
    probe, split
        What was made, from which records.
    penalty
        Strength of the ridge penalty, chosen by cross-validation on the fitting part.
    measured
        On the test part.
    controls
        Accuracy, on the test part, of the same probe on the image alone, on the text alone, and with shuffled labels.
    promisable_risk, records_needed
        Estimated on the fitting part, cross-validated: the lowest risk that so many records can promise, and how many records the
        asked risk takes; None for none.
    """

    probe: LinearProbe
    split: Split
    penalty: float
    measured: Measured
    controls: dict[str, Estimate]
    promisable_risk: float | None
    records_needed: int | None


def least_records(risk: float) -> int:
    """How many records it takes at least, if the classifier never erred, to promise that a share `risk` of its decisions is wrong.

    Examples
    --------
    >>> least_records(0.05), least_records(0.2)
    (248, 60)
    """
    return HOLD * least_decisions(risk)


def lowest_risk(records: int) -> float:
    """The lowest risk that so many records can promise, if the classifier never erred: the inverse of `least_records`.

    Examples
    --------
    >>> round(lowest_risk(248), 3), round(lowest_risk(500), 3), lowest_risk(3)
    (0.049, 0.025, 1.0)
    """
    tests = records // HOLD
    return 1 - (1 - CERTAINTY) ** (1.05 / tests) if tests else 1.0


def before_fitting(records: int, risk: float) -> list[str]:
    """What is known of a promise before anything is fitted: how many records it takes, and what these can promise.

    Parameters
    ----------
    records
        How many there are to learn from (`usable_records`).
    risk
        Share of wrong decisions that is to be promised.
    """
    if not 0 < risk < 1:
        return []
    lowest = f"{100 * lowest_risk(records):.1f} %"
    notes = [
        f"a promise that at most {100 * risk:g} % of the decisions are wrong takes {least_records(risk):,} records at least, of a "
        f"classifier that never errs; these {records:,} can promise {lowest} at best"
    ]
    if records < least_records(risk):
        few = next((one for one in RISKS if least_records(one) <= records), None)
        could = f"; --risk {few:g} is the lowest to try" if few else ""
        notes.append(f"so it will decide nothing by itself{could}")
    else:
        notes.append("the model card will say what the fitted classifier can promise")
    return notes


def fit_linear_probe(
    features: Floating,
    labels: npt.NDArray[np.str_],
    groups: npt.NDArray[np.str_] | None = None,
    *,
    calibration: Calibration = "temperature",
    coverage: float = 0.9,
    per_label: bool = False,
    risk: float = 0.05,
    parts: dict[str, slice] | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit a linear probe, calibrate it, and measure what it promises.

    Half of the records fit weights and calibration (the latter on cross-validated logits), a quarter gives the
    conformal quantile (split conformal prediction, Sadinle et al. 2019) and the threshold of triage, a quarter
    measures.

    Parameters
    ----------
    features
        `[records, features]`.
    labels, groups
        `[records]`; records of one group stay together.
    coverage
        Share of the sets that hold the right label.
    per_label
        Promise the coverage for each label alone (Mondrian conformal prediction, Vovk 2003), not for all together: sets of rare
        labels grow. A label with too few records to promise it is in every set.
    risk
        Share of wrong decisions that is accepted.
    parts
        Name → features that are fitted alone, as a control.

    Raises
    ------
    SynestheteError
        Too few records or labels, or shares outside 0 to 1.
    """
    for name, value in (("coverage", coverage), ("risk", risk)):
        if not 0 < value < 1:
            raise SynestheteError(f"the {name} is {value}; it lies between 0 and 1")
    names, codes = np.unique(labels, return_inverse=True)
    rarest = int(np.bincount(codes).min()) if len(codes) else 0
    if len(labels) < LEAST_RECORDS or len(names) < 2 or rarest < LEAST_OF_LABEL:
        raise SynestheteError(
            f"{len(labels)} records with {len(names)} labels, the rarest {rarest} times",
            hint=f"at least {LEAST_RECORDS} records, two labels, each {LEAST_OF_LABEL} times",
        )
    split = split_records(codes, groups, seed=seed)
    weighed = _weights(
        features[split.fit].astype(np.float64),
        codes[split.fit],
        None if groups is None else groups[split.fit],
        tuple(map(str, names)),
        seed=seed,
    )
    logits = weighed.out_of_fold
    truth = codes[split.fit]
    probe = replace(
        weighed.probe,
        sharpness=sharpness(logits, truth) if calibration == "temperature" else 1.0,
        knots=curves(logits, truth) if calibration == "isotonic" else (),
    )
    held = probe.probabilities(features[split.hold])
    held_codes = codes[split.hold]
    scores = 1 - held[np.arange(len(split.hold)), held_codes]
    quantiles = (
        np.array([conformal_quantile(scores[held_codes == i], coverage) for i in range(len(names))])
        if per_label
        else conformal_quantile(scores, coverage)
    )
    unseen = calibrated(logits, probe.sharpness, probe.knots)
    confidence = unseen.max(axis=1)
    threshold = threshold_for(
        held.max(axis=1),
        held.argmax(axis=1) == held_codes,
        candidates_for(confidence, len(split.hold), risk),
        risk,
    )
    probe = replace(probe, quantiles=quantiles, threshold=threshold)
    tested = features[split.test]
    seen = probe.probabilities(tested)
    measured = measure(
        probabilities=seen,
        raw=calibrated(probe.logits(tested), 1.0),
        sets=probe.sets(seen),
        threshold=threshold,
        truth=codes[split.test],
        labels=probe.labels,
    )
    controls = {
        name: _accuracy(features[:, part], codes, split, weighed.penalty)
        for name, part in (parts or {}).items()
    }
    shuffled = codes.copy()
    shuffled[split.fit] = np.random.default_rng(seed).permutation(codes[split.fit])
    controls["shuffled labels"] = _accuracy(features, shuffled, split, weighed.penalty)
    correct = np.asarray(unseen.argmax(axis=1) == truth)
    needed = records_needed(confidence, correct, risk)
    return Fitted(
        probe=probe,
        split=split,
        penalty=weighed.penalty,
        measured=measured,
        controls=controls,
        promisable_risk=promisable(confidence, correct, len(split.hold)),
        records_needed=None if needed is None else HOLD * needed,
    )


def conformal_quantile(scores: Float64, coverage: float) -> float:
    """Score up to which a label is in the set: the ceil((n + 1) coverage)-th smallest of `scores` `[records]`.

    Split conformal prediction (Vovk et al. 2005) with the score 1 - P(right label) (Sadinle et al. 2019). For a new
    record from where these came from, its set holds the right label with a probability of at least `coverage`. With too
    few records to promise that the quantile is 1: every label is in the set.

    Examples
    --------
    >>> conformal_quantile(np.array([0.4, 0.1, 0.3, 0.2]), 0.6), conformal_quantile(np.zeros(4), 0.9)
    (0.3, 1.0)
    """
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else 1.0


def split_records(codes: Int64, groups: npt.NDArray[np.str_] | None, *, seed: int = 0) -> Split:
    """Half, a quarter and a quarter of the records, each label in proportion, no group in two parts."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is None:
        folds = StratifiedKFold(4, shuffle=True, random_state=seed).split(codes, codes)
    else:
        if len(np.unique(groups)) < 8:
            raise SynestheteError(
                f"{len(np.unique(groups))} groups of records",
                hint="at least 8, or leave the column group out",
            )
        folds = StratifiedGroupKFold(4, shuffle=True, random_state=seed).split(codes, codes, groups)
    quarters = [np.asarray(part) for _, part in folds]
    return Split(np.sort(np.concatenate(quarters[:2])), quarters[2], quarters[3])


def sharpness(logits: Float64, truth: Int64) -> float:
    """One over the temperature at which the log loss is least (Guo et al. 2017, *On Calibration of Modern Neural Networks*).

    Examples
    --------
    >>> logits = np.array([[2.0, 0.0]] * 4)  # says 0.88, is right three times of four: log 3 / 2
    >>> round(sharpness(logits, np.array([0, 0, 0, 1])), 3)
    0.549
    """

    def loss(log_factor: float) -> float:
        scaled = log_softmax(logits * np.exp(log_factor), axis=1)
        return -float(scaled[np.arange(len(truth)), truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-6, 6), method="bounded").x))


def curves(logits: Float64, truth: Int64) -> tuple[Knots, ...]:
    """Isotonic regression of each label on its logit."""
    from sklearn.isotonic import IsotonicRegression

    knots = []
    for label in range(logits.shape[1]):
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        curve.fit(logits[:, label], truth == label)
        knots.append(Knots(curve.X_thresholds_, curve.y_thresholds_))
    return tuple(knots)


@dataclass(frozen=True)
class _Weighed:
    probe: LinearProbe
    out_of_fold: Float64
    penalty: float


def _weights(
    x: Float64, y: Int64, groups: npt.NDArray[np.str_] | None, names: tuple[str, ...], *, seed: int
) -> _Weighed:
    """The probe of the penalty with the least cross-validated log loss, and its cross-validated logits."""
    folds = list(_folds(y, groups, seed))
    best: tuple[float, float, Float64] | None = None
    for penalty in PENALTIES:
        logits = np.zeros((len(y), len(names)))
        for inner, outer in folds:
            weights, intercept = _regress(x[inner], y[inner], len(names), penalty)
            logits[outer] = x[outer] @ weights.T + intercept
        loss = -float(log_softmax(logits, axis=1)[np.arange(len(y)), y].mean())
        if best is None or loss < best[0]:
            best = (loss, penalty, logits)
    assert best is not None
    _, penalty, logits = best
    weights, intercept = _regress(x, y, len(names), penalty)
    return _Weighed(
        LinearProbe(labels=names, weights=weights, intercept=intercept), logits, penalty
    )


def _folds(
    codes: Int64, groups: npt.NDArray[np.str_] | None, seed: int
) -> Iterator[tuple[Int64, Int64]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is None:
        yield from StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(codes, codes)
    else:
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        yield from splitter.split(codes, codes, groups)


def _regress(x: Float64, y: Int64, labels: int, penalty: float) -> tuple[Float64, Float64]:
    """Weights `[labels, features]` and intercepts on the features as they are; a label that is absent is never likely."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread < 1e-9] = 1.0
    regression = LogisticRegression(C=penalty, max_iter=ITERATIONS)
    regression.fit((x - mean) / spread, y)
    found, offset = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # One row of weights, for the second of two labels.
        found, offset = np.concatenate([-found, found]) / 2, np.concatenate([-offset, offset]) / 2
    weights, intercept = np.zeros((labels, x.shape[1])), np.full(labels, -30.0)
    weights[regression.classes_] = found / spread
    intercept[regression.classes_] = offset - (found / spread) @ mean
    return weights, intercept


def _accuracy(features: Floating, codes: Int64, split: Split, penalty: float) -> Estimate:
    x = features.astype(np.float64)
    weights, intercept = _regress(x[split.fit], codes[split.fit], int(codes.max()) + 1, penalty)
    guess = (x[split.test] @ weights.T + intercept).argmax(axis=1)
    return share_of(int((guess == codes[split.test]).sum()), len(split.test))


def usable_records(records: Records, corrections: Sequence[Label]) -> tuple[list[Record], int]:
    """The records that can be learnt from, and how many labels are too rare.

    Parameters
    ----------
    corrections
        What people made of cases: their label stands for the record's own.
    """
    corrected = {one.reference: one.label for one in corrections}
    labelled = [
        replace(one, label=corrected.get(one.reference, one.label))
        for one in records.records
        if corrected.get(one.reference, one.label)
    ]
    counts = Counter(one.label for one in labelled)
    rare = {label for label, count in counts.items() if count < LEAST_OF_LABEL}
    return [one for one in labelled if one.label not in rare], len(rare)


def fit(
    records: Records,
    out: str | Path,
    model: str | ImageTextModel = "mini",
    *,
    template: Template = "general",
    calibration: Calibration = "temperature",
    coverage: float = 0.9,
    per_label: bool = False,
    risk: float = 0.05,
    corrections: Sequence[Label] = (),
    seed: int = 0,
) -> Classifier:
    """Fit a classifier on records with labels, measure it, and write it with its model card into a new folder.

    Parameters
    ----------
    records
        Those without label take no part, unless people gave them one.
    out
        The folder; one with a classifier in it is replaced.
    model
        Whose embeddings are used: a name as for `load_model`, or the model.
    template
        `health` says on everything that it is no medical device.
    calibration, coverage, per_label, risk, seed
        As of `fit_linear_probe`.
    corrections
        What people made of cases: their label stands for the record's own.

    Raises
    ------
    SynestheteError
        Too few records, no such calibration, or a folder that holds something else.
    """
    from synesthete import __version__
    from synesthete.models import load_model

    if calibration not in (known := get_args(Calibration)):
        raise SynestheteError(f"no such calibration: {calibration!r}", hint=" or ".join(known))
    out = Path(out)
    if out.exists() and not (out.is_dir() and ((out / FACTS).exists() or not any(out.iterdir()))):
        raise SynestheteError(f"{out} is there and is no classifier", hint="choose another folder")
    loaded = load_model(model) if isinstance(model, str) else model
    labelled, rare = usable_records(records, corrections)
    embedded = embed(loaded, labelled)
    usable = np.flatnonzero(embedded.usable)
    labelled = [labelled[i] for i in usable]
    images, texts = embedded.images[usable], embedded.texts[usable]
    features, dim = fuse(images, texts), loaded.embedding_dim
    groups = [one.group or one.reference for one in labelled]
    grouped = any(one.group for one in labelled)
    fitted = fit_linear_probe(
        features,
        np.array([one.label for one in labelled], dtype=np.str_),
        np.array(groups, dtype=np.str_) if grouped else None,
        calibration=calibration,
        coverage=coverage,
        per_label=per_label,
        risk=risk,
        parts={"image alone": slice(0, dim), "text alone": slice(dim, 2 * dim)},
        seed=seed,
    )
    split = fitted.split
    corrected = {one.reference for one in corrections}
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "name": out.name.removesuffix(".classifier"),
        "labels": list(fitted.probe.labels),
        "template": template,
        "model": {
            "name": loaded.name,
            "weights_sha256": loaded.weights_sha256,
            "layer": loaded.default_layers[0],
        },
        "calibration": calibration,
        "promises": {
            "coverage": coverage,
            "per_label": per_label,
            "risk": risk,
            **(
                {"quantiles": np.asarray(fitted.probe.quantiles).tolist()}
                if per_label
                else {"quantile": fitted.probe.quantiles}
            ),
            "threshold": fitted.probe.threshold if math.isfinite(fitted.probe.threshold) else None,
            "least_records": least_records(risk),
            "promisable_risk": fitted.promisable_risk,
            "records_needed": fitted.records_needed,
        },
        "measured": asdict(fitted.measured),
        "controls": {name: asdict(one) for name, one in fitted.controls.items()},
        "records": {
            "used": len(labelled),
            "groups": len(set(groups)) if grouped else 0,
            "fit": len(split.fit),
            "hold": len(split.hold),
            "test": len(split.test),
            "aside": len(records.aside) + int((~embedded.usable).sum()),
            "too_rare": rare,
            "corrected": sum(one.reference in corrected for one in labelled),
            "labels": dict(sorted(Counter(one.label for one in labelled).items())),
            "ignored": list(personal(records.ignored) if template == "health" else records.ignored),
        },
        "vocabulary": vocabulary([labelled[i] for i in split.fit]),
        "penalty": fitted.penalty,
        "seed": seed,
        "versions": {"synesthete": __version__, "numpy": np.__version__},
    }
    write_classifier(out, facts, fitted.probe)
    return Classifier(out, loaded)
