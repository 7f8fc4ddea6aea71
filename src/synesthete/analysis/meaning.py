"""Units by meaning: how near a text or an image lies to what excites a unit, in the space that images and texts share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from synesthete._core.arrays import Float32, Float64, Int64

if TYPE_CHECKING:
    from synesthete.atlas import Atlas

ROWS = 4_096  # units whose profiles are formed at once


@dataclass(frozen=True)
class Profile:
    """What excites each unit of a layer, as weighted sums of embeddings of its exemplars.

    Attributes
    ----------
    weights
        `[units, exemplars]`: how strongly an exemplar excites a unit, in standard deviations above its mean.
    length
        `[units]`: of the sum; 0 for a unit that nothing excites.
    """

    weights: sparse.csr_array
    length: Float64

    def cosines(self, along: Float32) -> Float64:
        """`[units]`: cosine with a query of length 1 whose products with the exemplars are `along`, -1 for units without a profile."""
        found = np.full(len(self.length), -1.0)
        there = self.length > 0
        np.divide(self.weights @ along, self.length, out=found, where=there)
        return found


@dataclass(frozen=True)
class Meanings:
    """The units of a layer and, as a control, random sets of the same images.

    Attributes
    ----------
    embeddings
        `[exemplars, dim]`, the mean of their modality subtracted.
    units, random
        Profiles; `random` has for each unit as many images of the same modalities, drawn at random, with the same weights.
    """

    embeddings: Float32
    units: Profile
    random: Profile

    def near(self, query: Float32) -> tuple[Float64, float]:
        """How near each unit is to a query `[dim]`, `[units]`, and the nearest that a random set is."""
        along = self.embeddings @ (query / np.linalg.norm(query))
        return self.units.cosines(along), float(self.random.cosines(along).max())


def meanings(atlas: Atlas, layer: str, *, seed: int = 0) -> Meanings:
    """What excites the units of a layer: the embeddings of their exemplars in every modality, as the atlas has them.

    A unit's profile is the sum of the embeddings of its exemplars, each less the mean of its modality's, weighted by the standard
    deviations that the activation lies above the unit's mean. It needs no activation matrix, no label and no model.

    Parameters
    ----------
    seed
        Of the control.
    """
    kept, statistics = atlas.exemplars(layer), atlas.statistics(layer)
    ids = kept.top_ids
    there = ids >= 0
    images = np.unique(ids[there])
    embeddings = np.asarray(atlas.embeddings()[images], np.float32)
    place = np.searchsorted(images, np.where(there, ids, images[0] if len(images) else 0))
    mean, std = (
        np.asarray(one, np.float64)[None, :, None] for one in (statistics.mean, statistics.std)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        strength = np.nan_to_num((kept.top_values.astype(np.float64) - mean) / std, posinf=0.0)
    strength = np.where(there, np.maximum(strength, 0.0), 0.0)
    random = place.copy()
    rng = np.random.default_rng(seed)
    for group in range(len(kept.groups)):
        own = np.unique(place[group][there[group]])
        if len(own):
            embeddings[own] -= embeddings[own].mean(axis=0)
            random[group] = rng.choice(own, random[group].shape)
    return Meanings(
        embeddings,
        _profile(embeddings, place, strength),
        _profile(embeddings, random, strength),
    )


def _profile(embeddings: Float32, place: Int64, strength: Float64) -> Profile:
    """Of exemplars `[modalities, units, exemplars of each]`."""
    units = place.shape[1]
    unit = np.broadcast_to(np.arange(units)[None, :, None], place.shape)
    some = strength > 0
    weights = sparse.csr_array(
        (strength[some].astype(np.float32), (unit[some], place[some])),
        shape=(units, len(embeddings)),
    )
    lengths = [
        np.linalg.norm(weights[first : first + ROWS] @ embeddings, axis=1)
        for first in range(0, units, ROWS)
    ]
    length = np.concatenate([*lengths, np.zeros(0)]).astype(np.float64)
    return Profile(weights, np.where(length > 1e-6, length, 0.0))
