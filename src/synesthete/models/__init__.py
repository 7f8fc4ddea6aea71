"""Image-text models: encode images and texts, name the layers, read the units exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.models.loading import load_model
from synesthete.models.sources import list_models

if TYPE_CHECKING:
    from synesthete.models.activations import Layer, Reading
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.models.preprocessing import Preprocessing
    from synesthete.models.wrapping import wrap

__all__ = [
    "ImageTextModel",
    "Layer",
    "Preprocessing",
    "Reading",
    "list_models",
    "load_model",
    "wrap",
]


def __getattr__(name: str) -> object:
    """What needs torch is imported on first use, so that a name is looked up before torch is there."""
    if name in ("Layer", "Reading"):
        from synesthete.models import activations

        return getattr(activations, name)
    if name == "ImageTextModel":
        from synesthete.models.image_text_model import ImageTextModel

        return ImageTextModel
    if name == "Preprocessing":
        from synesthete.models.preprocessing import Preprocessing

        return Preprocessing
    if name == "wrap":
        from synesthete.models.wrapping import wrap

        return wrap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
