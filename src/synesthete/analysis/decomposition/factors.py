"""A list of words as sparse sums of units, and the few factors behind them: the emotion atlas, for any list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import NMF

from synesthete.analysis.decomposition.fitted import (
    TEMPLATES,
    TERMS,
    Units,
    halves_of,
    r_squared,
    within,
)
from synesthete.analysis.own_model import own_model
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# Plutchik's (1980) eight primary emotions in three strengths, and the commonest others.
EMOTIONS = (
    "joy", "serenity", "ecstasy", "trust", "acceptance", "admiration", "fear", "apprehension", "terror",
    "surprise", "distraction", "amazement", "sadness", "pensiveness", "grief", "disgust", "boredom", "loathing",
    "anger", "annoyance", "rage", "anticipation", "interest", "vigilance", "love", "shame", "pride", "envy",
    "guilt", "hope", "contempt", "relief", "loneliness", "confusion", "embarrassment", "gratitude",
)  # fmt: skip


@dataclass(frozen=True)
class WordFactors:
    """Words as non-negative sums of units, and factors of those.

    Attributes
    ----------
    words, layer
        Of what.
    units
        Numbers of the units that any word uses.
    weights
        `[words, units]`, what one standard deviation of each adds to the cosine.
    r2
        `[words]` on images by other artists.
    loadings, parts
        `[words, factors]` and `[factors, units]`: their product is about `weights`.
    explained
        Share of the squared weights that the factors keep.
    """

    words: list[str]
    layer: str
    units: Int64
    weights: Float64
    r2: Float64
    loadings: Float64
    parts: Float64
    explained: float


def word_factors(
    atlas: Atlas,
    words: Sequence[str] = EMOTIONS,
    *,
    factors: int = 7,
    layer: str | None = None,
    terms: int = TERMS,
    templates: Sequence[str] = TEMPLATES,
) -> WordFactors:
    """Decompose each word into a non-negative sparse sum of units, and factor them (NMF, Lee and Seung 1999).

    The paper does this for emotions: two factors give valence and arousal, seven the standard categories.

    Raises
    ------
    SynestheteError
        Fewer than two words, a word twice, factors outside 1 … number of words, and all of `decompose`.
    """
    listed = [" ".join(word.split()) for word in words]
    if len(listed) < 2 or not all(listed):
        raise SynestheteError("factors need two words or more, none of them empty")
    if len(set(listed)) != len(listed):
        raise SynestheteError("a word is listed twice")
    if not 1 <= factors <= len(listed):
        raise SynestheteError(
            f"{len(listed)} words allow 1 to {len(listed)} factors, not {factors}"
        )
    from synesthete.recording.zero_shot import class_embeddings

    layer = atlas.layers[0] if layer is None else str(atlas.layer(layer)["name"])
    halves = halves_of(atlas)
    values = within(
        np.nan_to_num(np.asarray(atlas.activations(layer)[halves.rows], np.float32)), halves
    )
    directions = class_embeddings(own_model(atlas), listed, list(templates))
    targets = within(np.asarray(atlas.embeddings()[halves.rows], np.float64) @ directions.T, halves)
    fit, judge = ~halves.judge, halves.judge
    spread = values[fit].std(axis=0)
    weights = np.zeros((len(listed), values.shape[1]))
    r2 = np.zeros(len(listed))
    units = Units(values[fit])
    for i, target in enumerate(targets.T):
        found, picked = units.fit(target[fit], terms, positive=True)
        weights[i, picked] = found * spread[picked]
        r2[i] = r_squared(values[judge][:, picked] @ found, target[judge])
    used = np.flatnonzero(weights.any(axis=0))
    kept = weights[:, used]
    if not used.size:
        raise SynestheteError(f"no unit of {layer} rises with any of these words")
    model = NMF(factors, init="nndsvd", max_iter=2000, tol=1e-6)
    loadings = model.fit_transform(kept)
    left = ((kept - loadings @ model.components_) ** 2).sum()
    share = float(1 - left / (kept**2).sum())
    return WordFactors(listed, layer, used, kept, r2, loadings, model.components_, share)
