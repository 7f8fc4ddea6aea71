"""Rendered words: which of them excite a unit, and what their images mean to the model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from safetensors.numpy import load, save

from synesthete._core.arrays import Float16, Float32, Int64
from synesthete._core.progress import Progress
from synesthete.analysis.design import tower_of
from synesthete.analysis.provenance import own_model
from synesthete.analysis.vocabulary import BUILT_IN, CONCEPTS, load_vocabulary
from synesthete.atlas import Atlas, open_atlas, write_words
from synesthete.errors import SynestheteError, near
from synesthete.probes.words import Font, has_letters, load_fonts, render_word
from synesthete.recording.pieces import compute_pieces

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.recording.executors import Executor
    from synesthete.recording.pieces import Compute


SIDE = 192  # pixels of a rendering, before the model's own preprocessing
# Side of the word's square relative to the image's -> corners it is put at, as shares of the free room.
PLACES: dict[float, tuple[tuple[float, float], ...]] = {
    1.0: ((0.5, 0.5),),
    0.6: ((0.5, 0.5), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)),
}
RENDERINGS = sum(len(places) for places in PLACES.values())
QUICK = 2  # without the corners
AT_ONCE = 32  # images per pass: more are slower on a processor
PASSES = 16  # of a piece of work that one process does
LIMIT = 20
EMBEDDINGS = "embeddings"  # among arrays by layer
EVERY = slice(None)


def draw_words(
    atlas_path: str | Path,
    *,
    vocabulary: str = CONCEPTS,
    font: str | None = None,
    rendered: int = RENDERINGS,
    executor: Executor | None = None,
    replace: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Show the model of an atlas a vocabulary of rendered words, and write activations and embeddings into the atlas.

    Each word is drawn in black on white at two sizes, the smaller one at five places. A unit's answer is its
    greatest activation over places, averaged over sizes, so that neither place nor size decides (Goh et al.
    2021, doi 10.23915/distill.00030, appendix on rendered words).

    Parameters
    ----------
    vocabulary
        `concepts`, `english`, `wordnet-nouns`, or a file (`load_vocabulary`).
    font
        A font family of the package; the first by default.
    rendered
        Images of each word, 1 to 6: the large one, the small one in the middle, then in the corners. Each costs the same.
    executor
        Who draws and reads them; this process without it. What is written does not depend on it.
    replace
        Whether words that the atlas has, or was given meanwhile, are replaced; they are returned otherwise.
    progress
        Called with (words done, words in all).

    Returns
    -------
    dict
        The notes that the manifest keeps; `skipped` lists which words the font has no letters for.

    Raises
    ------
    SynestheteError
        No such vocabulary or font, no word that can be drawn, another model than the atlas's, no such number of images, an array job.
    """
    places = places_of(rendered)
    atlas = open_atlas(atlas_path)
    if not replace and (given := atlas.manifest.get("words")) is not None:
        return dict(given)
    chosen = font_of(font)
    listed = load_vocabulary(vocabulary, atlas.concepts)
    skipped = {item: why for item in listed if (why := undrawable(item, chosen))}
    words = [item for item in listed if item not in skipped]
    if not words:
        reason = next(iter(skipped.values()))
        raise SynestheteError(f"none of the {len(listed)} words can be drawn: {reason}")
    model = own_model(atlas)
    activations, embeddings = read_words(
        model, atlas, words, chosen, progress, rendered=rendered, executor=executor
    )
    notes = {
        "vocabulary": vocabulary if vocabulary in BUILT_IN else Path(vocabulary).name,
        "vocabulary_sha256": hashlib.sha256("\n".join(listed).encode()).hexdigest(),
        "words": len(words),
        "skipped": skipped,
        "font": chosen.family,
        "sizes": list(places),
        "places": [len(several) for several in places.values()],
        "weights_sha256": atlas.manifest["model"]["weights_sha256"],
    }
    if not replace and (given := open_atlas(atlas_path).manifest.get("words")) is not None:
        return dict(given)
    write_words(atlas_path, words, activations, embeddings, notes)
    return notes


def top_words(atlas: Atlas, address: str, *, limit: int = LIMIT) -> list[dict[str, Any]]:
    """The drawn words that excite a unit most: `word` and `activation`, best first.

    Reads what `draw_words` wrote; loads no model. Ties are in the order of the vocabulary.
    """
    neuron = atlas.neuron(address)
    values = np.asarray(atlas.word_activations(neuron.layer)[:, neuron.unit], np.float32)
    order = np.argsort(-values, kind="stable")[: max(limit, 0)]
    return [{"word": atlas.words[i], "activation": float(values[i])} for i in order]


