"""A prompt as a sparse sum of units, fitted on one half of the artists and judged on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import lars_path_gram

from synesthete._core.intervals import bootstrap_interval
from synesthete.analysis.design import Design
from synesthete.analysis.own_model import own_model
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

TWIN = "random_twin"
TEMPLATES = ("{}", "a photo of {}", "a picture of {}")
TERMS = 10
RESAMPLES = 200


@dataclass(frozen=True)
class Term:
    """One unit of a sum: `weight` is what one standard deviation of its activation adds to the cosine."""

    address: str
    weight: float
    concept: str
    name: str | None


@dataclass(frozen=True)
class Decomposition:
    """A text as a sum of units.

    Attributes
    ----------
    text, layer
        What, of what.
    r2, r2_low, r2_high
        Explained variance, within modalities, of the cosine of image and text on images by other artists than it was fitted
        on, with its 95 % interval (bootstrap over artists).
    r2_random_twin, r2_shuffled
        The same fit with the units of the random twin (None without one), and with the images of each
        modality dealt out anew.
    terms
        Units, the largest weight first.
    images
        Number fitted on, number judged on.
    """

    text: str
    layer: str
    r2: float
    r2_low: float
    r2_high: float
    r2_random_twin: float | None
    r2_shuffled: float
    terms: list[Term]
    images: tuple[int, int]


@dataclass(frozen=True)
class Halves:
    """The labelled images of an atlas: which to fit on, which to judge on, and by whom each is."""

    rows: Int64
    judge: npt.NDArray[np.bool_]
    modality: Int64
    artist: Int64


def halves_of(atlas: Atlas) -> Halves:
    """Split the labelled, readable images by artist, as the analysis does."""
    table = atlas.probes
    keys = ("status", "concept", "modality", "artist")
    columns = {key: table[key].to_pylist() for key in keys}
    fine = [
        status == "ok" and bool(concept) and bool(modality)
        for status, concept, modality, _ in zip(*columns.values(), strict=True)
    ]
    rows = np.flatnonzero(np.array(fine, np.bool_))
    if not len(rows):
        raise SynestheteError(
            f"the images of {atlas.path} have no concept and modality",
            hint="a decomposition is fitted on some artists and judged on others; record labelled images",
        )
    design = Design.of(*([columns[key][i] for i in rows] for key in keys[1:]))
    artists = np.unique([columns["artist"][i] or f"image {i}" for i in rows], return_inverse=True)[
        1
    ]
    judge = design.halves.scoring
    if judge.all() or not judge.any():
        raise SynestheteError("all probe images are by one artist", hint="two or more are needed")
    return Halves(rows, judge, design.modality, artists)


def decompose(
    atlas: Atlas,
    text: str,
    *,
    layer: str | None = None,
    terms: int = TERMS,
    positive: bool = False,
    templates: Sequence[str] = TEMPLATES,
    seed: int = 0,
) -> Decomposition:
    """Write what the model means by a text as a sparse sum of a layer's units.

    Differences between modalities are taken out of both first: what is explained is the concept, not that
    a picture is a photo. Least-angle regression (Efron et al. 2004) with the lasso, from the activations to the cosine of image and
    text, stopped at the wanted number of units, whose weights are then refitted without shrinkage.

    Parameters
    ----------
    layer
        One of the atlas's; its first by default.
    terms
        At most so many units.
    positive
        Whether weights must not be negative.
    templates
        The text's embedding is the mean over these.
    seed
        Of the bootstrap and the shuffled control.

    Raises
    ------
    SynestheteError
        Empty text, no such layer, no dense matrix, no labels, another model than the atlas's.
    """
    if not text.strip():
        raise SynestheteError("the text is empty", hint="give a word or a phrase")
    if terms < 1:
        raise SynestheteError(f"{terms} terms are too few", hint="one or more")
    from synesthete.recording.zero_shot import class_embeddings

    layer = atlas.layers[0] if layer is None else str(atlas.layer(layer)["name"])
    matrix = atlas.activations(layer)
    halves = halves_of(atlas)
    direction = class_embeddings(own_model(atlas), [text], list(templates))[0]
    target = np.asarray(atlas.embeddings()[halves.rows], np.float64) @ direction
    target = within(target, halves)
    values = _clean(matrix, halves)
    fit, judge = ~halves.judge, halves.judge
    weights, picked = sparse_fit(values[fit], target[fit], terms, positive=positive)
    told = _judged(values[:, picked], weights, target, halves, seed)
    twin = None
    if TWIN in atlas.manifest["controls"]:
        other = _clean(atlas.control_activations(TWIN, layer), halves)
        twin = _control(other, target, halves, terms, positive=positive)
    rng = np.random.default_rng(seed)
    order = np.arange(len(target))
    for code in np.unique(halves.modality):
        for half in (fit, judge):
            here = np.flatnonzero((halves.modality == code) & half)
            order[here] = rng.permutation(here)
    shuffled = _control(values[order], target, halves, terms, positive=positive)
    spread = values[fit].std(axis=0)
    ranked = sorted(
        zip(picked, weights, strict=True), key=lambda one: -abs(one[1] * spread[one[0]])
    )
    found = []
    for unit, weight in ranked:
        address = f"{layer}:{unit}"
        neuron = atlas.neuron(address) if atlas.analysed else None
        concept, name = (neuron.concept, neuron.name) if neuron else ("", None)
        found.append(Term(address, float(weight * spread[unit]), concept, name))
    counts = (int(fit.sum()), int(judge.sum()))
    return Decomposition(text, layer, *told, twin, shuffled, found, counts)


class Units:
    """A layer's activations made ready for many sparse fits.

    Parameters
    ----------
    values
        `[images, units]`; units that never change are left out of every fit.
    """

    def __init__(self, values: Float32) -> None:
        mean, spread = values.mean(axis=0), values.std(axis=0)
        self.alive = np.flatnonzero(spread > 1e-6)
        self._spread = spread[self.alive]
        self._scaled = (values[:, self.alive] - mean[self.alive]) / self._spread
        self._gram = (self._scaled.T @ self._scaled).astype(np.float64)

    def fit(self, target: Float64, terms: int, *, positive: bool = False) -> tuple[Float64, Int64]:
        """Weights (per unit of activation) and numbers of the units of a sparse sum for `target` `[images]`."""
        product = (self._scaled.T @ (target - target.mean()).astype(np.float32)).astype(np.float64)
        count = len(target)
        _, active, _ = lars_path_gram(
            product, self._gram, n_samples=count, max_iter=terms, method="lasso", positive=positive
        )
        chosen = np.array(sorted(active), np.int64)
        while len(chosen):
            solved = np.linalg.solve(
                self._gram[np.ix_(chosen, chosen)] + 1e-6 * count * np.eye(len(chosen)),
                product[chosen],
            )
            if not positive or (solved >= 0).all():
                return solved / self._spread[chosen], self.alive[chosen]
            chosen = chosen[solved > 0]
        return np.zeros(0), np.zeros(0, np.int64)


def sparse_fit(
    values: Float32, target: Float64, terms: int, *, positive: bool
) -> tuple[Float64, Int64]:
    """`Units(values).fit(target, terms)`: one sparse sum."""
    return Units(values).fit(target, terms, positive=positive)


def r_squared(predicted: Float64, target: Float64) -> float:
    """Explained variance, with the prediction's own mean taken off (a cosine has no natural zero).

    Examples
    --------
    >>> r_squared(np.array([0.0, 1.0, 2.0]), np.array([5.0, 6.0, 7.0]))
    1.0
    """
    left = (target - target.mean()) - (predicted - predicted.mean())
    return float(1 - (left**2).sum() / ((target - target.mean()) ** 2).sum())


def within(values: npt.NDArray[Any], halves: Halves) -> npt.NDArray[Any]:
    """`values` `[images, ...]` with the mean of each modality and half taken off."""
    out = np.array(values)
    for code in np.unique(halves.modality):
        for half in (halves.judge, ~halves.judge):
            here = (halves.modality == code) & half
            if here.any():
                out[here] -= out[here].mean(axis=0)
    return out


def _clean(matrix: npt.NDArray[np.floating], halves: Halves) -> Float32:
    return within(np.nan_to_num(np.asarray(matrix[halves.rows], np.float32)), halves)


def _judged(
    values: Float32, weights: Float64, target: Float64, halves: Halves, seed: int
) -> tuple[float, float, float]:
    rows = np.flatnonzero(halves.judge)
    predicted = values[rows] @ weights
    truth = target[rows]
    by_artist = [
        np.flatnonzero(halves.artist[rows] == one) for one in np.unique(halves.artist[rows])
    ]

    def quality(artists: Int64) -> float:
        picked = np.concatenate([by_artist[i] for i in artists])
        return r_squared(predicted[picked], truth[picked])

    low, high = bootstrap_interval(quality, np.arange(len(by_artist)), draws=RESAMPLES, seed=seed)
    return r_squared(predicted, truth), low, high


def _control(
    values: Float32, target: Float64, halves: Halves, terms: int, *, positive: bool
) -> float:
    fit, judge = ~halves.judge, halves.judge
    weights, picked = sparse_fit(values[fit], target[fit], terms, positive=positive)
    return r_squared(values[judge][:, picked] @ weights, target[judge])
