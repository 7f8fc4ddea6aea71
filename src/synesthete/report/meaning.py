"""Neurons by meaning: those whose images and name lie nearest to a text or an image, beside random sets of the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synesthete._core.arrays import Bool, Float32, Float64
from synesthete.analysis.meaning import meanings
from synesthete.errors import SynestheteError
from synesthete.probes.labels import usable_text
from synesthete.report.columns import Columns, Part, ranked
from synesthete.report.neuron import NeuronRow, rows_of

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.report.source import Source

SHOWN = 24
Chosen = Callable[[Columns], Bool]


@dataclass(frozen=True, kw_only=True)
class Match:
    """A neuron and how near it is.

    Attributes
    ----------
    score
        Of a text the mean of both cosines; of an image `images`.
    images
        Cosine of what was searched for with the weighted mean embedding of the neuron's exemplars.
    name
        Cosine of the text with the neuron's heading; null for an image, and for a neuron without one.
    """

    neuron: NeuronRow
    score: float
    images: float
    name: float | None


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The neurons nearest to a text or an image.

    Attributes
    ----------
    matches
        The nearest first.
    beyond
        Of how many of the neurons searched the images are nearer than `control`.
    units
        How many were searched.
    control
        Cosine of the nearest of as many random sets of the same images.
    """

    matches: list[Match]
    beyond: int
    units: int
    control: float


def like_text(
    source: Source, text: str, *, limit: int = SHOWN, chosen: Chosen | None = None
) -> Matches:
    """The neurons nearest to a text. Loads the atlas's model on first use.

    Parameters
    ----------
    limit
        At most so many.
    chosen
        Of a layer's columns, the units that are searched, `[units]`; all by default.

    Raises
    ------
    SynestheteError
        No text; the model cannot be loaded, has other weights than the atlas was recorded with, or reads no texts.
    """
    query, known = read_query(source, text)
    return _near(source, query, known, limit, chosen)


def read_query(source: Source, text: str) -> tuple[Float32, dict[str, float]]:
    """A text's embedding `[dim]`, and its cosine with each heading of the atlas; both less what all headings have in common.

    Raises
    ------
    SynestheteError
        As of `like_text`.
    """
    from synesthete.analysis.provenance import own_model
    from synesthete.analysis.zero_shot import class_embeddings

    kept, _ = usable_text(text)
    if not kept:
        raise SynestheteError("there is no text to search for", hint="type a few words")
    model = own_model(source.atlas)
    query = model.encode_texts([kept])[0]
    headings = [source.opened.columns(layer).heading.texts for layer in source.atlas.layers]
    every = sorted({one for texts in headings for one in texts if one})
    if not every:
        return query, {}
    names = class_embeddings(model, every, ("{}",))
    # Texts lie in a narrow cone; what all have in common tells nothing apart.
    common = names.mean(axis=0)
    query, names = _unit(query - common), _unit(names - common)
    return query, dict(zip(every, (names @ query).tolist(), strict=True))


def layer_scores(
    source: Source, layer: str, query: Float32, known: Mapping[str, float] | None
) -> tuple[Float64, Float64, Float64, float]:
    """Score, cosine of the images and of the name of each unit of a layer, `[units]`, and the nearest of the random sets."""
    columns = source.opened.columns(layer)
    found = source.opened.computed(("meanings", layer), lambda: meanings(source.atlas, layer))
    images, control = found.near(query)
    if known is None:
        return images, images, np.full(columns.units, np.nan), control
    names = np.array([known.get(text, 0.0) for text in columns.heading.texts])
    name = names[columns.heading.codes]
    return (images + name) / 2, images, name, control


def _unit(vectors: Float32) -> Float32:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def like_image(
    source: Source, image: Image.Image, *, limit: int = SHOWN, chosen: Chosen | None = None
) -> Matches:
    """The neurons nearest to an image, as `like_text`."""
    from synesthete.analysis.provenance import own_model

    model = own_model(source.atlas)
    pixels = model.preprocess(image)[None]
    return _near(source, model.encode_images(pixels)[0], None, limit, chosen)


def _near(
    source: Source,
    query: Float32,
    known: Mapping[str, float] | None,
    limit: int,
    chosen: Chosen | None,
) -> Matches:
    """The units nearest to an embedding `[dim]`, with the cosines of a text and each heading; None where an image is searched for."""
    parts: list[Part] = []
    found: dict[str, tuple[Float64, Float64, Float64, float]] = {}
    for layer in source.atlas.layers:
        columns = source.opened.columns(layer)
        found[layer] = layer_scores(source, layer, query, known)
        live = ~columns.dead
        some = np.flatnonzero(live if chosen is None else chosen(columns) & live)
        if len(some):
            parts.append(Part(layer, some, (-found[layer][0][some],)))
    control = max((found[part.layer][3] for part in parts), default=0.0)
    best = ranked(parts, 0, limit)
    matches = []
    for row, (layer, unit) in zip(rows_of(source, best), best, strict=True):
        score, images, name = (float(one[unit]) for one in found[layer][:3])
        named = known is not None and bool(row.heading)
        matches.append(Match(neuron=row, score=score, images=images, name=name if named else None))
    return Matches(
        matches=matches,
        beyond=sum(int((found[part.layer][1][part.units] > control).sum()) for part in parts),
        units=sum(len(part.units) for part in parts),
        control=control,
    )
