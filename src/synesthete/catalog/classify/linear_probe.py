"""A classifier's folder: facts, weights and model card, written so that a kill leaves the old one or the new one."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.special import softmax

from synesthete._core.arrays import Bool, Float64, Floating
from synesthete._core.json_reader import plain, read_json
from synesthete._core.user_files import read_inside
from synesthete.atlas.arrays import NUMBERS, Shape, npz_names, read_npz
from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError

Calibration = Literal["temperature", "isotonic"]

CARD = "MODEL_CARD.md"
NOT_A_DEVICE = "Research use, not a medical device."
FORMAT, VERSION = "synesthete-classifier", 2
FACTS, WEIGHTS = "classifier.json", "weights-"


@dataclass(frozen=True)
class Knots:
    """A rising curve from a class's logit to its probability, by its corners."""

    logits: Float64
    shares: Float64


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """Everything that it takes to judge a record's features.

    Attributes
    ----------
    labels
        What it tells apart, sorted.
    weights, intercept
        `[labels, features]`, `[labels]`.
    sharpness
        One over the temperature; logits are multiplied by it.
    knots
        Instead of the temperature, a curve per label; empty otherwise.
    quantiles
        `[labels]`: a label is in the conformal set when its probability is at least 1 - its quantile. One for all, or each its own.
    threshold
        Confidence from which the probe decides by itself; infinite when it may not at all.
    """

    labels: tuple[str, ...]
    weights: Float64
    intercept: Float64
    sharpness: float = 1.0
    knots: tuple[Knots, ...] = ()
    quantiles: float | Float64 = 1.0
    threshold: float = float("inf")

    def logits(self, features: Floating) -> Float64:
        """`[records, labels]`, before calibration."""
        return np.asarray(features @ self.weights.T + self.intercept, np.float64)

    def probabilities(self, features: Floating) -> Float64:
        """`[records, labels]`, calibrated; each row sums up to one."""
        return calibrated(self.logits(features), self.sharpness, self.knots)

    def sets(self, probabilities: Float64) -> Bool:
        """`[records, labels]`: the conformal sets; an empty one is of a record like none before."""
        return np.asarray(1 - probabilities <= self.quantiles + 1e-12)


def calibrated(logits: Float64, sharpness: float, knots: tuple[Knots, ...] = ()) -> Float64:
    """Probabilities from logits: by a temperature (Guo et al. 2017), or by a curve per label (Zadrozny & Elkan 2002).

    Examples
    --------
    >>> calibrated(np.array([[0.0, 0.0]]), 2.0).tolist()
    [[0.5, 0.5]]
    """
    if not knots:
        return np.asarray(softmax(logits * sharpness, axis=1))
    raw = np.stack(
        [np.interp(logits[:, i], one.logits, one.shares) for i, one in enumerate(knots)], axis=1
    )
    total = raw.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, raw / np.where(total > 0, total, 1), 1 / raw.shape[1]))


