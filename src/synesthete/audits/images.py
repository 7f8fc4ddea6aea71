"""The images of an audit: chosen, decoded, and scaled to the model's input."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete._core.arrays import Float32, Int64
from synesthete.errors import SynestheteError
from synesthete.probes import load_probes

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.probes import ProbeSet

T = TypeVar("T")
FEWEST = 30
LIMIT = 150
BUILT_IN_CLASSES = 100
TRAINING_PER_CLASS = 8
BATCH = 32
# Images to be attacked show things; drawn words are texts themselves, and symbols leave no ground to write on.
MODALITIES = ("photo", "drawing")

SIDE = 160


class Model(Protocol):
    """What an audit needs of a model."""

    def geometry(self, image: Image.Image) -> Image.Image:
        """The image as the model sees it."""
        ...

    def preprocess(self, image: Image.Image) -> Any:
        """The image as a tensor."""
        ...

    def encode_images(self, pixels: Any) -> Float32:
        """Embeddings `[batch, dim]`."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Embeddings `[texts, dim]`."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images as a model sees them, each of one of some classes.

    Attributes
    ----------
    source
        Where they come from.
    images
        Scaled and cropped to what the model sees.
    truth
        `[images]`, the number of each one's class.
    classes
        Names among which an image is to be named.
    training, training_truth
        Further images of the same classes, for a classifier to be trained on.
    unreadable
        Key → reason, of images left out.
    held_out
        Whether the model is known never to have seen `images`.
    """

    source: str
    images: list[Image.Image]
    truth: Int64
    classes: list[str]
    training: list[Image.Image] = field(default_factory=list)
    training_truth: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    unreadable: dict[str, str] = field(default_factory=dict)
    held_out: bool = False

    def __post_init__(self) -> None:
        if len(self.images) < FEWEST:
            raise SynestheteError(
                f"{len(self.images)} images can be used of {self.source}, and an audit needs {FEWEST}",
                hint="fewer would leave every interval too wide to say anything: give more",
            )
        if len(self.classes) < 2:
            raise SynestheteError(
                f"{self.source} has one class, {', '.join(self.classes)!r}, and naming needs a choice",
                hint="give images of two things or more: FOLDER/CONCEPT/IMAGE",
            )

    def described(self) -> dict[str, Any]:
        """As reports tell it."""
        return {
            "source": self.source,
            "n": len(self.images),
            "classes": len(self.classes),
            "held_out": self.held_out,
            "unreadable": dict(self.unreadable),
        }


def embed(model: Model, images: Iterable[Image.Image], batch: int = BATCH) -> Float32:
    """Embeddings of length one `[images, dim]`, a batch at a time."""
    import torch

    parts, left = [], iter(images)
    while some := [model.preprocess(image) for image in islice(left, batch)]:
        parts.append(model.encode_images(torch.stack(some)))
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def read_units(model: ImageTextModel, layer: str, images: Sequence[Image.Image]) -> Float32:
    """Activations of a layer `[images, units]`, a batch at a time."""
    return embed_and_read(model, layer, images)[1]


def embed_and_read(
    model: ImageTextModel, layer: str, images: Sequence[Image.Image]
) -> tuple[Float32, Float32]:
    """What `embed` and `read_units` give, in one pass."""
    import torch

    embeddings, activations = [], []
    for start in range(0, len(images), BATCH):
        pixels = torch.stack([model.preprocess(image) for image in images[start : start + BATCH]])
        reading = model.read(pixels, [layer])
        embeddings.append(reading.embeddings)
        activations.append(reading.activations[layer])
    return np.concatenate(embeddings), np.concatenate(activations)


def load_images(
    model: Model,
    name: str,
    folder: str | Path | None = None,
    *,
    limit: int = LIMIT,
    seed: int = 0,
    prefer: Sequence[str] = (),
    training: bool = True,
) -> ImageSet:
    """Images of the user's folder, or those of the built-in probe set.

    Of the built-in set, photos and drawings of `BUILT_IN_CLASSES` concepts; for the shipped model, only what was
    held out of its training.

    Parameters
    ----------
    name
        What the model was asked for as: `mini` is known to have held some images out.
    folder
        Anything `load_probes` reads; each concept is a class.
    limit
        At most so many images, in turns from all classes.
    prefer
        Concepts that shall be among the built-in classes where they have images.
    training
        Whether to read further images for a classifier.

    Raises
    ------
    SynestheteError
        Nothing there, too few images, one class.
    """
    from synesthete.analysis.zero_shot import held_out_rows

    probes = load_probes("concepts" if folder is None else folder, texts=False)
    concept, modality = (np.array(probes.labels[c].to_pylist()) for c in ("concept", "modality"))
    if folder is None:
        candidates = np.isin(modality, MODALITIES)
        unseen = held_out_rows(name, probes.labels)
    else:
        # A folder whose every image is a symbol or a word is what the user wants to see attacked.
        depicting = ~np.isin(modality, ["word"])
        candidates = (depicting if depicting.any() else np.ones(len(probes), bool)) & (
            concept != ""
        )
        unseen = np.ones(len(probes), bool)
    rng = np.random.default_rng(seed)
    if folder is None:
        chosen = _some_classes(concept[candidates & unseen], prefer, rng)
        candidates &= np.isin(concept, chosen)
    unreadable: dict[str, str] = {}
    rows = in_turns(rng.permutation(np.flatnonzero(candidates & unseen)), concept)
    images, kept = _seen(model, probes, rows, limit, unreadable)
    classes = sorted(set(concept[kept].tolist()))
    others = np.setdiff1d(np.flatnonzero(candidates & np.isin(concept, classes)), kept)
    others = in_turns(rng.permutation(others), concept)
    most = TRAINING_PER_CLASS * len(classes) if training else 0
    further, trained = _seen(model, probes, others, most, unreadable)
    number = {label: i for i, label in enumerate(classes)}
    return ImageSet(
        source="the built-in photos and drawings" if folder is None else str(folder),
        images=images,
        truth=np.array([number[concept[row]] for row in kept], np.int64),
        classes=classes,
        training=further,
        training_truth=np.array([number[concept[row]] for row in trained], np.int64),
        unreadable=unreadable,
        held_out=not bool(unseen.all()),
    )


def _some_classes(
    concepts: npt.NDArray[np.str_], prefer: Sequence[str], rng: np.random.Generator
) -> list[str]:
    """As many classes as a built-in audit has: the preferred, those with two images, at random among equals."""
    counts = Counter(concepts.tolist())
    names = sorted(counts)
    order = rng.permutation(len(names))
    ranked = sorted(
        order.tolist(), key=lambda i: (names[i] not in prefer, -min(counts[names[i]], 2))
    )
    return sorted(names[i] for i in ranked[:BUILT_IN_CLASSES])


def in_turns(rows: npt.ArrayLike, concept: Sequence[str] | npt.NDArray[np.str_]) -> Int64:
    """Rows in turns: one of every class, then a second of every class, and so on; in the given order within a turn.

    Examples
    --------
    >>> in_turns([3, 1, 0, 2], ["a", "a", "b", "a"]).tolist()
    [3, 2, 1, 0]
    """
    given = np.asarray(rows, np.int64)
    taken: Counter[str] = Counter()
    turn = np.empty(len(given), np.int64)
    for place, row in enumerate(given.tolist()):
        turn[place] = taken[concept[row]]
        taken[concept[row]] += 1
    return given[np.argsort(turn, kind="stable")]


def readable(
    probes: ProbeSet,
    rows: Iterable[int],
    prepare: Callable[[Image.Image], T],
    unreadable: dict[str, str] | None = None,
) -> Iterator[tuple[int, T]]:
    """Rows with their images as `prepare` gives them; what cannot be read is left out, and its reason noted by key."""
    for row in rows:
        try:
            prepared = prepare(probes.image(row))
        except SynestheteError as error:
            if unreadable is not None:
                unreadable[str(probes.labels["key"][row])] = str(error)
            continue
        yield row, prepared


def _seen(
    model: Model, probes: ProbeSet, rows: Int64, limit: int, unreadable: dict[str, str]
) -> tuple[list[Image.Image], list[int]]:
    """The first `limit` readable images as the model sees them, and their rows."""
    found = list(islice(readable(probes, rows.tolist(), model.geometry, unreadable), limit))
    return [image for _, image in found], [row for row, _ in found]


def data_uri(image: Image.Image) -> str:
    """A small image as a `data:` address, WebP."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=85, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
