"""One space for pictures and words: each centred on what its kind has in common, then fused into one vector.

A picture and a text of one thing do not lie together in a CLIP's space: all pictures share a direction, and all texts
another. Taking the mean of its kind off every vector removes what it has in common with everything (Goh et al. 2021
subtract the mean over 10,000 words for the same reason). The means are those of the catalogue's own items, with the
reference counted in, so that a catalogue of three items has a sensible centre, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.catalog.encoding import unit_length

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PICTURE_WEIGHT, TEXT_WEIGHT = 0.5, 0.5
PRIOR = 64  # items that the reference counts as
PHOTO_PRIOR = 8  # customers' photos that it counts as: theirs is another kind of picture, and few tell its mean
WITHOUT = 0.7  # how strongly what is not wanted counts
# Two directions that differ by less differ by rounding.
SAME = 1e-5


@dataclass(frozen=True)
class Space:
    """Centres, `[dim]` each: of the items' pictures and texts, and of the pictures and texts that are asked with.

    Customers' photos are not studio pictures, so what is asked with has centres of its own: those of the reference, or
    of photos that customers really sent (`Catalog.adapt`).
    """

    picture_centre: Float32
    text_centre: Float32
    asked_picture_centre: Float32
    asked_text_centre: Float32

    def pictures(self, vectors: Float32) -> Float32:
        """Centred picture vectors at unit length; zeros (no picture) stay zeros."""
        return _centred(vectors, self.picture_centre)

    def texts(self, vectors: Float32) -> Float32:
        """Centred text vectors at unit length; zeros (no text) stay zeros."""
        return _centred(vectors, self.text_centre)

    def asked_pictures(self, vectors: Float32) -> Float32:
        """As `pictures`, of pictures that are asked with."""
        return _centred(vectors, self.asked_picture_centre)

    def asked_texts(self, vectors: Float32) -> Float32:
        """As `texts`, of texts that are asked with."""
        return _centred(vectors, self.asked_text_centre)

    def fuse(self, pictures: Float32, texts: Float32) -> Float32:
        """Items' unit vectors `[items, dim]` of their picture and text vectors (zeros where there is none)."""
        both = PICTURE_WEIGHT * self.pictures(pictures) + TEXT_WEIGHT * self.texts(texts)
        return unit_length(np.asarray(both, np.float32))


def make_space(
    pictures: tuple[Float64, int],
    texts: tuple[Float64, int],
    reference_pictures: Float32,
    reference_texts: Float32,
    asked_pictures: tuple[Float64, int] | None = None,
) -> Space:
    """The space of items, given sum `[dim]` and number of their picture vectors, of their text vectors, and of customers' photos."""
    nothing = (np.zeros(reference_pictures.shape[1], np.float64), 0)
    return Space(
        _centre(*pictures, reference_pictures),
        _centre(*texts, reference_texts),
        _centre(*(asked_pictures or nothing), reference_pictures, PHOTO_PRIOR),
        _centre(*nothing, reference_texts),
    )


def make_query(
    wanted: Float32, weights: Float32, unwanted: Float32 | None = None, strength: float = WITHOUT
) -> Float32:
    """One unit vector `[dim]` out of centred parts `[parts, dim]`, away from `unwanted` `[parts, dim]`.

    Of what is unwanted only the part at right angles to what is wanted counts, so that "a mug, but not a red mug" stays
    about mugs; what is unwanted and wanted alike changes nothing. It is subtracted, so the score stays linear in the item.

    Examples
    --------
    >>> wanted = np.array([[1.0, 0.0]], np.float32)
    >>> make_query(wanted, np.ones(1, np.float32), np.array([[0.6, 0.8]], np.float32), 1.0).round(3).tolist()
    [0.707..., -0.707...]
    """
    total: Float32 = unit_length(np.asarray(weights @ wanted, np.float32)[None])[0]
    if unwanted is None or not len(unwanted):
        return total
    for one in unit_length(unwanted):
        across = one - (one @ total) * total
        if np.linalg.norm(across) > SAME:
            total = total - np.float32(strength) * unit_length(across[None])[0]
    made: Float32 = unit_length(total[None])[0]
    return made


def _centre(total: Float64, count: int, reference: Float32, prior: int = PRIOR) -> Float32:
    ground = prior * np.asarray(reference, np.float64).mean(0)
    return np.asarray((total + ground) / (count + prior), np.float32)


def _centred(vectors: Float32, centre: Float32) -> Float32:
    there = np.asarray(vectors).any(axis=-1, keepdims=True)
    return unit_length(np.where(there, vectors - centre, 0).astype(np.float32))
