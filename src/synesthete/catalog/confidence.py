"""How often is a suggestion right? The strength of its evidence made a probability, by cases whose answer is known.

The strength (relevance times agreement) orders suggestions; it is no probability, since what it is worth depends on the
model, the shop and the photos. Isotonic regression (Zadrozny & Elkan 2002) over cases with known answers says how
often a suggestion of that strength was right. Cases are a table of queries, or the catalogue's own items, each asked
for with itself left out: those tell of studio pictures, not of what customers photograph.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synesthete._core.json_reader import read_json
from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

FILE = "confidence.json"
LEAST = 50  # cases; fewer tell too little
FOLDS, BINS = 5, 5
PRIOR = 5.0  # cases


@dataclass(frozen=True)
class Bin:
    """Cases of similar confidence: how many, what was told of them, and how often they were right (95 %, Wilson)."""

    n: int
    told: float
    right: float
    low: float
    high: float


@dataclass(frozen=True)
class Confidence:
    """From strength to probability, and how well it held on cases that it was not made of.

    Attributes
    ----------
    strengths, probabilities
        Knots; straight between them, level outside.
    source
        Where the cases came from.
    n, right
        How many cases, and the share of them that was right: the probability to tell without looking.
    error, raw_error
        Expected calibration error in bins of equal counts, of probabilities from the other folds and of the bare strength.
    order
        Probability that a right case is stronger than a wrong one; a half tells nothing.
    bins
        Told and kept, over probabilities from the other folds.
    generation
        Of the catalogue that it was measured on.
    """

    strengths: tuple[float, ...]
    probabilities: tuple[float, ...]
    source: str
    n: int
    right: float
    error: float
    raw_error: float
    order: float
    bins: tuple[Bin, ...]
    generation: int = 0

    def probability(self, strength: float) -> float:
        """How often a suggestion of this strength is right."""
        return float(np.interp(strength, self.strengths, self.probabilities))

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def fit_confidence(
    strength: Float64, right: Bool, source: str, *, seed: int = 0, generation: int = 0
) -> Confidence:
    """Calibrate on cases `[cases]`, and measure by folds.

    Raises
    ------
    SynestheteError
        Fewer than 50 cases, or all of them right, or all wrong.
    """
    from sklearn.metrics import roc_auc_score

    from synesthete._core.intervals import wilson_interval
    from synesthete.catalog.classify.measuring import calibration_error

    strength, right = np.asarray(strength, np.float64), np.asarray(right, bool)
    if len(strength) < LEAST:
        raise SynestheteError(
            f"{len(strength)} cases tell too little; {LEAST} or more are needed",
            hint="give a table of queries with their answers (--queries)",
        )
    if right.all() or not right.any():
        told = "right" if right.all() else "wrong"
        raise SynestheteError(
            f"all {len(right)} cases are {told}, so nothing can be told apart",
            hint="give other cases (--queries)",
        )
    fold = np.random.default_rng(seed).permutation(len(strength)) % FOLDS
    held = np.zeros(len(strength))
    for one in range(FOLDS):
        knots = _isotonic(strength[fold != one], right[fold != one])
        held[fold == one] = np.interp(strength[fold == one], *knots)
    bins = []
    for part in np.array_split(np.argsort(held, kind="stable"), BINS):
        low, high = wilson_interval(int(right[part].sum()), len(part))
        mean, kept = float(held[part].mean()), float(right[part].mean())
        bins.append(Bin(len(part), mean, kept, float(low), float(high)))
    at, probabilities = _isotonic(strength, right)
    return Confidence(
        tuple(at.tolist()), tuple(probabilities.tolist()), source, len(right), float(right.mean()),
        calibration_error(held, right, BINS), calibration_error(strength, right, BINS),
        float(roc_auc_score(right, strength)), tuple(bins), generation,
    )  # fmt: skip


def write_confidence(path: Path, one: Confidence) -> None:
    """Keep it in a catalogue's folder."""
    write_file(path / FILE, json.dumps(one.as_dict(), indent=1).encode())


def read_confidence(path: Path) -> Confidence | None:
    """What a catalogue's folder keeps; None where nothing was calibrated.

    Raises
    ------
    SynestheteError
        A damaged file.
    """
    from pydantic import TypeAdapter, ValidationError

    if not (path / FILE).exists():
        return None
    try:
        made = TypeAdapter(Confidence).validate_python(read_json(path / FILE, root=path))
        if not len(made.strengths) == len(made.probabilities) > 0:
            raise SynestheteError("as many probabilities as strengths are needed, and one at least")
    except (SynestheteError, ValidationError) as error:
        told = str(error).split("\n")[0]
        raise SynestheteError(
            f"{path / FILE} is damaged: {told}", hint="run `synesthete catalog calibrate` again"
        ) from None
    return made


def _isotonic(strength: Float64, right: Bool) -> tuple[Float64, Float64]:
    """Knots of the isotonic fit, each level drawn towards the share of all as by `PRIOR` more cases.

    The ends of an isotonic fit are a handful of cases that happen to agree; without this they would be told as certain.
    """
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(strength, right.astype(float))
    levels, of, cases = np.unique(fitted.predict(strength), return_inverse=True, return_counts=True)
    drawn = (levels * cases + PRIOR * right.mean()) / (cases + PRIOR)
    drawn = np.maximum.accumulate(drawn)
    order = np.argsort(strength, kind="stable")
    at, first = np.unique(strength[order], return_index=True)
    return np.asarray(at, np.float64), np.asarray(drawn[of.reshape(-1)[order][first]], np.float64)
