"""From an image to a tensor, exactly as open_clip does it at evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.models.hub import one_line

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
    own
        Of a transform of another library or of your own (interpolation and resize_mode are then `own`): what is known of it, and
        the SHA-256 of what it makes of one fixed image.

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
    own: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for manifests and fingerprints."""
        values = asdict(self)
        if self.own is None:
            # Of open_clip's own transform nothing more is said, so that older fingerprints hold.
            del values["own"]
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
        self._mean, self._std = _channels(settings.mean), _channels(settings.std)

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

    def tensors(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """The tensors `[images, 3, image_size, image_size]` of images that `geometry` gave, with the same bits as `tensor`."""
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
        values = pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)
        return values.sub_(self._mean).div_(self._std)

    def _check(self, image: Image.Image) -> None:
        _check_size(image, self.settings)


class TransformPreprocessor:
    """A transform of another library, or of your own, as `Preprocessor` is open_clip's.

    Parameters
    ----------
    transform
        Takes an RGB image and gives a tensor `[3, side, side]`.
    settings
        From `measure`.
    """

    def __init__(
        self, transform: Callable[[Image.Image], torch.Tensor], settings: Preprocessing
    ) -> None:
        self.settings = settings
        self._transform = transform
        self._mean, self._std = _channels(settings.mean), _channels(settings.std)

    def geometry(self, image: Image.Image) -> Image.Image:
        """The image that the tensor shows, `image_size` pixels square."""
        shown = (self.tensor(image) * self._std + self._mean).mul(255).round().clamp(0, 255)
        return Image.fromarray(shown.to(torch.uint8).permute(1, 2, 0).numpy(), "RGB")

    def tensor(self, image: Image.Image) -> torch.Tensor:
        """What the transform gives, `[3, image_size, image_size]`, float32."""
        _check_size(image, self.settings)
        return self._transform(image.convert("RGB")).to(torch.float32)

    def tensors(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """What `tensor` gives of several, `[images, 3, side, side]`."""
        return torch.stack([self.tensor(image) for image in images])


def _channels(values: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


def measure(
    transform: Callable[[Image.Image], torch.Tensor], spec: str, known: dict[str, Any]
) -> Preprocessing:
    """Size, mean and standard deviation of a transform, from what it makes of images of one colour.

    Parameters
    ----------
    transform
        Takes an RGB image, and gives a tensor.
    spec
        The model, for messages.
    known
        What else is known of it, for the manifest.

    Raises
    ------
    SynestheteError
        It gives no square of three channels, or does more than scaling and shifting the values of a channel.

    Examples
    --------
    >>> from torchvision.transforms import Compose, Normalize, Resize, ToTensor
    >>> steps = [Resize((8, 8)), ToTensor(), Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))]
    >>> found = measure(Compose(steps), "mine", {})
    >>> found.image_size, found.mean, found.std
    (8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    """
    black, grey, white = (
        _given(transform, Image.new("RGB", (64, 64), (level,) * 3), spec) for level in (0, 51, 255)
    )
    span = (white - black).amax((1, 2))
    means = [-black.amax((1, 2)) / span, -black.amin((1, 2)) / span]
    straight = (grey - black - (white - black) / 5).abs().amax() <= 0.01 * span.abs().amax()
    if (
        not bool((span > 0).all())
        or not bool(straight)
        or bool((means[0] - means[1]).abs().amax() > 1e-3)
    ):
        raise SynestheteError(
            f"{spec}: its preprocessing does more to colours than to shift and scale each channel"
        )
    noise = torch.randint(0, 256, (37, 53, 3), generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(noise.to(torch.uint8).numpy(), "RGB")
    given = _given(transform, image, spec).contiguous().numpy().tobytes()
    return Preprocessing(
        image_size=int(black.shape[1]),
        mean=_rounded(means[0]),
        std=_rounded(1 / span),
        interpolation="own",
        resize_mode="own",
        fill_color=0,
        own=known | {"sha256": hashlib.sha256(given).hexdigest()},
    )


def _given(
    transform: Callable[[Image.Image], torch.Tensor], image: Image.Image, spec: str
) -> torch.Tensor:
    try:
        found = transform(image)
    except Exception as error:
        raise SynestheteError(f"{spec}: its preprocessing fails: {one_line(error)}") from error
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if not (
        isinstance(shape, tuple) and len(shape) == 3 and shape[0] == 3 and shape[1] == shape[2]
    ):
        raise SynestheteError(
            f"{spec}: its preprocessing gives {shape}, expected a tensor of shape (3, side, side)"
        )
    return found.to(torch.float32)


def _rounded(channels: torch.Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(float(one), 6) for one in channels)
    return red, green, blue


def _check_size(image: Image.Image, settings: Preprocessing) -> None:
    short, long = sorted(image.size)
    if short == 0:
        raise SynestheteError("an image without pixels cannot be read")
    side, mode = settings.image_size, settings.resize_mode
    too_large = mode in ("shortest", "own") and side * side * long / short > MAX_SCALED_PIXELS
    if too_large or (mode == "longest" and round(side * short / long) == 0):
        raise SynestheteError(
            f"an image of {image.width} × {image.height} is too narrow for a {side}-pixel model",
            hint="crop it first",
        )
