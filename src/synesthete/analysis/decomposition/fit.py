"""Texts as sparse sums of units, fitted on one half of the artists and tested on the other; factors of many texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import NMF
from sklearn.linear_model import lars_path_gram

from synesthete._core.arrays import Bool, Float32, Float64, Floating, Int64
from synesthete._core.intervals import bootstrap_interval
from synesthete.analysis.design import image_layer, labelled_design
from synesthete.analysis.provenance import control_activations, own_model
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

TEMPLATES = ("{}", "a photo of {}", "a picture of {}")
TERMS = 10
RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Term:
    """One unit of a sum: `weight` is what one standard deviation of its activation adds to the cosine."""

    address: str
    weight: float
    heading: str
    concept: str
    name: str | None


@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """A text as a sum of units.

    Attributes
    ----------
    text, layer
        What, of what.
    r2, r2_low, r2_high
        Explained variance, within modalities, of the cosine of image and text on images by held-out artists, with its 95 %
        interval (bootstrap over artists).
    r2_random_twin, r2_shuffled
        The same fit with the units of the randomly initialised control (None without one), and with images permuted
        within each modality.
    terms
        Units, the largest weight first.
    images
        Number fitted on, number tested on.
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
class Sample:
    """The labelled images of an atlas: those to fit on, and those of held-out artists to test on.

    Attributes
    ----------
    rows
        `[images]` numbers of the images.
    test
        `[images]`, True for those of held-out artists.
    modality, artist
        `[images]` codes.
    modalities
        Names of the modalities, by code.
    """

    rows: Int64
    test: Bool
    modality: Int64
    artist: Int64
    modalities: tuple[str, ...]

    def centred(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """`values` `[images, ...]` less the mean of each modality and half."""
        out = np.array(values)
        for code in np.unique(self.modality):
            for half in (self.test, ~self.test):
                here = (self.modality == code) & half
                if here.any():
                    out[here] -= out[here].mean(axis=0)
        return out

    def activations(self, matrix: Floating) -> Float32:
        """Activations `[all images, units]` on these images, centred."""
        return self.centred(np.nan_to_num(np.asarray(matrix[self.rows], np.float32)))

    def permutation(self, seed: int) -> Int64:
        """`[images]` places, permuted within each modality and half."""
        rng = np.random.default_rng(seed)
        order = np.arange(len(self.rows))
        for code in np.unique(self.modality):
            for half in (~self.test, self.test):
                here = np.flatnonzero((self.modality == code) & half)
                order[here] = rng.permutation(here)
        return order


def sample_of(atlas: Atlas) -> Sample:
    """Split the labelled, readable images by artist, as the analysis does."""
    rows, design = labelled_design(atlas, purpose="decompositions")
    artists = atlas.probes["artist"].to_pylist()
    names = [artists[i] or f"image {i}" for i in rows]
    _, artist = np.unique(names, return_inverse=True)
    return Sample(
        rows=rows,
        test=design.split.scoring,
        modality=design.modality,
        artist=artist,
        modalities=tuple(design.modalities),
    )


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
    an image is a photo. Least-angle regression (Efron et al. 2004) with the lasso, from the activations to the cosine of image and
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
    layer = image_layer(atlas, layer)
    whole, atlas = atlas, atlas.sampled
    matrix = atlas.activations(layer)
    sample = sample_of(atlas)
    direction = class_embeddings(own_model(atlas), [text], list(templates))[0]
    target = sample.centred(np.asarray(atlas.embeddings()[sample.rows], np.float64) @ direction)
    values = sample.activations(matrix)
    fit, test = ~sample.test, sample.test
    weights, picked = Units(values[fit]).fit(target[fit], terms, positive=positive)

    def tested(control: Float32) -> float:
        weights, picked = Units(control[fit]).fit(target[fit], terms, positive=positive)
        return r_squared(control[test][:, picked] @ weights, target[test])

    r2, low, high = _tested(
        values[:, picked][test] @ weights, target[test], sample.artist[test], seed
    )
    control = control_activations(atlas, layer)
    spread = values[fit].std(axis=0)
    ranked = sorted(
        zip(picked, weights, strict=True), key=lambda pair: -abs(pair[1] * spread[pair[0]])
    )
    return Decomposition(
        text=text,
        layer=layer,
        r2=r2,
        r2_low=low,
        r2_high=high,
        r2_random_twin=None if control is None else tested(sample.activations(control)),
        r2_shuffled=tested(values[sample.permutation(seed)]),
        terms=[term_of(whole, layer, unit, weight * spread[unit]) for unit, weight in ranked],
        images=(int(fit.sum()), int(test.sum())),
    )


def term_of(atlas: Atlas, layer: str, unit: int, weight: float) -> Term:
    """A unit as a term, with its heading, concept and name where the atlas was analysed."""
    address = f"{layer}:{unit}"
    neuron = atlas.neuron(address) if atlas.analysed else None
    return Term(
        address=address,
        weight=float(weight),
        heading=neuron.heading if neuron else "",
        concept=neuron.concept if neuron else "",
        name=neuron.name if neuron else None,
    )


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


def r_squared(predicted: Float64, target: Float64) -> float:
    """Explained variance, with the prediction's own mean taken off (a cosine has no natural zero).

    Examples
    --------
    >>> r_squared(np.array([0.0, 1.0, 2.0]), np.array([5.0, 6.0, 7.0]))
    1.0
    """
    left = (target - target.mean()) - (predicted - predicted.mean())
    return float(1 - (left**2).sum() / ((target - target.mean()) ** 2).sum())


def _tested(
    predicted: Float64, target: Float64, artist: Int64, seed: int
) -> tuple[float, float, float]:
    """R² with its 95 % interval: bootstrap over artists."""
    by_artist = [np.flatnonzero(artist == code) for code in np.unique(artist)]

    def quality(artists: Int64) -> float:
        picked = np.concatenate([by_artist[i] for i in artists])
        return r_squared(predicted[picked], target[picked])

    low, high = bootstrap_interval(quality, np.arange(len(by_artist)), draws=RESAMPLES, seed=seed)
    return r_squared(predicted, target), low, high


# Plutchik's (1980) eight primary emotions in three strengths, and the commonest others.
_EMOTIONS = """
joy serenity ecstasy trust acceptance admiration fear apprehension terror surprise distraction amazement sadness
pensiveness grief disgust boredom loathing anger annoyance rage anticipation interest vigilance love shame pride envy
guilt hope contempt relief loneliness confusion embarrassment gratitude
"""
EMOTIONS = tuple(_EMOTIONS.split())


@dataclass(frozen=True, kw_only=True)
class WordFactors:
    """Words as non-negative sums of units, and factors of those.

    Attributes
    ----------
    words, layer
        Of what.
    units
        Numbers of the units that any word uses.
    weights
        `[words, units]`, what one standard deviation of each adds to the cosine.
    r2
        `[words]` on images by held-out artists.
    loadings, parts
        `[words, factors]` and `[factors, units]`: their product is about `weights`.
    explained
        Share of the squared weights that the factors keep.
    """

    words: list[str]
    layer: str
    units: Int64
    weights: Float64
    r2: Float64
    loadings: Float64
    parts: Float64
    explained: float


def word_factors(
    atlas: Atlas,
    words: Sequence[str] = EMOTIONS,
    *,
    factors: int = 7,
    layer: str | None = None,
    terms: int = TERMS,
    templates: Sequence[str] = TEMPLATES,
) -> WordFactors:
    """Decompose each word into a non-negative sparse sum of units, and factor them (NMF, Lee and Seung 1999).

    The paper does this for emotions: two factors give valence and arousal, seven the standard categories.

    Raises
    ------
    SynestheteError
        Fewer than two words, a word twice, factors outside 1 … number of words, and all of `decompose`.
    """
    listed = [" ".join(word.split()) for word in words]
    if len(listed) < 2 or not all(listed):
        raise SynestheteError("factors need two words or more, none of them empty")
    if len(set(listed)) != len(listed):
        raise SynestheteError("a word is listed twice")
    if not 1 <= factors <= len(listed):
        raise SynestheteError(
            f"{len(listed)} words allow 1 to {len(listed)} factors, not {factors}"
        )
    layer, atlas = image_layer(atlas, layer), atlas.sampled
    sample = sample_of(atlas)
    values = sample.activations(atlas.activations(layer))
    directions = class_embeddings(own_model(atlas), listed, list(templates))
    targets = sample.centred(np.asarray(atlas.embeddings()[sample.rows], np.float64) @ directions.T)
    fit, test = ~sample.test, sample.test
    spread = values[fit].std(axis=0)
    weights = np.zeros((len(listed), values.shape[1]))
    r2 = np.zeros(len(listed))
    units = Units(values[fit])
    for i, target in enumerate(targets.T):
        found, picked = units.fit(target[fit], terms, positive=True)
        weights[i, picked] = found * spread[picked]
        r2[i] = r_squared(values[test][:, picked] @ found, target[test])
    used = np.flatnonzero(weights.any(axis=0))
    kept = weights[:, used]
    if not used.size:
        raise SynestheteError(f"no unit of {layer} rises with any of these words")
    loadings, parts, explained = factored(kept, factors)
    return WordFactors(
        words=listed,
        layer=layer,
        units=used,
        weights=kept,
        r2=r2,
        loadings=loadings,
        parts=parts,
        explained=explained,
    )


def factored(weights: Float64, factors: int) -> tuple[Float64, Float64, float]:
    """Non-negative factors of `weights` `[words, units]` (NMF): loadings, parts, and the share of the squared weights that they keep."""
    model = NMF(factors, init="nndsvd", max_iter=2000, tol=1e-6, random_state=0)
    loadings = model.fit_transform(weights)
    left = ((weights - loadings @ model.components_) ** 2).sum()
    return loadings, model.components_, float(1 - left / (weights**2).sum())
