"""Matching units: which unit of another layer is most like a unit, chosen on one half of the artists and scored on the other.

What is compared are profiles over points: mean responses to concepts, or activations on single images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete.analysis.design import Design
from synesthete.analysis.provenance import control_activations
from synesthete.analysis.significance import benjamini_hochberg
from synesthete.atlas import Atlas

LEAST_R, LEVEL = 0.5, 0.01
Profiles: TypeAlias = Sequence[Floating] | Floating


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Of each unit of a layer the unit of another layer that is most like it.

    Attributes
    ----------
    partner
        `[units]`; -1 for a unit that does not vary.
    chosen
        `[units]`: the correlation of profiles that it was chosen for.
    r, q
        `[units]`: their correlation on the other half, and the false discovery rate over units (Fisher's z); NaN without partner.
    shared
        `[units]`: the point (a concept, an image) that both answer to most on the selection half; -1 without partner.
    passes
        `[units]`: r reaches `LEAST_R` and q `LEVEL`.
    """

    partner: Int64
    shared: Int64
    chosen: Float64
    r: Float64
    q: Float64
    passes: Bool


class LabelledLayer:
    """A layer with the labelled images or texts that it reads.

    Parameters
    ----------
    atlas, layer
        Where it was recorded.
    rows
        Numbers of the labelled images or texts.
    design
        Their labels and halves.
    """

    def __init__(self, atlas: Atlas, layer: str, rows: Int64, design: Design) -> None:
        self.atlas, self.layer, self.rows, self.design = atlas, layer, rows, design

    def values(self) -> Floating:
        """Activations `[images, units]`."""
        return np.asarray(self.atlas.activations(self.layer)[self.rows])

    def twin(self) -> Floating | None:
        """The same of the random twin; None where it was not recorded."""
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
                some = standardised(values[rows].astype(np.float64), axis=0)
                shown = np.bincount(at[rows], minlength=len(concepts))
                sums = np.zeros_like(total)
                np.add.at(sums, at[rows], some)
                total += sums / np.maximum(shown, 1)[:, None]
                kinds += shown > 0
            found[half] = standardised((total / np.maximum(kinds, 1)[:, None]).T, axis=1)
        return found


def standardised(values: Floating, axis: int) -> Floating:
    """Mean 0 and standard deviation 1 along an axis; 0 where nothing varies."""
    values = values - values.mean(axis=axis, keepdims=True)
    spread = values.std(axis=axis, keepdims=True)
    return np.asarray(np.divide(values, spread, out=np.zeros_like(values), where=spread > 1e-6))


def match(own: Profiles, other: Profiles) -> Matches:
    """Of each unit of `own` the partner among `other`.

    Parameters
    ----------
    own, other
        Profiles `[units, points]` on the selection half and on the scoring half, standardised over points. The points of the halves
        are not the same, or not as many, where they are images.
    """
    from scipy.special import ndtr  # takes long to import

    live, theirs = (profiles[0].any(axis=1) & profiles[1].any(axis=1) for profiles in (own, other))
    similar = own[0] @ other[0].T / own[0].shape[1]
    similar[:, ~theirs] = -np.inf
    partner = np.where(live & theirs.any(), similar.argmax(axis=1), -1)
    there = partner >= 0
    chosen, r, q = (np.full(len(partner), np.nan) for _ in range(3))
    chosen[there] = similar[there, partner[there]]
    r[there] = (own[1][there] * other[1][partner[there]]).mean(axis=1)
    z = np.arctanh(np.clip(r[there], -0.999999, 0.999999)) * np.sqrt(own[1].shape[1] - 3)
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
