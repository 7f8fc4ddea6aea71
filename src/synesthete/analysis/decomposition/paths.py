"""The path from the last block's units to the image embedding, where it can be written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

Float32 = npt.NDArray[np.float32]


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
    last = [one.name for one in model.layers() if not one.name.endswith(":pre")][-1]
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
        query = _heads(pool.q_proj.cpu()(shifted[:, :1]), heads)
        key = _heads(pool.k_proj.cpu()(shifted), heads)
        scale = float(query.shape[-1]) ** -0.5
        attention = torch.softmax((query * scale) @ key.transpose(2, 3), dim=-1)[:, :, 0]
        wanted = torch.from_numpy(direction) @ pool.c_proj.weight.cpu()
        # Per head, what the direction asks of each unit: [heads, units].
        asked = torch.stack(
            [
                part @ value
                for part, value in zip(
                    wanted.chunk(heads), pool.v_proj.weight.cpu().chunk(heads), strict=True
                )
            ]
        )
        seen = torch.einsum("bhp,bpu->bhu", attention, tokens)
        units = (seen * asked).sum(1)
        places = torch.einsum("bhp,pu->bhu", attention, pool.positional_embedding.cpu())
        rest = (places * asked).sum((1, 2)) + wanted @ pool.v_proj.bias.cpu()
        rest = rest + torch.from_numpy(direction) @ pool.c_proj.bias.cpu()
        length = _raw_length(model, pixels)
    return Contributions(
        np.asarray((units / length[:, None]).numpy(), np.float32),
        np.asarray((rest / length).numpy(), np.float32),
    )


def _heads(values: torch.Tensor, heads: int) -> torch.Tensor:
    """`[batch, tokens, width]` as `[batch, heads, tokens, width / heads]`."""
    batch, tokens, width = values.shape
    return values.reshape(batch, tokens, heads, width // heads).transpose(1, 2)


def _raw_length(model: ImageTextModel, pixels: torch.Tensor) -> torch.Tensor:
    ready = pixels.to(model.device)
    found: torch.Tensor = model.network.encode_image(ready, normalize=False)
    length: torch.Tensor = found.norm(dim=-1).cpu()
    return length


def _numpy(tensor: torch.Tensor) -> Float32:
    return np.asarray(tensor.detach().cpu().float().numpy(), np.float32)
