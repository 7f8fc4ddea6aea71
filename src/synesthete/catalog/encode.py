"""Items to vectors: their images and texts embedded by the model, centred and fused in one space.

An image and a text of one thing do not lie together in a CLIP's space: all images share a direction, and all texts
another (the modality gap). Taking the mean of its kind off every vector removes what it has in common with everything
(Goh et al. 2021 subtract the mean over 10,000 words for the same reason). The means are those of the catalogue's own
items, with the reference counted in, so that a catalogue of three items has a sensible centre, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from synesthete._core.arrays import Float16, Float32, Float64
from synesthete._core.user_files import UnusableFile, read_file, read_inside
from synesthete.atlas.arrays import read_npz
from synesthete.atlas.files import write_file
from synesthete.catalog.schema import ImageSource, Item, Quarantined, image_name
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage
from synesthete.probes.request_images import see

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

WORDS_PER_PIECE = 20  # so that a piece fits the context of small text towers, too
LETTERS_PER_PIECE = 300
MOST_PIECES, REVIEW_PIECES = 24, 24
TITLE, CATEGORY, ATTRIBUTES, DESCRIPTION, REVIEWS = 1.0, 0.5, 0.25, 0.5, 0.25

_SENTENCE = re.compile(r"(?<=[.!?;。！？؟])\s+|\n+")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Articles, prepositions and the like say nothing of what two texts share.
_COMMON = frozenset(
    _WORD.findall(
        "a an and are as at be but by for from has have in into is it its not of on or our that the "
        "their they this to was we were which while will with without you your"
    )
)

IMAGE_WEIGHT, TEXT_WEIGHT = 0.5, 0.5
PRIOR = 64  # items that the reference counts as
PHOTO_PRIOR = 8  # customers' photos that it counts as: a few are enough for their mean
WITHOUT = 0.7  # how strongly what is not wanted counts
# Two directions that differ by less differ by rounding.
SAME = 1e-5
IMAGE_BYTES = 64 * 1024 * 1024
MICRO_BATCH = 32
THUMBNAIL_SIDE = 192
LARGEST_HALF = float(np.finfo(np.float16).max)
PHOTOS = "photos.npz"


def pieces_of(item: Item) -> list[tuple[str, float]]:
    """Pieces of an item's texts with their weights.

    Title 1, category ½, description ½ over its pieces, attributes ¼ over theirs, reviews ¼ over theirs; of a long
    description or many reviews, 24 pieces spread evenly from first to last.

    Examples
    --------
    >>> pieces_of(Item("1", title="Blue mug", description="Holds tea. Holds coffee."))
    [('Blue mug', 1.0), ('Holds tea.', 0.25), ('Holds coffee.', 0.25)]
    """
    found: list[tuple[str, float]] = []
    for texts, weight, most in (
        ([item.title], TITLE, 2),
        ([item.category], CATEGORY, 1),
        ([item.description], DESCRIPTION, MOST_PIECES),
        ([f"{key} {', '.join(v)}" for key, v in item.attributes.items()], ATTRIBUTES, MOST_PIECES),
        (item.reviews, REVIEWS, REVIEW_PIECES),
    ):
        pieces = spread([piece for text in texts for piece in cut(text)], most)
        found += [(piece, weight / len(pieces)) for piece in pieces]
    return found


def cut(text: str) -> list[str]:
    """A text in sentences, and long ones in runs of words."""
    pieces = []
    # What lies beyond is the same book; its first half million letters tell what it is about.
    for sentence in _SENTENCE.split(text[:500_000]):
        words = sentence.split()
        for start in range(0, len(words), WORDS_PER_PIECE):
            piece = " ".join(words[start : start + WORDS_PER_PIECE])
            pieces += [
                piece[at : at + LETTERS_PER_PIECE] for at in range(0, len(piece), LETTERS_PER_PIECE)
            ]
    return pieces


def spread(values: Sequence[str], most: int) -> list[str]:
    """At most so many values, evenly from first to last.

    Examples
    --------
    >>> spread(["a", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    if len(values) <= most:
        return list(values)
    if most == 1:
        return [values[0]]
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, in order, each once, without the commonest.

    Examples
    --------
    >>> words_of("The blue mug, and a BLUE saucer")
    ['blue', 'mug', 'saucer']
    """
    words = (word.casefold() for word in _WORD.findall(text[:500_000]))
    return list(dict.fromkeys(term for term in words if term not in _COMMON))


def text_of(item: Item) -> str:
    """All of an item's words, one after another."""
    values = [f"{key} {', '.join(v)}" for key, v in item.attributes.items()]
    parts = [item.title, item.category, item.description, *values, *item.reviews]
    return "\n".join(part for part in parts if part)


@dataclass(frozen=True)
class Space:
    """Centres, `[dim]` each: of the items' images and texts, and of the images and texts of queries.

    Customers' photos are not studio images, so queries have centres of their own: those of the reference, or
    of photos that customers really sent (`Catalog.adapt`).
    """

    image_centre: Float32
    text_centre: Float32
    query_image_centre: Float32
    query_text_centre: Float32

    def images(self, vectors: Float32) -> Float32:
        """Centred image vectors at unit length; zeros (no image) stay zeros."""
        return _centred(vectors, self.image_centre)

    def texts(self, vectors: Float32) -> Float32:
        """Centred text vectors at unit length; zeros (no text) stay zeros."""
        return _centred(vectors, self.text_centre)

    def query_images(self, vectors: Float32) -> Float32:
        """As `images`, of images in queries."""
        return _centred(vectors, self.query_image_centre)

    def query_texts(self, vectors: Float32) -> Float32:
        """As `texts`, of texts in queries."""
        return _centred(vectors, self.query_text_centre)

    def fuse(self, images: Float32, texts: Float32) -> Float32:
        """Items' unit vectors `[items, dim]` of their image and text vectors (zeros where there is none)."""
        both = IMAGE_WEIGHT * self.images(images) + TEXT_WEIGHT * self.texts(texts)
        return unit_length(np.asarray(both, np.float32))


def make_query(
    wanted: Float32, weights: Float32, unwanted: Float32 | None = None, strength: float = WITHOUT
) -> Float32:
    """One unit vector `[dim]` out of centred parts `[parts, dim]`, away from `unwanted` `[parts, dim]`.

    Of what is unwanted only the part at right angles to what is wanted counts, so that "a mug, but not a red mug" stays
    about mugs; what is unwanted and wanted alike changes nothing. It is subtracted, so the score stays linear in the item.

    Examples
    --------
    >>> wanted = np.array([[1.0, 0.0]], np.float32)
    >>> make_query(wanted, np.ones(1, np.float32), np.array([[0.6, 0.8]], np.float32), 1.0).round(3).tolist()
    [0.707..., -0.707...]
    """
    total: Float32 = unit_length(np.asarray(weights @ wanted, np.float32)[None])[0]
    if unwanted is None or not len(unwanted):
        return total
    for one in unit_length(unwanted):
        across = one - (one @ total) * total
        if np.linalg.norm(across) > SAME:
            total = total - np.float32(strength) * unit_length(across[None])[0]
    query: Float32 = unit_length(total[None])[0]
    return query


def centre_of(total: Float64, count: int, ground: Float32, prior: int = PRIOR) -> Float32:
    """A mean `[dim]` of `count` vectors of this sum, and `prior` more at the ground."""
    return np.asarray((total + prior * ground.astype(np.float64)) / (count + prior), np.float32)


def _centred(vectors: Float32, centre: Float32) -> Float32:
    there = np.asarray(vectors).any(axis=-1, keepdims=True)
    return unit_length(np.where(there, vectors - centre, 0).astype(np.float32))


def image_bytes(image: ImageSource) -> bytes:
    """The encoded bytes of an image.

    Raises
    ------
    UnreadableImage
        No such file, one that leads out of its folder, not a regular one, too large.
    """
    if isinstance(image, bytes):
        if len(image) > IMAGE_BYTES:
            message = (
                f"a file of {len(image) >> 20:,} MiB, more than the limit of {IMAGE_BYTES >> 20}"
            )
            raise UnreadableImage(message, hint="make it smaller")
        return image
    try:
        # A path, however it was typed.
        path = Path(image) if isinstance(image, str) else image
        return read_file(path, max_bytes=IMAGE_BYTES)
    except UnusableFile as error:
        raise UnreadableImage(error.reason, hint=error.hint) from None


def digest_of(item: Item, images: Sequence[bytes | None]) -> str:
    """SHA-256 over an item's texts and the bytes of its images (None for an unreadable one)."""
    return digest_by(item, [hash_of(data) for data in images])


def hash_of(data: bytes | None) -> str | None:
    """SHA-256 of an image; None for one that cannot be read."""
    return hashlib.sha256(data).hexdigest() if data is not None else None


def digest_by(item: Item, hashes: Sequence[str | None]) -> str:
    """`digest_of` by what `hash_of` gives."""
    facts = item.as_dict()
    del facts["images"]
    # Under the key of the first catalogues: another one would make every indexed item look changed.
    facts["pictures"] = list(hashes)
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Items with what the model made of them.

    Attributes
    ----------
    items
        As they are kept.
    digests
        By which unchanged items are known again.
    images, texts
        `[items, dim]`, of unit length; zeros where an item has no image, or no text.
    units
        Mean activations `[items, units]`; NaN where an item has no image.
    thumbnails
        WebP, or None.
    """

    items: list[Item]
    digests: list[str]
    images: Float16
    texts: Float16
    units: Float16
    thumbnails: list[bytes | None]


@dataclass(frozen=True)
class Loaded:
    """An item with the bytes of its images (None where one cannot be read) and its digest."""

    item: Item
    data: tuple[bytes | None, ...]
    digest: str
    quarantined: tuple[Quarantined, ...]


def load(item: Item) -> Loaded:
    """Read an item's images as bytes; what cannot be read is set aside with the reason."""
    data: list[bytes | None] = []
    aside = []
    for image in item.images:
        try:
            data.append(image_bytes(image))
        except UnreadableImage as error:
            data.append(None)
            aside.append(Quarantined(item.id, image_name(image), error.reason))
    return Loaded(item, tuple(data), digest_of(item, data), tuple(aside))


def encode(
    model: ImageTextModel, layer: str, units: int, loaded: Sequence[Loaded]
) -> tuple[Batch, list[Quarantined]]:
    """Vectors, unit activations and thumbnails of items.

    Several images of an item are averaged, embeddings at unit length first. Returns the batch of those items of which
    something could be used, and what could not.
    """
    images, activations, thumbnails, aside, kept_names = _see(model, layer, units, loaded)
    texts = _read(model, [one.item for one in loaded])
    usable = []
    for row, one in enumerate(loaded):
        if np.isnan(activations[row, 0]) and not texts[row].any():
            reason = "no image that can be read and no text: give it one of them"
            aside.append(Quarantined(one.item.id, "item", reason))
        else:
            usable.append(row)
    chosen = np.array(usable, np.int64)
    batch = Batch(
        items=[replace(loaded[row].item, images=kept_names[row]) for row in usable],
        digests=[loaded[row].digest for row in usable],
        images=images[chosen].astype(np.float16),
        texts=texts[chosen].astype(np.float16),
        units=np.clip(activations[chosen], -LARGEST_HALF, LARGEST_HALF).astype(np.float16),
        thumbnails=[thumbnails[row] for row in usable],
    )
    return batch, aside


def embed_image(model: ImageTextModel, data: bytes) -> Float32:
    """Unit-length embedding `[dim]` of an encoded image; raises `UnreadableImage`."""
    pixels = see(data, model.preprocess)[None]
    return np.asarray(model.encode_images(pixels)[0], np.float32)


def embed_images(
    model: ImageTextModel, images: Iterable[ImageSource]
) -> dict[ImageSource, Float32]:
    """Unit-length embeddings `[dim]` of a batch of images, of those that can be read."""
    import torch

    read: dict[ImageSource, torch.Tensor] = {}
    for image in images:
        with contextlib.suppress(UnreadableImage):
            read[image] = see(image_bytes(image), model.preprocess)
    if not read:
        return {}
    return dict(zip(read, model.encode_images(torch.stack(list(read.values()))), strict=True))


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
) -> tuple[Float32, Float32, list[bytes | None], list[Quarantined], list[tuple[ImageSource, ...]]]:
    import torch

    seen = np.zeros((len(loaded), model.embedding_dim), np.float32)
    total = np.zeros((len(loaded), units), np.float32)
    count = np.zeros(len(loaded), np.int64)
    thumbnails: list[bytes | None] = [None] * len(loaded)
    kept: list[tuple[ImageSource, ...]] = [() for _ in loaded]
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
        for image, data in zip(one.item.images, one.data, strict=True):
            if data is None:
                continue
            try:
                pixels, small = see(data, partial(_look, model, thumbnails[row] is None))
            except UnreadableImage as error:
                aside.append(Quarantined(one.item.id, image_name(image), error.reason))
                continue
            waiting.append((row, pixels))
            thumbnails[row] = thumbnails[row] or small
            kept[row] = (*kept[row], image)
            if len(waiting) == MICRO_BATCH:
                flush()
    flush()
    total /= np.where(count > 0, count, 1)[:, None]
    total[count == 0] = np.nan
    return unit_length(seen), total, thumbnails, aside, kept


def _read(model: ImageTextModel, items: Sequence[Item]) -> Float32:
    pieces = [pieces_of(item) for item in items]
    # Items repeat themselves: a category or a colour is read once per batch.
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


def write_photos(path: Path, model: ImageTextModel, images: Iterable[ImageSource]) -> int:
    """Embed photos one by one and keep their sum; returns how many could be read."""
    total, count = np.zeros(model.embedding_dim, np.float64), 0
    for image in images:
        try:
            total += embed_image(model, image_bytes(image))
        except UnreadableImage:
            continue
        count += 1
    if not count:
        raise SynestheteError(
            "none of the photos can be read", hint="give images that customers sent"
        )
    stream = io.BytesIO()
    np.savez(stream, total=total, count=np.int64(count))
    write_file(path / PHOTOS, stream.getvalue())
    return count


def read_photos(path: Path, dim: int) -> tuple[Float64, int] | None:
    """Sum `[dim]` and number; None where nothing was learnt; raises `SynestheteError` for a damaged file."""
    if not (path / PHOTOS).exists():
        return None
    expected = {"total": (np.float64, (dim,)), "count": (np.int64, ())}
    found = read_npz(read_inside(path, path / PHOTOS), expected, source=str(path / PHOTOS))
    return found["total"], int(found["count"])
