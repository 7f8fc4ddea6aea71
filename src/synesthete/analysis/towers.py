"""Pairs across towers: an image unit and a text unit that answer to the same concepts, tested on held-out artists.

A unit's profile is its mean response to each concept. For each unit the other tower's unit of most similar profile is chosen on
one half of the artists of images and of texts, and the similarity measured again on the other half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64
from synesthete.analysis.controls import rotated
from synesthete.analysis.design import labelled_design, shuffled, tower_of
from synesthete.analysis.matching import (
    LEAST_R,
    LEVEL,
    LabelledLayer,
    Matches,
    match,
    standardised,
)
from synesthete.analysis.provenance import RANDOM_TWIN
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

LEAST_CONCEPTS = 10
CONTROLS = (RANDOM_TWIN, "rotation", "shuffled")


@dataclass(frozen=True, kw_only=True)
class TowerPairs:
    """The matches of an image layer and a text layer, both ways.

    Attributes
    ----------
    of_images, of_texts
        Of the units of either layer.
    concepts
        What the profiles are over.
    counts
        Units with a partner that passes, `image_units` and `text_units`, and of each control `image_units_CONTROL`, …; and with
        `_held_out_concepts` the count where half of the concepts choose and the others score.
    """

    image_layer: str
    text_layer: str
    of_images: Matches
    of_texts: Matches
    concepts: tuple[str, ...]
    counts: dict[str, int | None]


def default_layers(atlas: Atlas) -> tuple[str, str] | None:
    """The last image layer and the last text layer; None where the atlas lacks either."""
    last = {tower_of(atlas, layer): layer for layer in atlas.layers}
    return (last["image"], last["text"]) if {"image", "text"} <= set(last) else None


def tower_pairs(
    atlas: Atlas, image_layer: str, text_layer: str, *, seed: int = 0, controls: bool = True
) -> TowerPairs:
    """Match the units of an image layer and of a text layer.

    Parameters
    ----------
    seed
        Of the shuffled labels and of the mixtures.
    controls
        Whether to count the controls too: the towers of the random twin, random mixtures of the units of both layers, and texts
        whose concepts are shuffled within each half.

    Raises
    ------
    SynestheteError
        A layer is of another tower, or fewer than ten concepts are shown by artists of both halves to both towers.
    """
    for layer, tower in ((image_layer, "image"), (text_layer, "text")):
        if tower_of(atlas, layer) != tower:
            raise SynestheteError(f"{layer} of {atlas.path} is no layer of the {tower} tower")
    sides = [
        LabelledLayer(
            atlas, layer, *labelled_design(atlas, purpose="pairs across towers", tower=tower)
        )
        for layer, tower in ((image_layer, "image"), (text_layer, "text"))
    ]
    shared = sorted(set.intersection(*(side.shown() for side in sides)))
    if len(shared) < LEAST_CONCEPTS:
        raise SynestheteError(
            f"{len(shared)} concepts of {atlas.path} are shown as images and as texts by artists of both halves; "
            f"pairs across towers need {LEAST_CONCEPTS}",
            hint="record a probe set with more texts",
        )
    image, text = (side.profiles(side.values(), shared) for side in sides)
    of_images, of_texts = match(image, text), match(text, image)
    counts: dict[str, int | None] = _counts("", of_images, of_texts)
    if controls:
        counts |= _held_out_concepts(image, text)
        for kind in CONTROLS:
            counts |= _control(kind, sides, (image, text), shared, seed)
    return TowerPairs(
        image_layer=image_layer,
        text_layer=text_layer,
        of_images=of_images,
        of_texts=of_texts,
        concepts=tuple(shared),
        counts=counts,
    )


def pair_counts(atlas: Atlas, *, seed: int = 0) -> dict[str, Any] | None:
    """What an analysis notes of `default_layers`: `image_layer`, `text_layer`, `concepts` and `counts`; None where they cannot be paired."""
    layers = default_layers(atlas)
    if layers is None or not atlas.manifest["dense"]:
        return None
    try:
        found = tower_pairs(atlas, *layers, seed=seed)
    except SynestheteError:
        return None
    return {
        "image_layer": found.image_layer,
        "text_layer": found.text_layer,
        "concepts": len(found.concepts),
        "least_r": LEAST_R,
        "q": LEVEL,
        "counts": found.counts,
    }


def _counts(kind: str, of_images: Matches, of_texts: Matches) -> dict[str, int | None]:
    return {
        f"image_units{kind}": int(of_images.passes.sum()),
        f"text_units{kind}": int(of_texts.passes.sum()),
    }


def _held_out_concepts(image: Float64, text: Float64) -> dict[str, int | None]:
    """Every other concept chooses, and the rest score."""

    def parts(profiles: Float64) -> Float64:
        return np.stack([standardised(profiles[half][:, half::2][:, : profiles.shape[2] // 2], 1) for half in (0, 1)])  # fmt: skip

    ours, theirs = parts(image), parts(text)
    return _counts("_held_out_concepts", match(ours, theirs), match(theirs, ours))


def _control(
    kind: str,
    sides: list[LabelledLayer],
    profiles: tuple[Float64, Float64],
    shared: list[str],
    seed: int,
) -> dict[str, int | None]:
    """The counts of one control; None each where it was not recorded."""
    if kind == "shuffled":
        codes = shuffled(sides[1].design, seed)
        image, text = profiles[0], sides[1].profiles(sides[1].values(), shared, codes)
    else:
        values: list[Any] = [
            side.twin() if kind == RANDOM_TWIN else rotated(side.values(), seed=seed + number, standardised=True)
            for number, side in enumerate(sides)
        ]  # fmt: skip
        if any(one is None for one in values):
            return {f"{of}_units_{kind}": None for of in ("image", "text")}
        image, text = (side.profiles(one, shared) for side, one in zip(sides, values, strict=True))
    return _counts(f"_{kind}", match(image, text), match(text, image))
