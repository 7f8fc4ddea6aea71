"""Does a unit do what its name says? Raise it, and read which texts the images come nearer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete._core.intervals import bootstrap_interval
from synesthete.analysis.own_model import own_model
from synesthete.analysis.own_probes import own_probes
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

Float32 = npt.NDArray[np.float32]
IMAGES, CONTROLS, SHOWN, RESAMPLES = 64, 20, 10, 1000


@dataclass(frozen=True)
class Effect:
    """How much nearer the images came to a text: the mean change of the cosine."""

    text: str
    change: float


@dataclass(frozen=True)
class CausalCheck:
    """What raising a unit does.

    Attributes
    ----------
    address, text
        Which unit, and the text that it is said to stand for.
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
        What the unit is said to stand for; by default its name, or else its concept.
    strength
        How far to raise it, in multiples of the largest activation it had on the atlas's images.
    images, controls
        How many images, and how many random units to compare with.
    probes
        Where the atlas's probe set is, when its name does not say it.
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
    text = text or neuron.name or neuron.concept
    if not text.strip():
        raise SynestheteError(
            f"{neuron.address} has neither name nor concept", hint="say which text to test"
        )
    if not neuron.maximum > 0:
        raise SynestheteError(f"{neuron.address} answered to none of the images")
    layer, unit = neuron.layer, neuron.unit
    rng = np.random.default_rng(seed)
    rows = _rows(atlas, text, images, rng)
    model = own_model(atlas)
    from synesthete.recording.zero_shot import class_embeddings

    texts = list(dict.fromkeys([text, *atlas.concepts]))
    directions = class_embeddings(model, texts)
    pixels = _pixels(model, atlas, rows, probes)
    before = model.encode_images(pixels)
    amount = strength * neuron.maximum
    moved = (_raised(model, pixels, layer, unit, amount) - before) @ directions.T
    mean = moved.mean(axis=0)
    order = np.argsort(-mean, kind="stable")
    others = _other_units(atlas, layer, unit, controls, rng)
    by_control = np.array(
        [
            float(
                ((_raised(model, pixels, layer, u, strength * top) - before) @ directions[0]).mean()
            )
            for u, top in others
        ]
    )
    low, high = bootstrap_interval(
        lambda drawn: drawn.mean(axis=1), moved[:, 0], draws=RESAMPLES, seed=rng, vectorized=True
    )
    return CausalCheck(
        neuron.address,
        text,
        amount,
        len(rows),
        float(mean[0]),
        low,
        high,
        len(texts),
        int(np.flatnonzero(order == 0)[0]) + 1,
        len(others),
        float((1 + (by_control >= mean[0]).sum()) / (1 + len(others))),
        float(by_control.mean()),
        _effects(texts, mean, order[:SHOWN]),
        _effects(texts, mean, order[::-1][:SHOWN]),
    )


def _effects(texts: Sequence[str], mean: Float32, rows: npt.NDArray[np.int64]) -> list[Effect]:
    return [Effect(texts[i], float(mean[i])) for i in rows]


def _rows(atlas: Atlas, text: str, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Readable images of other concepts, drawn evenly."""
    columns = (atlas.probes[key].to_pylist() for key in ("status", "concept"))
    free = [
        i for i, (status, concept) in enumerate(zip(*columns, strict=True))
        if status == "ok" and concept != text
    ]  # fmt: skip
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
    model: ImageTextModel, atlas: Atlas, rows: npt.NDArray[np.int64], spec: str | Path | None
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
