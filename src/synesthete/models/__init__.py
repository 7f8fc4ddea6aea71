"""Image-text models: encode pictures and texts, name the layers, read the units exactly."""

from synesthete.models.image_text_model import ImageTextModel
from synesthete.models.listing import list_models
from synesthete.models.loading import load_model
from synesthete.models.preprocessing import Preprocessing
from synesthete.models.reading import Layer, Reading

__all__ = ["ImageTextModel", "Layer", "Preprocessing", "Reading", "list_models", "load_model"]
