"""Items to vectors: their pictures seen and their words read by the model, a batch at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete.catalog.answers import Quarantined
from synesthete.catalog.checking import digest_of, named, picture_bytes
from synesthete.catalog.segments import Batch
from synesthete.catalog.texts import pieces_of
from synesthete.catalog.types import Item, Picture
from synesthete.probes.decoding import UnreadableImage
from synesthete.probes.request_images import see

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

Float32 = npt.NDArray[np.float32]

MICRO_BATCH = 32
THUMBNAIL_SIDE = 192
LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Loaded:
    """An item with the bytes of its pictures (None where one cannot be read) and its digest."""

    item: Item
    data: tuple[bytes | None, ...]
    digest: str
    quarantined: tuple[Quarantined, ...]


def load(item: Item) -> Loaded:
    """Read an item's pictures as bytes; what cannot be read is set aside with the reason."""
    data: list[bytes | None] = []
    aside = []
    for picture in item.pictures:
        try:
            data.append(picture_bytes(picture))
        except UnreadableImage as error:
            data.append(None)
            aside.append(Quarantined(item.id, named(picture), error.reason))
    return Loaded(item, tuple(data), digest_of(item, data), tuple(aside))


def encode(
    model: ImageTextModel, layer: str, units: int, loaded: Sequence[Loaded]
) -> tuple[Batch, list[Quarantined]]:
    """Vectors, unit activations and thumbnails of items.

    Several pictures of an item are averaged, embeddings at unit length first. Returns the batch of those items of which
    something could be used, and what could not.
    """
    pictures, activations, thumbnails, aside, kept_names = _see(model, layer, units, loaded)
    texts = _read(model, [one.item for one in loaded])
    usable = []
    for row, one in enumerate(loaded):
        if np.isnan(activations[row, 0]) and not texts[row].any():
            told = "no picture that can be read and no text: give it one of them"
            aside.append(Quarantined(one.item.id, "item", told))
        else:
            usable.append(row)
    chosen = np.array(usable, np.int64)
    batch = Batch(
        [replace(loaded[row].item, pictures=kept_names[row]) for row in usable],
        [loaded[row].digest for row in usable],
        pictures[chosen].astype(np.float16),
        texts[chosen].astype(np.float16),
        np.clip(activations[chosen], -LARGEST_HALF, LARGEST_HALF).astype(np.float16),
        [thumbnails[row] for row in usable],
    )
    return batch, aside


def embed_picture(model: ImageTextModel, data: bytes) -> Float32:
    """Unit-length embedding `[dim]` of an encoded picture; raises `UnreadableImage`."""
    pixels = see(data, model.preprocess)[None]
    return np.asarray(model.encode_images(pixels)[0], np.float32)


def unit_length(values: Float32) -> Float32:
    """Rows at length one; rows of zeros stay.

    Examples
    --------
    >>> unit_length(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1), np.float32)


def _see(
    model: ImageTextModel, layer: str, units: int, loaded: Sequence[Loaded]
) -> tuple[Float32, Float32, list[bytes | None], list[Quarantined], list[tuple[Picture, ...]]]:
    import torch

    seen = np.zeros((len(loaded), model.embedding_dim), np.float32)
    total = np.zeros((len(loaded), units), np.float32)
    count = np.zeros(len(loaded), np.int64)
    thumbnails: list[bytes | None] = [None] * len(loaded)
    kept: list[tuple[Picture, ...]] = [() for _ in loaded]
    aside = [one for item in loaded for one in item.quarantined]
    waiting: list[tuple[int, torch.Tensor]] = []

    def flush() -> None:
        if waiting:
            reading = model.read(torch.stack([p for _, p in waiting]), [layer], "mean")
            rows = np.array([row for row, _ in waiting])
            np.add.at(seen, rows, reading.embeddings)
            np.add.at(total, rows, reading.activations[layer])
            np.add.at(count, rows, 1)
            waiting.clear()

    for row, one in enumerate(loaded):
        for picture, data in zip(one.item.pictures, one.data, strict=True):
            if data is None:
                continue
            try:
                pixels, small = see(data, partial(_look, model, thumbnails[row] is None))
            except UnreadableImage as error:
                aside.append(Quarantined(one.item.id, named(picture), error.reason))
                continue
            waiting.append((row, pixels))
            thumbnails[row] = thumbnails[row] or small
            kept[row] = (*kept[row], picture)
            if len(waiting) == MICRO_BATCH:
                flush()
    flush()
    total /= np.where(count > 0, count, 1)[:, None]
    total[count == 0] = np.nan
    return unit_length(seen), total, thumbnails, aside, kept


def _read(model: ImageTextModel, items: Sequence[Item]) -> Float32:
    pieces = [pieces_of(item) for item in items]
    # Shops repeat themselves: a category or a colour is read once per batch.
    distinct = list(dict.fromkeys(text for some in pieces for text, _ in some))
    vectors = model.encode_texts(distinct)
    place = {text: row for row, text in enumerate(distinct)}
    found = np.zeros((len(items), model.embedding_dim), np.float32)
    for row, some in enumerate(pieces):
        for text, weight in some:
            found[row] += np.float32(weight) * vectors[place[text]]
    return unit_length(found)


def _look(
    model: ImageTextModel, with_thumbnail: bool, image: Image.Image
) -> tuple[torch.Tensor, bytes | None]:
    return model.preprocess(image), _thumbnail(image) if with_thumbnail else None


def _thumbnail(image: Image.Image) -> bytes:
    """Shrinks the image itself: the last thing that is done with it."""
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=82, method=2)
    return stream.getvalue()
