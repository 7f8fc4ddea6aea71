"""What a unit does downstream: which texts it drives the embedding towards, and what raising it changes (an intervention)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from synesthete._core.arrays import Float32, Int64
from synesthete._core.intervals import bootstrap_interval
from synesthete.analysis.decomposition.explain import has_linear_path, unit_weights
from synesthete.analysis.decomposition.fit import sample_of
from synesthete.analysis.design import readable_rows
from synesthete.analysis.provenance import own_model, own_probes
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

Route = Literal["exact", "fitted"]

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

IMAGES, CONTROLS, SHOWN, RESAMPLES = 64, 20, 10, 1000


@dataclass(frozen=True)
class Effect:
    """How much nearer the images came to a text: the mean change of the cosine."""

    text: str
    change: float


@dataclass(frozen=True, kw_only=True)
class CausalCheck:
    """What raising a unit does.

    Attributes
    ----------
    address, text
        Which unit, and the text that it may stand for.
    raised_by
        What was added to its response at every position: `strength` times its largest activation.
    images
        Number of images, none of them of the text's concept.
    change, low, high
        Mean change of their cosine with the text, with its 95 % interval (bootstrap over images).
    texts, rank
        Control prompts: among so many texts, the text's place by change (1: it gained most).
    controls, p
        Control units: so many random live units of the layer, each raised by its own largest activation;
        `p` is the share whose raising moves the images at least as much towards the text, (1 + those) / (1 + all).
    control_change
        Their mean change.
    most, least
        Texts that gained and that lost most.
    """

    address: str
    text: str
    raised_by: float
    images: int
    change: float
    low: float
    high: float
    texts: int
    rank: int
    controls: int
    p: float
    control_change: float
    most: list[Effect]
    least: list[Effect]


def causal_check(
    atlas: Atlas,
    address: str,
    *,
    text: str | None = None,
    strength: float = 1.0,
    images: int = IMAGES,
    controls: int = CONTROLS,
    probes: str | Path | None = None,
    seed: int = 0,
) -> CausalCheck:
    """Raise a unit on images of other concepts, and read the change of their cosines with texts.

    An intervention, where names and selectivity are correlations. The texts are the atlas's concepts (and `text`). Weak
    evidence for a unit of the last block, whose path to the embedding is short; for one of an early layer, evidence about all
    that follows.

    Parameters
    ----------
    text
        What the unit may stand for; by default its name, or else its concept.
    strength
        How far to raise it, in multiples of the largest activation it had on the atlas's images.
    images, controls
        How many images, and how many random units to compare with.
    probes
        Where the atlas's probe set is, when its name is not enough.
    seed
        Of the images and units drawn, and of the bootstrap.

    Raises
    ------
    SynestheteError
        No such unit, a dead one, one without name and concept when no text is given, too few images or units, a layer
        before its non-linearity, another model or other probes than the atlas's.
    """
    if not (0 < abs(strength) < 1e6 and images >= 2 and controls >= 1):
        raise SynestheteError("a check needs a strength other than 0, two images and a control")
    neuron = atlas.neuron(address)
    text = text or neuron.heading
    if not text.strip():
        raise SynestheteError(
            f"{neuron.address} has neither name nor concept", hint="give a text to test"
        )
    if not neuron.maximum > 0:
        raise SynestheteError(f"{neuron.address} answered to none of the images")
    layer, unit = neuron.layer, neuron.unit
    rng = np.random.default_rng(seed)
    rows = _rows(atlas, text, images, rng)
    model = own_model(atlas)
    texts = list(dict.fromkeys([text, *atlas.concepts]))
    directions = class_embeddings(model, texts)
    pixels = _pixels(model, atlas, rows, probes)
    before = model.encode_images(pixels)
    amount = strength * neuron.maximum
    moved = (_raised(model, pixels, layer, unit, amount) - before) @ directions.T
    mean = moved.mean(axis=0)
    order = np.argsort(-mean, kind="stable")
    others = _other_units(atlas, layer, unit, controls, rng)
    by_control = np.zeros(len(others))
    for place, (other, highest) in enumerate(others):
        raised = _raised(model, pixels, layer, other, strength * highest)
        by_control[place] = float(((raised - before) @ directions[0]).mean())
    low, high = bootstrap_interval(
        lambda drawn: drawn.mean(axis=1), moved[:, 0], draws=RESAMPLES, seed=rng, vectorized=True
    )
    return CausalCheck(
        address=neuron.address,
        text=text,
        raised_by=amount,
        images=len(rows),
        change=float(mean[0]),
        low=low,
        high=high,
        texts=len(texts),
        rank=int(np.flatnonzero(order == 0)[0]) + 1,
        controls=len(others),
        p=float((1 + (by_control >= mean[0]).sum()) / (1 + len(others))),
        control_change=float(by_control.mean()),
        most=_effects(texts, mean, order[:SHOWN]),
        least=_effects(texts, mean, order[::-1][:SHOWN]),
    )


def _effects(texts: Sequence[str], mean: Float32, rows: Int64) -> list[Effect]:
    return [Effect(texts[i], float(mean[i])) for i in rows]


def _rows(atlas: Atlas, text: str, count: int, rng: np.random.Generator) -> Int64:
    """Readable images of other concepts, drawn evenly."""
    concepts = atlas.probes["concept"].to_pylist()
    free = [row for row in readable_rows(atlas).tolist() if concepts[row] != text]
    if len(free) < 2:
        raise SynestheteError(f"{atlas.path} has no images of other concepts than {text!r}")
    return np.sort(rng.choice(np.array(free), min(count, len(free)), replace=False))


def _other_units(
    atlas: Atlas, layer: str, unit: int, count: int, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """Random live units of the layer, each with its largest activation."""
    neurons = atlas.neurons(layer)
    live = [(n.unit, float(n.maximum)) for n in neurons if n.unit != unit and n.maximum > 0]
    if not live:
        raise SynestheteError(f"{layer} has no other live unit to compare with")
    return [live[i] for i in rng.choice(len(live), min(count, len(live)), replace=False)]


def _pixels(
    model: ImageTextModel, atlas: Atlas, rows: Int64, spec: str | Path | None
) -> torch.Tensor:
    import torch

    probes = own_probes(atlas, spec)
    return torch.stack([model.preprocess(probes.image(int(row))) for row in rows])


def _raised(
    model: ImageTextModel, pixels: torch.Tensor, layer: str, unit: int, amount: float
) -> Float32:
    from synesthete.models.interventions import Change

    with model.changed([Change(layer, (unit,), add=amount)]):
        return model.encode_images(pixels)


@dataclass(frozen=True)
class Wanted:
    """A text and how strongly a unit drives towards it, in standard deviations over the vocabulary."""

    text: str
    score: float


@dataclass(frozen=True, kw_only=True)
class WantedTexts:
    """What a unit drives towards, and away from.

    Attributes
    ----------
    route
        `exact`: along the value path to the embedding. `fitted`: by the covariance of the unit's activation and
        the embeddings of the atlas's images, within modalities.
    most, least
        Texts, the strongest first.
    """

    address: str
    route: Route
    vocabulary: int
    most: list[Wanted]
    least: list[Wanted]


def wanted_texts(
    atlas: Atlas, address: str, vocabulary: Sequence[str], *, limit: int = 20
) -> WantedTexts:
    """Rank a vocabulary by what one more of a unit adds to each text's cosine.

    The mean over the vocabulary is taken off the texts' embeddings first: what all texts have in common says nothing of one.

    Raises
    ------
    SynestheteError
        No such unit, fewer than two texts, another model than the atlas's; on the fitted route, no dense matrix.
    """
    words = list(dict.fromkeys(vocabulary))
    if len(words) < 2 or limit < 1:
        raise SynestheteError("two texts or more are needed, and a limit of one or more")
    layer, unit = atlas.locate(address)
    model = own_model(atlas)
    directions = model.encode_texts(words)
    directions = directions - directions.mean(axis=0)
    route, by_unit = text_scores(atlas, model, layer, [unit], directions)
    scores = by_unit[:, 0]
    spread = float(scores.std())
    scaled = scores / spread if spread > 0 else scores
    order = np.argsort(-scaled, kind="stable")
    most = [Wanted(words[i], float(scaled[i])) for i in order[:limit]]
    least = [Wanted(words[i], float(scaled[i])) for i in order[::-1][:limit]]
    return WantedTexts(
        address=f"{layer}:{unit}", route=route, vocabulary=len(words), most=most, least=least
    )


def text_scores(
    atlas: Atlas, model: ImageTextModel, layer: str, units: Sequence[int], directions: Float32
) -> tuple[Route, Float32]:
    """What one more of each unit adds to each text's cosine, `[texts, units]`, and by which route (`WantedTexts`).

    Parameters
    ----------
    directions
        Embeddings of the texts, `[texts, dim]`.
    """
    if has_linear_path(model, layer):
        return "exact", unit_weights(model, layer, directions)[:, list(units)]
    return "fitted", directions @ _covariances(atlas, layer, units).T


def _covariances(atlas: Atlas, layer: str, units: Sequence[int]) -> Float32:
    """Covariances of units' activations and the image embeddings, `[units, dim]`."""
    atlas = atlas.sampled
    sample = sample_of(atlas)
    columns = atlas.activations(layer)[np.ix_(sample.rows, np.asarray(units, np.int64))]
    values = sample.centred(np.nan_to_num(np.asarray(columns, np.float64)))
    embeddings = sample.centred(np.asarray(atlas.embeddings()[sample.rows], np.float64))
    return np.asarray(values.T @ embeddings / len(values), np.float32)
