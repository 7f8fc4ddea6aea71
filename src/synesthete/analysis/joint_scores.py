"""Scores that others give to units of a shared space, to print beside ours: Modality Dominance Score and Bridge Score.

Both are over pairs of an image and a text that belong together; here these show the same concept, each image of a concept with one
of its texts in turn and the other way round. Neither has a control or held-out images, and neither says what a unit is about.

What is computed is stated in `JointScores`. It follows the articles' definitions as far as they could be read (their abstracts and summaries
of them; the equations could not be compared): both speak of activations of aligned pairs, of the share of an activation that is the image's,
and of co-activation times the alignment of directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Floating, Int64
from synesthete.analysis.design import labelled_rows, tower_of
from synesthete.analysis.dictionary import read_dictionary
from synesthete.atlas import Atlas

CHUNK = 2048
CLASSES = ("text", "cross-modal", "image")


@dataclass(frozen=True, kw_only=True)
class JointScores:
    """Of every unit of a layer that reads images and texts.

    Attributes
    ----------
    dominance
        `[units]`: the Modality Dominance Score (Yan et al. 2025, arXiv 2502.14888), the mean over pairs of |image| / (|image| + |text|)
        activation where they are not both 0; 1 for a unit of images alone, 0 for one of texts, NaN for a silent one.
    dominant
        `[units]` index into `CLASSES`: more than a standard deviation over units from their mean is dominated, as in the article.
    bridge
        `[units]`: the Bridge Score (Papadimitriou et al. 2025, arXiv 2504.11695) of the unit with the text unit that it bridges to
        most: mean over pairs of image activation × text activation, times the cosine of the two directions.
    partner
        `[units]`: that unit; often itself.
    pairs
        How many there were.
    """

    dominance: Float64
    dominant: Int64
    bridge: Float64
    partner: Int64
    pairs: int

    def of(self, unit: int) -> dict[str, Any]:
        """The scores of one unit as JSON can write them, `dominance` null for a silent one."""
        dominance = float(self.dominance[unit])
        return {
            "dominance": dominance if np.isfinite(dominance) else None,
            "dominant": CLASSES[self.dominant[unit]],
            "bridge": float(self.bridge[unit]),
            "partner": int(self.partner[unit]),
            "pairs": self.pairs,
        }


def joint_scores(atlas: Atlas, layer: str) -> JointScores | None:
    """The scores of a layer; None where it does not read both, or there are no images and texts of one concept."""
    if tower_of(atlas, layer) != "joint" or not atlas.manifest["dense"]:
        return None
    images, texts = concept_pairs(atlas)
    if not len(images):
        return None
    values = np.asarray(atlas.activations(layer))
    directions = None
    if "dictionary" in atlas.layer(layer):
        directions = read_dictionary(atlas, layer).decoder
    return scores_of(values[images], values[texts], directions)


def scores_of(images: Floating, texts: Floating, directions: Floating | None = None) -> JointScores:
    """The scores from activations of pairs.

    Parameters
    ----------
    images, texts
        `[pairs, units]`.
    directions
        `[units, dim]` of length 1; None for an orthogonal basis.

    Examples
    --------
    >>> import numpy as np
    >>> found = scores_of(np.array([[3.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    >>> found.dominance.tolist(), found.bridge.tolist()
    ([0.625, 1.0], [2.0, 0.0])
    """
    units = images.shape[1]
    share, counted = np.zeros(units), np.zeros(units)
    together = np.zeros((units, units))
    for start in range(0, len(images), CHUNK):
        ours = images[start : start + CHUNK].astype(np.float64)
        theirs = texts[start : start + CHUNK].astype(np.float64)
        total = np.abs(ours) + np.abs(theirs)
        share += np.divide(np.abs(ours), total, out=np.zeros_like(total), where=total > 0).sum(
            axis=0
        )
        counted += (total > 0).sum(axis=0)
        together += ours.T @ theirs
    with np.errstate(invalid="ignore"):
        dominance = share / counted
    cosines = np.eye(units) if directions is None else directions @ directions.T
    bridges = together / len(images) * cosines
    partner = bridges.argmax(axis=1)
    middle, spread = np.nanmean(dominance), np.nanstd(dominance)
    dominant = (
        1 + (dominance > middle + spread).astype(int) - (dominance < middle - spread).astype(int)
    )
    return JointScores(
        dominance=dominance,
        dominant=dominant,
        bridge=bridges.max(axis=1),
        partner=partner,
        pairs=len(images),
    )


def concept_pairs(atlas: Atlas) -> tuple[Int64, Int64]:
    """Numbers of images and texts of the same concept, `[pairs]` each."""
    concept = np.array(atlas.probes["concept"].to_pylist())
    found: list[tuple[Int64, Int64]] = []
    rows = [labelled_rows(atlas, tower) for tower in ("image", "text")]
    for name in sorted(set(concept[rows[0]]) & set(concept[rows[1]])):
        own = [some[concept[some] == name] for some in rows]
        turns = np.arange(max(map(len, own)))
        found.append((own[0][turns % len(own[0])], own[1][turns % len(own[1])]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    images, texts = (np.concatenate(some) for some in zip(*found, strict=True))
    return images, texts
