"""Why an image got its label: the units that put it before the runner-up, checked by taking them away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete.analysis.decomposition.fitted import Term
from synesthete.analysis.decomposition.paths import attention_pool, contributions
from synesthete.analysis.own_model import own_model
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

Float32 = npt.NDArray[np.float32]
LIMIT = 10
RANDOM_SETS = 50


@dataclass(frozen=True)
class Explanation:
    """What decided between the label and the next best.

    Attributes
    ----------
    label, other
        The label and the one that came next (or the one asked about).
    cosines
        Of the image to both.
    units
        The units that speak most for the label against the other, and then most against it: `weight` is
        what each adds to the difference of the cosines.
    rest
        What positions and biases add to it. All units and the rest sum up to the difference.
    gap
        Difference of the sums of all units and the rest to the difference of the cosines: the error.
    without
        The difference when the contributions of the units listed for the label are taken away.
    without_random
        The same for as many units drawn at random: mean over draws.
    """

    label: str
    other: str
    cosines: tuple[float, float]
    units: list[Term]
    rest: float
    gap: float
    without: float
    without_random: float


def explain(
    atlas: Atlas,
    image: Image.Image,
    *,
    labels: Sequence[str] | None = None,
    against: str | None = None,
    layer: str | None = None,
    limit: int = LIMIT,
    seed: int = 0,
) -> Explanation:
    """Say which units decided an image's label, exactly, along the linear path to the embedding.

    Parameters
    ----------
    image
        RGB.
    labels
        Among which the image is named; the atlas's concepts by default.
    against
        Compare with this label instead of the runner-up.
    layer
        The output of a ModifiedResNet's last block; the atlas's first layer by default.
    limit
        At most so many units on either side.
    seed
        Of the random units it is compared with.

    Raises
    ------
    SynestheteError
        Fewer than two labels, a layer without a linear path, another model than the atlas's.
    """
    names = list(dict.fromkeys(atlas.concepts if labels is None else labels))
    if len(names) < 2 or not all(name.strip() for name in names):
        raise SynestheteError("an explanation needs two labels or more, none of them empty")
    if against is not None and against not in names:
        names.append(against)
    from synesthete.recording.zero_shot import class_embeddings

    layer = atlas.layers[0] if layer is None else str(atlas.layer(layer)["name"])
    model = own_model(atlas)
    attention_pool(model, layer)
    directions = class_embeddings(model, names)
    pixels = model.preprocess(image)[None]
    return explain_pixels(
        atlas,
        model,
        pixels,
        names,
        directions,
        against=against,
        layer=layer,
        limit=limit,
        seed=seed,
    )


def explain_pixels(
    atlas: Atlas,
    model: ImageTextModel,
    pixels: torch.Tensor,
    names: Sequence[str],
    directions: Float32,
    *,
    layer: str,
    against: str | None = None,
    limit: int = LIMIT,
    seed: int = 0,
) -> Explanation:
    """`explain` for a picture that is preprocessed, `[1, 3, height, width]`, with the labels' embeddings `[labels, dim]`."""
    cosines = (model.encode_images(pixels) @ directions.T)[0]
    order = [int(i) for i in np.argsort(-cosines, kind="stable")]
    first = next(i for i in order if names[i] != against)
    second = names.index(against) if against is not None else order[1]
    told = contributions(model, layer, pixels, directions[first] - directions[second])
    units, rest = told.units[0], float(told.rest[0])
    difference = float(cosines[first] - cosines[second])
    ranked = np.argsort(-units, kind="stable")
    most = [int(u) for u in ranked[:limit] if units[u] > 0]
    least = [int(u) for u in ranked[::-1][:limit] if units[u] < 0]
    rng = np.random.default_rng(seed)
    draws = [
        float(units[rng.choice(len(units), len(most), replace=False)].sum())
        for _ in range(RANDOM_SETS)
    ]
    return Explanation(
        names[first],
        names[second],
        (float(cosines[first]), float(cosines[second])),
        [_term(atlas, layer, unit, float(units[unit])) for unit in [*most, *least]],
        rest,
        float(units.sum()) + rest - difference,
        difference - float(units[most].sum()),
        difference - float(np.mean(draws)),
    )


def _term(atlas: Atlas, layer: str, unit: int, weight: float) -> Term:
    address = f"{layer}:{unit}"
    neuron = atlas.neuron(address) if atlas.analysed else None
    return Term(address, weight, neuron.concept if neuron else "", neuron.name if neuron else None)
