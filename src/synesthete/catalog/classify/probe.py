"""The probe: a linear layer on fused embeddings, calibrated, with the sets and the threshold that its promises need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

Float64 = npt.NDArray[np.float64]
Calibration = Literal["temperature", "isotonic"]


@dataclass(frozen=True)
class Knots:
    """A rising curve from a class's logit to its probability, by its corners."""

    logits: Float64
    shares: Float64


@dataclass(frozen=True)
class Probe:
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
    quantile
        A label is in the conformal set when its probability is at least 1 - quantile.
    threshold
        Confidence from which the probe decides by itself; infinite when it may not at all.
    """

    labels: tuple[str, ...]
    weights: Float64
    intercept: Float64
    sharpness: float = 1.0
    knots: tuple[Knots, ...] = ()
    quantile: float = 1.0
    threshold: float = float("inf")

    def logits(self, features: npt.NDArray[np.floating]) -> Float64:
        """`[records, labels]`, before calibration."""
        return np.asarray(features @ self.weights.T + self.intercept, np.float64)

    def probabilities(self, features: npt.NDArray[np.floating]) -> Float64:
        """`[records, labels]`, calibrated; each row sums up to one."""
        return calibrated(self.logits(features), self.sharpness, self.knots)

    def sets(self, probabilities: Float64) -> npt.NDArray[np.bool_]:
        """`[records, labels]`: the conformal sets; an empty one is of a record like none before."""
        return np.asarray(1 - probabilities <= self.quantile + 1e-12)


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
