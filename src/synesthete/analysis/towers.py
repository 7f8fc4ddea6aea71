"""Pairs across towers: an image unit and a text unit that answer to the same concepts, tested on held-out artists.

A unit's profile is its mean response to each concept. For each unit the other tower's unit of most similar profile is chosen on
one half of the artists of images and of texts, and the similarity measured again on the other half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete.analysis.controls import rotated
from synesthete.analysis.design import Design, labelled_design, shuffled, tower_of
from synesthete.analysis.provenance import RANDOM_TWIN, control_activations
from synesthete.analysis.significance import benjamini_hochberg
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

LEAST_R, LEVEL = 0.5, 0.01
LEAST_CONCEPTS = 10
CONTROLS = (RANDOM_TWIN, "rotation", "shuffled")


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Of each unit of a layer the unit of the other tower that is most like it.

    Attributes
    ----------
    partner
        `[units]`; -1 for a unit that does not vary.
    chosen
        `[units]`: the correlation of profiles that it was chosen for.
    r, q
        `[units]`: their correlation on held-out artists, and the false discovery rate over units (Fisher's z); NaN without partner.
    shared
        `[units]`: the concept, an index into `TowerPairs.concepts`, that they share most on the selection half; -1 without partner.
    passes
        `[units]`: r reaches `LEAST_R` and q `LEVEL`.
    """

    partner: Int64
    shared: Int64
    chosen: Float64
    r: Float64
    q: Float64
    passes: Bool


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
        _Side(atlas, layer, *labelled_design(atlas, purpose="pairs across towers", tower=tower))
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
    of_images, of_texts = _match(image, text), _match(text, image)
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


class _Side:
    """A layer with the labelled images or texts that it reads."""

    def __init__(self, atlas: Atlas, layer: str, rows: Int64, design: Design) -> None:
        self.atlas, self.layer, self.rows, self.design = atlas, layer, rows, design

    def values(self) -> Floating:
        return np.asarray(self.atlas.activations(self.layer)[self.rows])

    def twin(self) -> Floating | None:
        found = control_activations(self.atlas, self.layer)
        return None if found is None else np.asarray(found[self.rows])

    def shown(self) -> set[str]:
        """Concepts that artists of both halves show."""
        codes, scoring = self.design.concept, self.design.split.scoring
        both = set(codes[scoring].tolist()) & set(codes[~scoring].tolist())
        return {self.design.concepts[code] for code in both}

    def profiles(
        self, values: Floating, concepts: list[str], codes: Int64 | None = None
    ) -> Float64:
        """`[2, units, concepts]` of the selection and of the scoring half, standardised over concepts; 0 where nothing varies.

        Responses are standardised within each modality first, so that none decides by its scale.
        """
        codes = self.design.concept if codes is None else codes
        place = {name: number for number, name in enumerate(concepts)}
        at = np.array([place.get(name, -1) for name in self.design.concepts])[codes]
        found = np.zeros((2, values.shape[1], len(concepts)))
        for half in (0, 1):
            total = np.zeros((len(concepts), values.shape[1]))
            kinds = np.zeros(len(concepts))
            for modality in range(len(self.design.modalities)):
                rows = self.design.images(modality, scoring=bool(half))
                rows = rows[at[rows] >= 0]
                if not len(rows):
                    continue
                some = _standardised(values[rows].astype(np.float64), axis=0)
                shown = np.bincount(at[rows], minlength=len(concepts))
                sums = np.zeros_like(total)
                np.add.at(sums, at[rows], some)
                total += sums / np.maximum(shown, 1)[:, None]
                kinds += shown > 0
            found[half] = _standardised((total / np.maximum(kinds, 1)[:, None]).T, axis=1)
        return found


def _standardised(values: Float64, axis: int) -> Float64:
    values = values - values.mean(axis=axis, keepdims=True)
    spread = values.std(axis=axis, keepdims=True)
    return np.asarray(np.divide(values, spread, out=np.zeros_like(values), where=spread > 1e-6))


def _match(own: Float64, other: Float64) -> Matches:
    """Of each unit of `own` `[2, units, concepts]` the partner among `other`."""
    concepts = own.shape[2]
    live, theirs = (side.any(axis=2).all(axis=0) for side in (own, other))
    similar = own[0] @ other[0].T / concepts
    similar[:, ~theirs] = -np.inf
    partner = np.where(live & theirs.any(), similar.argmax(axis=1), -1)
    there = partner >= 0
    chosen, r, q = (np.full(len(partner), np.nan) for _ in range(3))
    chosen[there] = similar[there, partner[there]]
    r[there] = (own[1][there] * other[1][partner[there]]).mean(axis=1)
    z = np.arctanh(np.clip(r[there], -0.999999, 0.999999)) * np.sqrt(concepts - 3)
    q[there] = benjamini_hochberg(ndtr(-z))
    with np.errstate(invalid="ignore"):
        passes = np.asarray((r >= LEAST_R) & (q <= LEVEL))
    together = (own[0] * other[0][partner]).argmax(axis=1)
    return Matches(
        partner=partner,
        shared=np.where(there, together, -1),
        chosen=chosen,
        r=r,
        q=q,
        passes=passes,
    )


def _counts(kind: str, of_images: Matches, of_texts: Matches) -> dict[str, int | None]:
    return {
        f"image_units{kind}": int(of_images.passes.sum()),
        f"text_units{kind}": int(of_texts.passes.sum()),
    }


def _held_out_concepts(image: Float64, text: Float64) -> dict[str, int | None]:
    """Every other concept chooses, and the rest score."""

    def parts(profiles: Float64) -> Float64:
        return np.stack([_standardised(profiles[half][:, half::2][:, : profiles.shape[2] // 2], 1) for half in (0, 1)])  # fmt: skip

    ours, theirs = parts(image), parts(text)
    return _counts("_held_out_concepts", _match(ours, theirs), _match(theirs, ours))


def _control(
    kind: str,
    sides: list[_Side],
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
    return _counts(f"_{kind}", _match(image, text), _match(text, image))