def card(facts: Mapping[str, Any]) -> str:
    """The model card as Markdown, from what `classifier.json` says."""
    seen, promise = facts["measured"], facts["promises"]
    lines = [f"# {facts['name']}: {', '.join(facts['labels'])}", ""]
    if facts["template"] == "health":
        lines += [
            f"**{NOT_A_DEVICE}** It was not tested in any clinical setting, is cleared by no authority, and must not decide "
            "on the diagnosis or the treatment of anyone.",
            "",
        ]
    lines += [
        f"A linear probe on image and text as `{facts['model']['name']}` embeds them, calibrated by "
        f"{facts['calibration']}. It tells {len(facts['labels'])} labels apart and abstains where it is not sure enough; what "
        "it abstains from goes to people.",
        "",
        "## Records",
        "",
        f"{facts['records']['used']:,} records"
        + (f" of {facts['records']['groups']:,} groups" if facts["records"]["groups"] else "")
        + f": {facts['records']['fit']:,} for the weights, {facts['records']['hold']:,} for the promises, "
        f"{facts['records']['test']:,} for the numbers below. {facts['records']['aside']:,} could not be used, "
        f"{facts['records']['corrected']:,} labels are people's corrections.",
        "",
        "| label | records |",
        "| --- | ---: |",
        *[f"| {_cell(label)} | {count:,} |" for label, count in facts["records"]["labels"].items()],
        "",
        "Columns not read: " + (", ".join(map(_cell, facts["records"]["ignored"])) or "none") + ". "
        "Texts, images and ids of records are not in this folder.",
        "",
        "## Numbers",
        "",
        "On records that took no part in making it:",
        "",
        "| | value | 95 % interval | n |",
        "| --- | ---: | --- | ---: |",
        _line("accuracy", seen["accuracy"]),
        f"| the most frequent label | {_percent(seen['majority'])} | | |",
        *[_line(f"control: {name}", one) for name, one in facts["controls"].items()],
        _line(
            f"sets that hold the right label (promised {_percent(promise['coverage'])})",
            seen["coverage"],
        ),
        *[_line(f"… of {_cell(label)}", one) for label, one in seen["label_coverage"].items()],
        _line("labels in a set", seen["set_size"], share=False),
        _line("decided by itself", seen["decided"]),
        _line(f"wrong among those (accepted {_percent(promise['risk'])})", seen["risk"]),
        _line("log loss", seen["log_loss"], share=False),
        f"| calibration error, before and after | {_percent(seen['raw_calibration_error'])}, "
        f"{_percent(seen['calibration_error'])} | | {seen['accuracy']['n']:,} |",
        "",
        "## Promises, and what they rest on",
        "",
        f"- **Sets** hold the right label for {_percent(promise['coverage'])} of the records"
        + (
            " of each label, if new records come from where these came from."
            if promise["per_label"]
            else ", over all labels together, if new records come from where these came from. Label by label it can be less; "
            "the table says how much."
        ),
        f"- **Triage**: of what it decides by itself, at most {_percent(promise['risk'])} is wrong, with 95 % certainty, under "
        "the same condition. "
        + (
            f"It decides from a confidence of {promise['threshold']:.3f} on."
            if promise["threshold"] is not None
            else "No confidence was high enough to promise that, so it decides nothing by itself."
        )
        + _advice(promise),
        "- Neither holds for other cameras, other writers or another mix of labels. Measure again there.",
        "",
        "## Made by",
        "",
        f"synesthete {facts['versions']['synesthete']}, model weights `{facts['model']['weights_sha256'][:12]}`, seed "
        f"{facts['seed']}, ridge penalty C = {facts['penalty']:g}.",
        "",
    ]
    return "\n".join(lines)


def _advice(promise: Mapping[str, Any]) -> str:
    """What these records could promise, and how many another promise takes: estimated from the records that were fitted."""
    needed, risk = promise["records_needed"], promise["promisable_risk"]
    takes = f"about {needed:,} records" if needed else "more than four million records"
    could = "no risk" if risk is None else f"a risk of {_percent(risk)}"
    return (
        f" By the fitted records, {could} can be promised with so many, and {_percent(promise['risk'])} takes {takes} "
        f"(at least {promise['least_records']:,}, if it never erred)."
    )


def _line(name: str, one: Mapping[str, Any], *, share: bool = True) -> str:
    shown = _percent if share else _number
    return f"| {name} | {shown(one['value'])} | {shown(one['low'])} to {shown(one['high'])} | {one['n']:,} |"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


@dataclass(frozen=True)
class _Model:
    name: str
    weights_sha256: str
    layer: str