def nearest_words(atlas: Atlas, expression: str, *, limit: int = LIMIT) -> list[dict[str, Any]]:
    """Words whose images mean what a sum of words means: `word` and `cosine`, nearest first.

    The mean over the vocabulary is taken off first (Goh et al. 2021), since all images of words have much in common.

    Parameters
    ----------
    expression
        Words of the vocabulary joined by ` + ` and ` - `, such as `king - man + woman`. They are left
        out of the answer.

    Raises
    ------
    SynestheteError
        When a word was not drawn; similar ones are suggested.
    """
    rows = word_vectors(atlas)
    number = {word: i for i, word in enumerate(atlas.words)}
    total, used = np.zeros(rows.shape[1], np.float32), set()
    for sign, word in _terms(expression):
        if word not in number:
            hint = near(word, number) or "draw it: it must be in the vocabulary"
            raise SynestheteError(f"{word!r} is not among the drawn words", hint=hint)
        total += sign * rows[number[word]]
        used.add(number[word])
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise SynestheteError(f"{expression!r} comes to nothing")
    cosines = rows @ (total / length)
    order = [int(i) for i in np.argsort(-cosines, kind="stable") if i not in used]
    return [{"word": atlas.words[i], "cosine": float(cosines[i])} for i in order[: max(limit, 0)]]


def word_vectors(atlas: Atlas) -> Float32:
    """Embeddings of the drawn words with their mean removed, of length one, `[words, dim]`."""
    return centred(np.asarray(atlas.word_embeddings(), np.float32))


def centred(rows: Float32, vocabulary: Int64 | slice = EVERY) -> Float32:
    """`rows` `[words, dim]` less the mean over a vocabulary (numbers of rows; all of them without it), of length one."""
    rows = rows - rows[vocabulary].mean(axis=0)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))


def _terms(expression: str) -> list[tuple[int, str]]:
    parts = re.split(r"\s+([+-])\s+", " ".join(expression.split()))
    if not all(parts):
        raise SynestheteError(
            f"{expression!r} is not a sum of words", hint="write for example: king - man + woman"
        )
    signs = [1, *(1 if mark == "+" else -1 for mark in parts[1::2])]
    return list(zip(signs, parts[0::2], strict=True))


def font_of(family: str | None) -> Font:
    """A font of the package by its family; the first without one."""
    fonts = load_fonts()
    if family is None:
        return fonts[0]
    for font in fonts:
        if font.family.casefold() == family.casefold():
            return font
    families = sorted({font.family for font in fonts})
    hint = near(family, families) or ", ".join(families)
    raise SynestheteError(f"no font {family!r} in the package", hint=hint)


def undrawable(word: str, font: Font) -> str:
    """Why a word cannot be drawn; empty where it can."""
    if not has_letters(word, font):
        return f"{font.family} has no letters for it"
    return "" if len(word) <= 60 else "it is longer than 60 letters"


def places_of(rendered: int) -> dict[float, tuple[tuple[float, float], ...]]:
    """The first so many of `PLACES`.

    Examples
    --------
    >>> places_of(2)
    {1.0: ((0.5, 0.5),), 0.6: ((0.5, 0.5),)}
    """
    if not 1 <= rendered <= RENDERINGS:
        raise SynestheteError(f"a word is drawn 1 to {RENDERINGS} times, not {rendered}")
    found, left = {}, rendered
    for share, places in PLACES.items():
        if left:
            found[share] = places[:left]
            left -= len(found[share])
    return found


def renderings(word: str, font: Font, rendered: int = RENDERINGS) -> Iterator[Image.Image]:
    """The images of one word: each size at each of its places, RGB, `SIDE` pixels square."""
    for share, places in places_of(rendered).items():
        drawn = render_word(word, font, size_px=round(share * SIDE))
        room = SIDE - drawn.width
        for across, down in places:
            image = Image.new("RGB", (SIDE, SIDE), "white")
            image.paste(drawn, (round(across * room), round(down * room)))
            yield image


