"""A model as a differentiable classifier of pictures whose values run from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import nn

from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.audits.pictures import Float32
    from synesthete.models.image_text_model import ImageTextModel

LOGIT_SCALE = 100.0


class PixelClassifier(nn.Module):
    """Zero-shot logits `[batch, classes]` of pixels `[batch, 3, side, side]` from 0 to 1.

    The model's own normalisation is inside, so that a bound on a change of pixels is one on what a screen shows
    (1/255 is one step of an 8-bit picture), and a gradient with respect to pixels is the true one.

    Parameters
    ----------
    network
        open_clip's network, in evaluation mode.
    mean, std
        Per channel, as the model was trained.
    classes
        Text embeddings of length one `[classes, dim]`.
    scale
        By which cosines are multiplied; the model's own temperature.
    """

    mean: torch.Tensor
    std: torch.Tensor
    classes: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        classes: Float32,
        scale: float = LOGIT_SCALE,
    ) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(1, 3, 1, 1))
        self.register_buffer("classes", torch.from_numpy(np.array(classes, np.float32)))

    @classmethod
    def of(cls, model: ImageTextModel, classes: Float32) -> PixelClassifier:
        """The classifier of a loaded model, on its device."""
        scale = getattr(model.network, "logit_scale", None)
        made = cls(
            model.network,
            model.preprocessing.mean,
            model.preprocessing.std,
            classes,
            LOGIT_SCALE if scale is None else float(scale.detach().exp()),
        )
        return made.to(model.device).eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits."""
        embeddings = self.network.encode_image((pixels - self.mean) / self.std, normalize=True)  # type: ignore[operator]
        logits: torch.Tensor = self.scale * (embeddings @ self.classes.T)
        return logits


def to_pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """Pictures that the model sees as `[batch, 3, side, side]` from 0 to 1.

    Raises
    ------
    SynestheteError
        Pictures of different sizes.
    """
    if len({image.size for image in images}) > 1:
        raise SynestheteError("pictures of different sizes make no batch", hint="use geometry")
    arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(arrays.copy()).permute(0, 3, 1, 2).float() / 255
