"""Why an image got its label: the exact, linear path from the last block's units to the embedding, and who decides along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from synesthete._core.arrays import Float32
from synesthete.analysis.decomposition.fit import Term, term_of
from synesthete.analysis.design import image_layer
from synesthete.analysis.provenance import own_model
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

LIMIT = 10
RANDOM_SETS = 50


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What decided between the label and the next best.

    Attributes
    ----------
    label, other
        The label and the runner-up (or the label given to compare with).
    cosines
        Of the image to both.
    units
        The units with the largest positive contribution to the label against the other, then the largest negative: `weight` is
        what each adds to the difference of the cosines.
    rest
        What positions and biases add to it. All units and the rest sum up to the difference.
    gap
        Difference of the sums of all units and the rest to the difference of the cosines: the error.
    without
        The difference without the contributions of the units listed for the label.
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
    layer = image_layer(atlas, layer)
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
    """`explain` for a preprocessed image, `[1, 3, height, width]`, with the labels' embeddings `[labels, dim]`."""
    cosines = (model.encode_images(pixels) @ directions.T)[0]
    order = [int(i) for i in np.argsort(-cosines, kind="stable")]
    first = next(i for i in order if names[i] != against)
    second = names.index(against) if against is not None else order[1]
    split = contributions(model, layer, pixels, directions[first] - directions[second])
    units, rest = split.units[0], float(split.rest[0])
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
        label=names[first],
        other=names[second],
        cosines=(float(cosines[first]), float(cosines[second])),
        units=[term_of(atlas, layer, unit, float(units[unit])) for unit in [*most, *least]],
        rest=rest,
        gap=float(units.sum()) + rest - difference,
        without=difference - float(units[most].sum()),
        without_random=difference - float(np.mean(draws)),
    )


@dataclass(frozen=True)
class Contributions:
    """What each unit adds to the cosine of an image and a direction.

    Attributes
    ----------
    units
        `[images, units]`.
    rest
        `[images]`: what biases and positions add. Units and rest sum up to the cosine.
    """

    units: Float32
    rest: Float32


def attention_pool(model: ImageTextModel, layer: str) -> Any:
    """The attention pool that reads `layer`, and nothing lies between.

    Raises
    ------
    SynestheteError
        When the layer is not the output of a ModifiedResNet's last block.
    """
    visual: Any = model.network.visual
    pool = getattr(visual, "attnpool", None)
    last = [one.name for one in model.layers("image") if not one.name.endswith(":pre")][-1]
    if pool is None or layer != last:
        raise SynestheteError(
            f"the path from {layer} to the embedding of {model.name} is not linear",
            hint=f"the output of a ModifiedResNet's last block is ({last} here has {'' if pool else 'no '}"
            "attention pool); use the fitted route instead",
        )
    return pool


def has_linear_path(model: ImageTextModel, layer: str) -> bool:
    """Whether nothing but an attention pool lies between a layer and the embedding."""
    try:
        attention_pool(model, layer)
    except SynestheteError:
        return False
    return True


def unit_weights(model: ImageTextModel, layer: str, directions: Float32) -> Float32:
    """What one more of a unit, everywhere in its map, adds to each direction: `[directions, units]`.

    The value path of the attention pool, c_proj v_proj, whose heads' attention weights sum to one each
    (Goh et al. 2021: "the linear path from units to the text embedding"). Before the embedding is scaled to
    length one.

    Parameters
    ----------
    directions
        `[directions, dim]`, such as text embeddings.
    """
    pool = attention_pool(model, layer)
    out, value = (_numpy(part.weight) for part in (pool.c_proj, pool.v_proj))
    return np.asarray(directions @ out @ value, np.float32)


def contributions(
    model: ImageTextModel, layer: str, pixels: torch.Tensor, direction: Float32
) -> Contributions:
    """Split the cosines of images and a direction exactly into what each unit adds.

    The attention weights and the embedding's length are those of each image; given them the path is linear.

    Parameters
    ----------
    pixels
        From `model.preprocess`, `[images, 3, height, width]`.
    direction
        `[dim]`.
    """
    import torch

    pool = attention_pool(model, layer)
    with torch.inference_mode():
        maps = model.maps(pixels, layer)
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        shifted = tokens + pool.positional_embedding.cpu()
        heads = int(pool.num_heads)
        query = _heads(_projected(pool.q_proj, shifted[:, :1]), heads)
        key = _heads(_projected(pool.k_proj, shifted), heads)
        scale = float(query.shape[-1]) ** -0.5
        attention = torch.softmax((query * scale) @ key.transpose(2, 3), dim=-1)[:, :, 0]
        wanted = torch.from_numpy(direction) @ pool.c_proj.weight.cpu()
        # Per head, what each unit adds to the direction: [heads, units].
        per_head = zip(wanted.chunk(heads), pool.v_proj.weight.cpu().chunk(heads), strict=True)
        weights = torch.stack([part @ value for part, value in per_head])
        seen = torch.einsum("bhp,bpu->bhu", attention, tokens)
        units = (seen * weights).sum(1)
        places = torch.einsum("bhp,pu->bhu", attention, pool.positional_embedding.cpu())
        rest = (places * weights).sum((1, 2)) + wanted @ pool.v_proj.bias.cpu()
        rest = rest + torch.from_numpy(direction) @ pool.c_proj.bias.cpu()
        length = _raw_length(model, pixels)
    return Contributions(
        np.asarray((units / length[:, None]).numpy(), np.float32),
        np.asarray((rest / length).numpy(), np.float32),
    )


def _projected(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """What a linear layer makes of values on the processor; the layer itself stays where it is."""
    from torch.nn.functional import linear

    return linear(values, layer.weight.cpu(), layer.bias.cpu())


def _heads(values: torch.Tensor, heads: int) -> torch.Tensor:
    """`[batch, tokens, width]` as `[batch, heads, tokens, width / heads]`."""
    batch, tokens, width = values.shape
    return values.reshape(batch, tokens, heads, width // heads).transpose(1, 2)


def _raw_length(model: ImageTextModel, pixels: torch.Tensor) -> torch.Tensor:
    ready = pixels.to(model.device)
    with model.rewritten([]):  # other threads' passes wait, with what they change in the network
        found: torch.Tensor = model.network.encode_image(ready, normalize=False)
    length: torch.Tensor = found.norm(dim=-1).cpu()
    return length


def _numpy(tensor: torch.Tensor) -> Float32:
    return np.asarray(tensor.detach().cpu().float().numpy(), np.float32)