def word_layers(atlas: Atlas) -> list[str]:
    """The layers of an atlas that drawn words can be shown to: those of the model itself that read images, and their dictionaries."""
    return [
        name
        for name in atlas.layers
        if tower_of(atlas, name) != "text"
        and not ("dictionary" in atlas.layer(name) and tower_of(atlas, name) == "joint")
    ]


def read_words(
    model: ImageTextModel,
    atlas: Atlas,
    words: Sequence[str],
    font: Font,
    progress: Progress | None = None,
    *,
    layers: Sequence[str] | None = None,
    rendered: int = RENDERINGS,
    executor: Executor | None = None,
) -> tuple[dict[str, Float16], Float16]:
    """Activations `[words, units]` of the layers (those of the atlas that read images) and embeddings `[words, dim]`, a batch of words at a time."""
    layers = layers or word_layers(atlas)
    drawn = DrawnWords(
        words=tuple(words), font=font, rendered=rendered, size=AT_ONCE // rendered * PASSES,
        layers=tuple(layers), reduction=str(atlas.manifest["reduction"]),
    )  # fmt: skip
    answers: dict[str, Float16] = {}
    embeddings = np.empty((len(words), int(atlas.manifest["model"]["embedding_dim"])), np.float16)
    done = 0

    def seen(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, len(words))

    numbers = range(drawn.pieces)
    for number, result in compute_pieces(drawn, numbers, model, executor, atlas.path, seen):
        part, arrays = drawn.part(number), load(result)
        embeddings[part] = arrays.pop(EMBEDDINGS)
        for layer, values in arrays.items():
            if layer not in answers:
                answers[layer] = np.empty((len(words), values.shape[1]), np.float16)
            answers[layer][part] = values
    return {layer: answers[layer] for layer in layers}, embeddings


@dataclass(frozen=True, kw_only=True)
class DrawnWords:
    """Words that are drawn and read, as another process can be sent them (`synesthete.recording.pieces.Pieces`).

    Attributes
    ----------
    words, font, rendered
        What is drawn, and in how many ways.
    size
        Words of a piece: whole passes, so that it depends on nothing else which words are read together.
    layers, reduction
        What is read of it, and how a response map becomes one number.
    """

    words: tuple[str, ...]
    font: Font
    rendered: int
    size: int
    layers: tuple[str, ...]
    reduction: str

    @property
    def pieces(self) -> int:
        """How many there are."""
        return -(-len(self.words) // self.size)

    def part(self, number: int) -> slice:
        """Which words a piece has."""
        return slice(number * self.size, min((number + 1) * self.size, len(self.words)))

    def title(self, number: int) -> str:
        """The first and the last word of a piece, for messages."""
        words = self.words[self.part(number)]
        return f"words {words[0]!r} to {words[-1]!r}"

    def start(self, model: ImageTextModel) -> Compute:
        """There is nothing to prepare."""
        return partial(self._compute, model)

    def _compute(
        self, model: ImageTextModel, number: int, seen: Callable[[int], None] | None
    ) -> bytes:
        """Activations by layer and embeddings, float16, a row for each word of the piece; `seen` is called with numbers of words."""
        words, batch = self.words[self.part(number)], AT_ONCE // self.rendered
        found: list[dict[str, Float16]] = []
        for start in range(0, len(words), batch):
            some = words[start : start + batch]
            found.append(self._read(some, model))
            if seen is not None:
                seen(len(some))
        data: bytes = save(
            {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        )
        return data

    def _read(self, words: Sequence[str], model: ImageTextModel) -> dict[str, Float16]:
        import torch

        bounds = np.cumsum([0, *(len(places) for places in places_of(self.rendered).values())])
        images = [one for word in words for one in renderings(word, self.font, self.rendered)]
        shown = torch.stack([model.preprocess(image) for image in images])
        reading = model.read(shown, self.layers, self.reduction)
        found: dict[str, Float16] = {}
        for layer, values in reading.activations.items():
            by_word = values.reshape(len(words), self.rendered, -1)
            sizes = [by_word[:, a:b].max(axis=1) for a, b in pairwise(bounds)]
            found[layer] = np.clip(np.mean(sizes, axis=0), -65504, 65504).astype(np.float16)
        total = reading.embeddings.reshape(len(words), self.rendered, -1).sum(axis=1)
        total /= np.linalg.norm(total, axis=1, keepdims=True)
        return found | {EMBEDDINGS: total.astype(np.float16)}
