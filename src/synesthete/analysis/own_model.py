"""The model that an atlas was made of, or a refusal."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

_LOADING = threading.Lock()


def own_model(atlas: Atlas) -> ImageTextModel:
    """Load the model of an atlas by the name in its manifest.

    Raises
    ------
    SynestheteError
        When it cannot be loaded, or its weights are not those that the atlas was recorded with.
    """
    described = atlas.manifest["model"]
    with _LOADING:  # or everybody who asks at first would load one
        model = _loaded(described["name"])
    if model.weights_sha256 != described["weights_sha256"]:
        raise SynestheteError(
            f"{described['name']} has other weights than when {atlas.path} was recorded",
            hint="record the atlas again, or load the model it was made with",
        )
    return model


@lru_cache(maxsize=1)
def _loaded(name: str) -> ImageTextModel:
    """The model asked for last: a server, or a loop over neurons, asks for the same one again and again."""
    from synesthete.models import load_model

    return load_model(name)
