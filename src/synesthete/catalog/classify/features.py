"""Records to features: the picture and the text as the model embeds them, and their product, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete.catalog.classify.records import Record
from synesthete.probes.decoding import UnreadableImage
from synesthete.probes.request_images import RequestImageTooLarge, see

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

Float32 = npt.NDArray[np.float32]
AT_ONCE = 32


@dataclass(frozen=True)
class Embedded:
    """Embeddings of records.

    Attributes
    ----------
    images, texts
        `[records, dim]`, at unit length; a row of zeros where there is none.
    unreadable
        Places of records whose picture could not be decoded.
    """

    images: Float32
    texts: Float32
    unreadable: tuple[int, ...] = ()

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """`[records]`: which have a picture or a text."""
        return np.asarray(self.images.any(axis=1) | self.texts.any(axis=1))


def embed(model: ImageTextModel, records: Sequence[Record]) -> Embedded:
    """Embed records, a batch of pictures at a time; a picture that cannot be decoded is left out."""
    import torch

    images = np.zeros((len(records), model.embedding_dim), np.float32)
    texts = np.zeros_like(images)
    unreadable = []
    waiting: list[tuple[int, torch.Tensor]] = []
    for place, record in enumerate(records):
        if record.image is not None:
            try:
                waiting.append((place, see(record.image, model.preprocess)))
            except RequestImageTooLarge:
                raise  # who asks shall know, and not be judged by the text alone
            except UnreadableImage:
                unreadable.append(place)
        if waiting and (len(waiting) == AT_ONCE or place == len(records) - 1):
            seen = model.encode_images(torch.stack([pixels for _, pixels in waiting]))
            images[[one for one, _ in waiting]] = seen
            waiting.clear()
    told = [place for place, record in enumerate(records) if record.text]
    if told:
        texts[told] = model.encode_texts([records[place].text for place in told])
    return Embedded(images, texts, tuple(unreadable))


def fuse(images: Float32, texts: Float32) -> Float32:
    """Features `[records, 3 dim + 2]`: picture, text, their product coordinate by coordinate, and which are missing.

    Linear in the picture for a given text, so that what a probe says can be traced to units of the image tower.

    Examples
    --------
    >>> fuse(np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 0.0]], np.float32)).tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    scale = np.float32(math.sqrt(images.shape[1]))
    missing = np.stack([~images.any(axis=1), ~texts.any(axis=1)], axis=1)
    return np.concatenate(
        [images, texts, images * texts * scale, missing], axis=1, dtype=np.float32
    )


def image_direction(weights: Float32, text: Float32) -> Float32:
    """Of a probe's weights `[3 dim + 2]`, what they ask of the picture `[dim]` beside this text `[dim]`."""
    dim = len(text)
    scale = np.float32(math.sqrt(dim))
    return np.asarray(weights[:dim] + scale * weights[2 * dim : 3 * dim] * text, np.float32)