@dataclass(frozen=True)
class _Promises:
    threshold: float | None
    quantile: float | None = None
    quantiles: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Of `classifier.json`, what judging needs; the rest is for people."""

    labels: list[str]
    vocabulary: list[str]
    template: Literal["general", "health"]
    weights: str
    model: _Model
    promises: _Promises


def write_classifier(out: Path, facts: Mapping[str, Any], probe: LinearProbe) -> None:
    """Put a classifier into its folder: weights, model card, and last the facts."""
    arrays = {
        "weights": probe.weights,
        "intercept": probe.intercept,
        "sharpness": np.array(probe.sharpness),
    }
    for place, one in enumerate(probe.knots):
        arrays |= {f"logits_{place}": one.logits, f"shares_{place}": one.shares}
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    name = f"{WEIGHTS}{hashlib.sha256(stream.getvalue()).hexdigest()[:16]}.npz"
    content = {**plain(facts), "weights": name}
    write_file(out / name, stream.getvalue())
    write_file(out / CARD, card(content).encode())
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # The facts last: they name the weights that are theirs, so a kill in between leaves what was there before.
    write_file(out / FACTS, text.encode())
    for old in out.glob(f"{WEIGHTS}*.npz"):
        if old.name != name:
            old.unlink()


def read_facts(path: Path) -> dict[str, Any]:
    """What a classifier's folder says of it; raises `SynestheteError` where it says nothing, or too much for this program."""
    from pydantic import TypeAdapter, ValidationError

    if not (path / FACTS).exists():
        raise SynestheteError(
            f"{path} holds no classifier", hint="make one with: synesthete catalog classify --fit"
        )
    try:
        facts = read_json(path / FACTS, root=path)
    except SynestheteError as error:
        raise SynestheteError(f"{path / FACTS} is damaged: {error}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise SynestheteError(f"{path / FACTS} is not of a classifier")
    version = facts.get("version", 0)
    if isinstance(version, int) and version > VERSION:
        raise SynestheteError(
            f"{path} is of a newer format than this program's", hint="update synesthete"
        )
    try:
        TypeAdapter(_Facts).validate_python(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SynestheteError(f"{path / FACTS} is damaged: {where}: {first['msg']}") from None
    return facts


def _quantiles(promises: Mapping[str, Any], labels: tuple[str, ...]) -> float | Float64:
    own = promises.get("quantiles")
    if own is None:
        return float(promises["quantile"])
    if len(own) != len(labels):
        raise ValueError("not as many quantiles as labels")
    return np.array(own, np.float64)


def read_linear_probe(path: Path, facts: Mapping[str, Any]) -> LinearProbe:
    """The weights that the facts name; raises `SynestheteError` for damaged ones."""
    try:
        labels, promises, name = (
            tuple(facts["labels"]),
            facts["promises"],
            Path(facts["weights"]).name,
        )
        data = read_inside(path, path / name)
        names = npz_names(data, source=name)
        curves = [i for i in range(len(labels)) if f"logits_{i}" in names]
        expected: dict[str, tuple[Any, Shape]] = {
            "weights": (NUMBERS, (len(labels), None)),
            "intercept": (NUMBERS, (len(labels),)),
            "sharpness": (NUMBERS, ()),
            **{f"{part}_{i}": (NUMBERS, (None,)) for i in curves for part in ("logits", "shares")},
        }
        arrays = read_npz(data, expected, source=name)
        knots = tuple(Knots(arrays[f"logits_{i}"], arrays[f"shares_{i}"]) for i in curves)
        if any(len(one.logits) != len(one.shares) or not len(one.logits) for one in knots):
            raise ValueError("a curve has other corners in logits than in shares")
        probe = LinearProbe(
            labels=labels,
            weights=arrays["weights"],
            intercept=arrays["intercept"],
            sharpness=float(arrays["sharpness"]),
            knots=knots,
            quantiles=_quantiles(promises, labels),
            threshold=math.inf if promises["threshold"] is None else float(promises["threshold"]),
        )
    except (SynestheteError, ValueError, KeyError, TypeError) as error:
        raise SynestheteError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    return probe
