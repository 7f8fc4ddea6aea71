"""Image-text models: encode images and texts, name the layers, read the units exactly."""

from synesthete.models.activations import Layer, Reading
from synesthete.models.image_text_model import ImageTextModel
from synesthete.models.loading import load_model
from synesthete.models.preprocessing import Preprocessing
from synesthete.models.sources import list_models

__all__ = ["ImageTextModel", "Layer", "Preprocessing", "Reading", "list_models", "load_model"]
