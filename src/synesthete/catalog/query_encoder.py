"""A query as the catalogue's space has it: a unit vector, and the kind that its relevance is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synesthete._core.arrays import Float32
from synesthete.catalog.encode import (
    MICRO_BATCH,
    cut,
    embed_image,
    embed_images,
    image_bytes,
    make_query,
    spread,
    unit_length,
)
from synesthete.catalog.relevance import Kind, kind_of
from synesthete.catalog.schema import ImageSource
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

PIECES = 16  # of a long text


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes
    ----------
    vector
        `[dim]`, of unit length.
    kind
        For its null.
    texts
        For the words that query and item share.
    """

    vector: Float32
    kind: Kind
    texts: tuple[str, ...] = ()


class QueryEncoder:
    """Turns texts and images into vectors of a snapshot's space; a text of the reference needs no model.

    Parameters
    ----------
    snapshot
        Whose space.
    model
        Gives the model when it is needed.
    """

    def __init__(self, snapshot: Snapshot, model: Callable[[], ImageTextModel]) -> None:
        self.snapshot = snapshot
        self._model = model
        self._prepared: dict[str | ImageSource, Float32] = {}

    def prepare(self, texts: Sequence[str], images: Sequence[ImageSource]) -> None:
        """Embed many texts and images in batches; images that cannot be read are left for when they are asked for."""
        pieces = {text: spread(cut(text), PIECES) for text in dict.fromkeys(texts)}
        if distinct := list(dict.fromkeys(piece for some in pieces.values() for piece in some)):
            vectors = dict(zip(distinct, self._model().encode_texts(distinct), strict=True))
            for text, some in pieces.items():
                if some:
                    mean = np.mean([vectors[piece] for piece in some], axis=0, keepdims=True)
                    self._prepared[text] = unit_length(mean)[0]
        unread = list(dict.fromkeys(images))
        for start in range(0, len(unread), MICRO_BATCH):
            batch = unread[start : start + MICRO_BATCH]
            for image, vector in embed_images(self._model(), batch).items():
                self._prepared[image] = vector

    def text(self, text: str) -> Float32:
        """The centred vector of a text that is asked with, `[dim]`; a long one is the mean of its pieces.

        Raises
        ------
        SynestheteError
            No letter in it.
        """
        found: Float32 = self.snapshot.space.query_texts(self.raw_text(text)[None])[0]
        return found

    def raw_text(self, text: str) -> Float32:
        """The unit-length embedding of a text before it is centred, `[dim]`.

        Raises
        ------
        SynestheteError
            No letter in it.
        """
        if text in self._prepared:
            return self._prepared[text]
        pieces = spread(cut(text), PIECES)
        if not pieces:
            raise SynestheteError("an empty text says nothing to search for")
        reference = self.snapshot.reference
        if len(pieces) == 1 and pieces[0] in reference.concepts:
            raw = reference.concept_vectors[[reference.concepts.index(pieces[0])]]
        else:
            raw = self._model().encode_texts(pieces)
        found: Float32 = unit_length(raw.mean(0, keepdims=True))[0]
        return found

    def image(self, image: ImageSource) -> Float32:
        """The centred vector of an image, `[dim]`; raises `UnreadableImage`."""
        found: Float32 = self.snapshot.space.query_images(self.raw_image(image)[None])[0]
        return found

    def raw_image(self, image: ImageSource) -> Float32:
        """The unit-length embedding of an image before it is centred, `[dim]`; raises `UnreadableImage`."""
        if image in self._prepared:
            return self._prepared[image]
        return embed_image(self._model(), image_bytes(image))

    def either(self, one: str | ImageSource) -> Float32:
        """The centred vector of a text (a `str`) or an image (a path or bytes)."""
        return self.text(one) if isinstance(one, str) else self.image(one)

    def query(
        self,
        text: str | None,
        image: ImageSource | None,
        without: Sequence[str | ImageSource] = (),
        *,
        text_weight: float = 0.5,
    ) -> Query:
        """The query of a text, an image or both, away from `without`.

        Raises
        ------
        SynestheteError
            Neither a text nor an image; an image that cannot be read.
        """
        parts, weights, texts = [], [], []
        if text is not None and text.strip():
            parts.append(self.text(text))
            weights.append(text_weight if image is not None else 1.0)
            texts.append(text)
        if image is not None:
            parts.append(self.image(image))
            weights.append(1 - text_weight if texts else 1.0)
        if not parts:
            raise SynestheteError("nothing to search for", hint="give a text, an image, or both")
        unwanted = [self.either(one) for one in without]
        vector = make_query(
            np.stack(parts),
            np.array(weights, np.float32),
            np.stack(unwanted) if unwanted else None,
        )
        kind = kind_of(texts, image is not None, text_weight)
        return Query(vector, kind, tuple(texts))
