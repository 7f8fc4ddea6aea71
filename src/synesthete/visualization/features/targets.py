"""Targets of visualization: units, directions among a layer's units, texts, classes, sums of units; and their activations on real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float32, Float64, Floating, Int64
from synesthete._core.user_files import read_named
from synesthete.analysis.design import image_layer, readable_rows, tower_of
from synesthete.analysis.provenance import own_model, own_probes
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import Atlas
from synesthete.atlas.arrays import read_npy
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

SAMPLE, CHUNK = 512, 32


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing to visualize.

    Attributes
    ----------
    name
        An address, or a direction by its kind: `text:apple`.
    layer
        Where; empty for the embedding.
    unit
        -1 for a direction.
    direction
        `[units]` of the layer, or `[dim]` of the embedding.
    real
        Activations on real images.
    """

    name: str
    layer: str
    unit: int
    direction: Float32
    real: Real


def unit_target(atlas: Atlas, address: str) -> Target:
    """A unit.

    Raises
    ------
    SynestheteError
        No such unit, or it gave the same value for every image, so that nothing can excite it more than others.
    """
    layer, unit = atlas.locate(address)
    address = f"{layer}:{unit}"
    tower = tower_of(atlas, layer)
    if tower != "image":
        what = "reads texts" if tower == "text" else "is a dimension of the embedding"
        raise SynestheteError(
            f"{address} {what}, so there is no image of what it sees",
            hint="units of layers that read images can be visualized, and directions: --text",
        )
    real = real_activations(atlas, layer, unit)
    if not real.std > 0:
        value = f"{real.low[0]:g}" if len(real.low) else "no finite value"
        raise SynestheteError(
            f"{address} gave {value} for every image, so there is nothing to see",
            hint="choose a live unit",
        )
    direction = np.zeros(int(atlas.layer(layer)["units"]), np.float32)
    direction[unit] = 1.0
    return Target(name=address, layer=layer, unit=unit, direction=direction, real=real)


def text_target(atlas: Atlas, text: str) -> Target:
    """A concept: the direction of a text among embeddings.

    Raises
    ------
    SynestheteError
        An empty text, or the atlas's model cannot be loaded.
    """
    (direction,) = _embedded(atlas, [text])
    return _embedding_target(atlas, f"text:{text}", direction)


def class_target(atlas: Atlas, text: str) -> Target:
    """A class: its text's direction, less the mean direction of all concepts of the atlas."""
    every = _embedded(atlas, [text, *atlas.concepts])
    return _embedding_target(atlas, f"class:{text}", every[0] - every[1:].mean(axis=0))


def sum_target(atlas: Atlas, text: str, *, layer: str | None = None, terms: int = 10) -> Target:
    """A text as a sparse sum of units (`synesthete decompose`), as a direction of their layer."""
    from synesthete.analysis.decomposition import decompose

    found = decompose(atlas, text, layer=layer, terms=terms)
    direction = np.zeros(int(atlas.layer(found.layer)["units"]), np.float32)
    std = atlas.statistics(found.layer).std
    for term in found.terms:
        _, unit = atlas.locate(term.address)
        direction[unit] = term.weight / std[unit]
    return direction_target(atlas, direction, found.layer, name=f"sum:{text}")


def direction_target(
    atlas: Atlas, direction: npt.ArrayLike, layer: str | None, *, name: str
) -> Target:
    """Any direction among a layer's units `[units]`, or (without a layer) among embeddings `[dim]`.

    Raises
    ------
    SynestheteError
        Of another length, not finite, or zero everywhere.
    """
    values = np.asarray(direction, np.float32)
    if layer is None:
        width = int(atlas.manifest["model"]["embedding_dim"])
    else:
        layer = image_layer(atlas, layer)
        width = int(atlas.layer(layer)["units"])
    if values.shape != (width,):
        raise SynestheteError(f"{name} has the shape {values.shape}, expected ({width},)")
    if not np.isfinite(values).all() or not values.any():
        raise SynestheteError(f"{name} must be finite, and not zero everywhere")
    if layer is None:
        return _embedding_target(atlas, name, values)
    real = real_values(_along(atlas, layer, values))
    if not real.std > 0:
        raise SynestheteError(f"{name} gives the same value for every image")
    return Target(name=name, layer=layer, unit=-1, direction=values, real=real)


def read_direction(path: Path) -> Float32:
    """A direction from a `.npy` file."""
    try:
        return np.asarray(read_npy(read_named(path), source=str(path)), np.float32)
    except SynestheteError as error:
        raise SynestheteError(f"{path} cannot be read as .npy: {error}") from None


