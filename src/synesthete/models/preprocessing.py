"""From an image to a tensor, exactly as open_clip does it at evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image

from synesthete.errors import SynestheteError

# open_clip scales the whole image before it crops; a sliver scaled so would fill the memory.
MAX_SCALED_PIXELS = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image is made into what the model sees.

    Attributes
    ----------
    image_size
        Side of the square image, in pixels.
    mean, std
        Per channel, on the scale 0 to 1.
    interpolation
        `bicubic` or `bilinear`.
    resize_mode
        `shortest` (scale the short side, crop the centre), `longest` (scale the long side, pad) or
        `squash` (ignore the aspect).
    fill_color
        Grey level of the padding, 0 to 255.

    Examples
    --------
    >>> half = (0.5, 0.5, 0.5)
    >>> Preprocessing(
    ...     image_size=224, mean=half, std=half, interpolation="bicubic", resize_mode="squash", fill_color=0
    ... ).as_dict()["resize_mode"]
    'squash'
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str
    fill_color: int

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for manifests and fingerprints."""
        values = asdict(self)
        return values | {"mean": list(self.mean), "std": list(self.std)}


def from_open_clip(settings: dict[str, Any], spec: str) -> Preprocessing:
    """Read the settings that open_clip attached to an image tower.

    Raises
    ------
    SynestheteError
        If the model wants images that are not square.
    """
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    if height != width:
        raise SynestheteError(f"{spec} wants images of {width} × {height}, not square ones")
    return Preprocessing(
        image_size=int(height),
        mean=_three(settings["mean"]),
        std=_three(settings["std"]),
        interpolation=str(settings["interpolation"]),
        resize_mode=str(settings["resize_mode"]),
        fill_color=int(settings["fill_color"]),
    )


def _three(value: Any) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, (tuple, list)) else (value,) * 3
    return float(red), float(green), float(blue)


class Preprocessor:
    """open_clip's own evaluation transform, whole or up to the image.

    Parameters
    ----------
    settings
        What the model was trained with.
    """

    def __init__(self, settings: Preprocessing) -> None:
        from open_clip.transform import MaybeToTensor, image_transform

        self.settings = settings
        self._whole: Callable[[Image.Image], torch.Tensor] = image_transform(
            settings.image_size,
            is_train=False,
            mean=settings.mean,
            std=settings.std,
            resize_mode=settings.resize_mode,
            interpolation=settings.interpolation,
            fill_color=settings.fill_color,
        )
        steps = self._whole.transforms
        first_tensor = next(i for i, step in enumerate(steps) if isinstance(step, MaybeToTensor))
        self._on_images: list[Callable[[Image.Image], Image.Image]] = steps[:first_tensor]

    def geometry(self, image: Image.Image) -> Image.Image:
        """The scaled and cropped RGB image, `image_size` pixels square."""
        self._check(image)
        for step in self._on_images:
            image = step(image)
        return image

    def tensor(self, image: Image.Image) -> torch.Tensor:
        """The normalised tensor `[3, image_size, image_size]`, float32."""
        self._check(image)
        return self._whole(image)

    def _check(self, image: Image.Image) -> None:
        short, long = sorted(image.size)
        if short == 0:
            raise SynestheteError("an image without pixels cannot be read")
        side, mode = self.settings.image_size, self.settings.resize_mode
        too_large = mode == "shortest" and side * side * long / short > MAX_SCALED_PIXELS
        if too_large or (mode == "longest" and round(side * short / long) == 0):
            raise SynestheteError(
                f"an image of {image.width} × {image.height} is too narrow for a {side}-pixel model",
                hint="crop it first",
            )
