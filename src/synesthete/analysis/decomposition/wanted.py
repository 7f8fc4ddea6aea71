"""Which texts a unit drives the embedding towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from synesthete.analysis.decomposition.fitted import halves_of, within
from synesthete.analysis.decomposition.paths import has_linear_path, unit_weights
from synesthete.analysis.own_model import own_model
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

Float32 = npt.NDArray[np.float32]
LIMIT = 20


@dataclass(frozen=True)
class Wanted:
    """A text and how much a unit wants it, in standard deviations over the vocabulary."""

    text: str
    score: float


@dataclass(frozen=True)
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
    route: Literal["exact", "fitted"]
    vocabulary: int
    most: list[Wanted]
    least: list[Wanted]


def wanted_texts(
    atlas: Atlas, address: str, vocabulary: Sequence[str], *, limit: int = LIMIT
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
    route: Literal["exact", "fitted"] = "fitted"
    if has_linear_path(model, layer):
        route, scores = "exact", unit_weights(model, layer, directions)[:, unit]
    else:
        scores = directions @ _direction(atlas, layer, unit)
    spread = float(scores.std())
    scaled = scores / spread if spread > 0 else scores
    order = np.argsort(-scaled, kind="stable")
    most = [Wanted(words[i], float(scaled[i])) for i in order[:limit]]
    least = [Wanted(words[i], float(scaled[i])) for i in order[::-1][:limit]]
    return WantedTexts(f"{layer}:{unit}", route, len(words), most, least)


def _direction(atlas: Atlas, layer: str, unit: int) -> Float32:
    """Covariance of a unit's activation and the image embeddings, `[dim]`."""
    halves = halves_of(atlas)
    values = np.nan_to_num(np.asarray(atlas.activations(layer)[halves.rows, unit], np.float64))
    embeddings = np.asarray(atlas.embeddings()[halves.rows], np.float64)
    values, embeddings = within(values, halves), within(embeddings, halves)
    return np.asarray(values @ embeddings / len(values), np.float32)