def responses(
    model: ImageTextModel, pixels: torch.Tensor, layer: str, directions: Float32, reduction: str
) -> Float32:
    """Activations of directions for images on the unmodified model, `[batch, directions]`.

    Parameters
    ----------
    layer
        Empty for the embedding, whose cosine-like product it is then.
    directions
        `[directions, units or dim]`.
    reduction
        How positions count.
    """
    if not layer:
        return np.asarray(model.encode_images(pixels) @ directions.T, np.float32)
    single = (directions != 0).sum(axis=1) == 1
    if reduction != "max" or single.all():
        return np.asarray(model.read(pixels, [layer], reduction).activations[layer] @ directions.T)
    maps = model.maps(pixels, layer).flatten(2).numpy()
    return np.asarray(np.einsum("bup,du->bdp", maps, directions).max(axis=2), np.float32)


def _along(atlas: Atlas, layer: str, direction: Float32) -> Floating:
    """A direction's values on real images: of all where that is exact, else of a sample shown to the model again."""
    reduction = str(atlas.manifest["reduction"])
    if atlas.manifest["dense"] and reduction != "max":
        return np.asarray(atlas.activations(layer) @ direction)
    import torch

    model, probes = own_model(atlas), own_probes(atlas)
    rows = sample_rows(atlas, SAMPLE)
    found = []
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        pixels = torch.stack([model.preprocess(probes.image(int(row))) for row in some])
        found.append(responses(model, pixels, layer, direction[None], reduction)[:, 0])
    return np.concatenate(found)


def sample_rows(atlas: Atlas, count: int, *, seed: int = 0) -> Int64:
    """Readable images drawn evenly, in order."""
    fine = readable_rows(atlas)
    drawn = np.random.default_rng(seed).choice(fine, min(count, len(fine)), replace=False)
    return np.sort(drawn)


def _embedded(atlas: Atlas, texts: Sequence[str]) -> Float32:
    if not all(text.strip() for text in texts):
        raise SynestheteError("an empty text has no direction")
    return class_embeddings(own_model(atlas), list(texts))


def _embedding_target(atlas: Atlas, name: str, direction: Float32) -> Target:
    real = real_values(np.asarray(atlas.embeddings()[readable_rows(atlas)], np.float32) @ direction)
    return Target(
        name=name, layer="", unit=-1, direction=np.asarray(direction, np.float32), real=real
    )


BEYOND = 99.9


@dataclass(frozen=True)
class Real:
    """A target's activations on real images, as lowest and highest possible value of each with its count.

    Attributes
    ----------
    low, high
        Of each value or bin; equal where values are known one by one. Rising.
    count
        Images of it.
    std
        Standard deviation.
    """

    low: Float64
    high: Float64
    count: Float64
    std: float

    def percentile(self, activation: float, goal: str) -> float:
        """The share of real images below an activation, or for the goal `least` at it or below, 0 to 100.

        Where only bins are known, an image gets no benefit of the doubt.

        Examples
        --------
        >>> real = real_values(np.array([0.0, 0.0, 1.0, 4.0]))
        >>> real.percentile(2.0, "most"), real.percentile(1.0, "most"), real.percentile(0.0, "least")
        (75.0, 50.0, 50.0)
        """
        total = float(self.count.sum())
        if not total:
            return float("nan")
        under = self.high < activation if goal == "most" else self.low <= activation
        return float(100 * self.count[under].sum() / total)

    def excites(self, activation: float, goal: str) -> bool:
        """Whether an activation lies beyond all but one in a thousand real images."""
        where = self.percentile(activation, goal)
        return where >= BEYOND if goal == "most" else where <= 100 - BEYOND


def real_values(values: Floating) -> Real:
    """From values one by one; those that are not finite are left out."""
    known, count = np.unique(values[np.isfinite(values)].astype(np.float64), return_counts=True)
    every = np.repeat(known, count)
    return Real(known, known, count.astype(np.float64), float(every.std()) if len(every) else 0.0)


def real_activations(atlas: Atlas, layer: str, unit: int) -> Real:
    """A unit's activations in an atlas: all of them, or the histogram where the matrix was not kept."""
    if atlas.manifest["dense"]:
        return real_values(np.asarray(atlas.activations(layer)[:, unit]))
    statistics = atlas.statistics(layer)
    used = np.flatnonzero(statistics.histogram[unit])
    bounds = statistics.bounds[used]
    count = statistics.histogram[unit, used].astype(np.float64)
    return Real(bounds[:, 0], bounds[:, 1], count, float(statistics.std[unit]))
