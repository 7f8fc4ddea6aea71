"""One photo and one written word: what the word does to the answer, the few units that carry it, and the answer without them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from synesthete._core.arrays import Float32, Float64
from synesthete.analysis.zero_shot import probabilities, temperature
from synesthete.audits.labels import legible, write_label
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.editing.defence.search import Tail
    from synesthete.models import ImageTextModel

# Pixels of the photo that the word is written on; the model sees it scaled to its own size.
SIDE = 384
SHARE, PLACE = 0.1, "bottom right"
CARRIERS, SHORTLIST, DRAWS, LABELS = 3, 24, 8, 3


def square(image: Image.Image) -> Image.Image:
    """The middle of an image, `SIDE` pixels square, RGB."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.convert("RGB").crop((left, top, left + side, top + side))
    return middle.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def with_sticker(photo: Image.Image, word: str) -> Image.Image:
    """A square photo with a word on a paper label of `SHARE` of its area, in a lower corner.

    Raises
    ------
    SynestheteError
        A word that no font of the package has all letters of.
    """
    style = legible(word, share=SHARE, place=PLACE)
    return write_label(photo, word, style, np.random.default_rng(0))


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What a written word does to an answer, and which units carry it.

    Attributes
    ----------
    answer, rival
        The label of the photo without the word; and the label with it, or where that is the same, the strongest other one.
    plain
        `[labels]`, probabilities without the word, at the model's own temperature.
    units
        At most `CARRIERS`: first the one whose ablation raises `answer` against `rival` most, of the `SHORTLIST` that a gradient
        predicts to do so. None that lowers it.
    without
        `[2 ** units, labels]`, with the word and with some units off: bit i of the row's number says whether `units[i]` is.
    control
        `[draws, units, labels]`, with the word and with 1, 2, ... other units off that are active on this image, drawn at random.
    """

    answer: int
    rival: int
    plain: Float64
    units: tuple[int, ...]
    without: Float64
    control: Float64

    @property
    def turned(self) -> bool:
        """Whether the word changed the answer."""
        return int(self.without[0].argmax()) != self.answer

    @property
    def repaired(self) -> int | None:
        """With how many units off, one after the other, the answer is the photo's again; None for never."""
        rows = [self.without[2**size - 1] for size in range(1, len(self.units) + 1)]
        return self._first(rows)

    @property
    def repaired_by_chance(self) -> int | None:
        """The same for random units, in the first draw of the control."""
        return self._first(self.control[0]) if len(self.control) else None

    def _first(self, rows: Iterable[Float64]) -> int | None:
        sizes = (size for size, row in enumerate(rows, 1) if int(row.argmax()) == self.answer)
        return next(sizes, None) if self.turned else None

    def state(self, image: int, word: str, layer: str, names: Sequence[str]) -> State:
        """The labels that come first in some state, with what everybody needs to show them."""
        rows = np.concatenate([self.plain[None], self.without])
        best = [self.answer, self.rival]
        best += [i for i in np.argsort(-rows.max(axis=0), kind="stable").tolist() if i not in best]
        best = best[:LABELS]
        return State(
            image=image,
            word=word,
            labels=[names[i] for i in best],
            plain=_rounded(self.plain[best]),
            without=[_rounded(row[best]) for row in self.without],
            answers=[names[int(row.argmax())] for row in self.without],
            units=[f"{layer}:{unit}" for unit in self.units],
            control=_rounded(self.control[:, :, self.answer].mean(axis=0)) if self.units else [],
            draws=len(self.control),
        )


@dataclass(frozen=True, kw_only=True)
class State:
    """A photo, a word, and the answers with and without the units that carry it: what pages, cards and examples show.

    Attributes
    ----------
    image
        Number of the photo in the atlas.
    word
        What is written on it; empty for nothing.
    labels
        The photo's own answer, its rival, and what else comes near.
    plain
        Their probabilities without the word.
    without
        Their probabilities with the word, for every set of `units` that is off: bit i of the place says whether `units[i]` is. The first
        is of the word alone.
    answers
        The first of all labels in each of these.
    units
        Addresses; at most `CARRIERS`.
    control
        Mean probability of the photo's answer with 1, 2, ... random active units off, over `draws` draws.
    """

    image: int
    word: str
    labels: list[str]
    plain: list[float]
    without: list[list[float]]
    answers: list[str]
    units: list[str]
    control: list[float]
    draws: int

    def __post_init__(self) -> None:
        sets = len(self.without)
        fits = (
            sets == len(self.answers) == 2 ** len(self.units)
            and len(self.units) <= CARRIERS
            and len(self.control) in (0, len(self.units))
            and all(len(row) == len(self.labels) for row in (self.plain, *self.without))
            and len(self.labels) > 1
        )
        if not fits:
            raise SynestheteError("a photo with a word whose parts do not fit together")


def without_word(image: int, plain: Float64, names: Sequence[str]) -> State:
    """The state of a photo that nothing is written on.

    Parameters
    ----------
    plain
        `[labels]`, probabilities of `names`.
    """
    best = np.argsort(-plain, kind="stable")[:LABELS].tolist()
    values = _rounded(plain[best])
    return State(
        image=image,
        word="",
        labels=[names[i] for i in best],
        plain=values,
        without=[values],
        answers=[names[best[0]]],
        units=[],
        control=[],
        draws=0,
    )


def _rounded(values: Float64) -> list[float]:
    return [round(float(value), 5) for value in values]


def classify(model: ImageTextModel, images: Sequence[Image.Image], directions: Float32) -> Float64:
    """`[images, labels]`: what a model takes square images for, at its own temperature."""
    import torch

    pixels = torch.stack([model.preprocess(one) for one in images])
    return probabilities(model.encode_images(pixels), directions, temperature(model))


def carried(
    model: ImageTextModel,
    layer: str,
    photo: Image.Image,
    word: str,
    directions: Float32,
    *,
    plain: Float64 | None = None,
    seed: int = 0,
) -> Carried:
    """Write a word on a photo, and find the units of a layer that carry it.

    The tower runs once up to the layer; the sets of ablated units run from there as one batch.

    Parameters
    ----------
    photo
        As `square` gives it.
    directions
        Text embeddings of the labels, `[labels, dim]`; two or more.
    plain
        What `classify` gave of the photo, where that is known.
    seed
        Of the random units of the control.

    Raises
    ------
    SynestheteError
        A word that cannot be drawn, fewer than two labels, a layer whose units cannot be switched off within one block.
    """
    from synesthete.editing.defence.search import Tail

    if len(directions) < 2:
        raise SynestheteError("an answer needs two labels or more to choose from")
    if plain is None:
        plain = classify(model, [photo], directions)[0]
    pixels = model.preprocess(with_sticker(photo, word))[None]
    ablation = _Ablation(model, layer, Tail(model, [layer], pixels), directions)
    worded = ablation.of([()])[0]
    answer = int(plain.argmax())
    rival = next(int(one) for one in np.argsort(-worded, kind="stable") if one != answer)
    units, active = ablation.carriers(answer, rival)
    sets = [
        tuple(unit for bit, unit in enumerate(units) if mask >> bit & 1)
        for mask in range(2 ** len(units))
    ]
    others = np.setdiff1d(active, units)
    draws = DRAWS if len(others) >= len(units) > 0 else 0
    rng = np.random.default_rng(seed)
    orders = [rng.choice(others, len(units), replace=False).tolist() for _ in range(draws)]
    drawn = [tuple(order[:size]) for order in orders for size in range(1, len(units) + 1)]
    found = ablation.of([*sets, *drawn])
    return Carried(
        answer=answer,
        rival=rival,
        plain=plain,
        units=units,
        without=found[: len(sets)],
        control=found[len(sets) :].reshape(draws, len(units), len(directions)),
    )


class _Ablation:
    """One image with units of a layer switched off, many sets of them in one batch.

    Parameters
    ----------
    tail
        Of the one image.
    """

    def __init__(self, model: ImageTextModel, layer: str, tail: Tail, directions: Float32) -> None:
        import torch

        self.model, self.layer, self.tail, self.directions = model, layer, tail, directions
        self.units = model.layer(layer).units
        self._labels = torch.from_numpy(directions).to(model.device)
        # Responses are [batch, ..., units], except where tokens come first.
        arranged = getattr(model.site(layer), "arranged", None)
        self._tokens_first = getattr(arranged, "arrangement", "") == "LNC"

    def of(self, sets: Sequence[tuple[int, ...]]) -> Float64:
        """`[sets, labels]`: the answer with each set of units off."""
        import torch

        kept = torch.ones(len(sets), self.units, device=self.model.device)
        for row, some in enumerate(sets):
            kept[row, list(some)] = 0.0
        embeddings = self.tail.embed([(self.layer, lambda responses: self._by(responses, kept))])
        return probabilities(
            embeddings.float().cpu().numpy(), self.directions, temperature(self.model)
        )

    def carriers(self, answer: int, rival: int) -> tuple[tuple[int, ...], Any]:
        """The units whose ablation raises one label against another most; and all that are active on the image."""
        import torch

        gate = torch.ones(1, self.units, device=self.model.device, requires_grad=True)
        seen: list[torch.Tensor] = []

        def through(responses: torch.Tensor) -> torch.Tensor:
            seen.append(responses.detach().flatten(0, -2).abs().amax(0))
            return self._by(responses, gate)

        embedding = self.tail.embed([(self.layer, through)], gradients=True)[0]
        margin = embedding @ (self._labels[answer] - self._labels[rival])
        slope = -torch.autograd.grad(margin, gate)[0][0].cpu().numpy()
        active = np.flatnonzero(seen[0].cpu().numpy())
        likely = [int(unit) for unit in np.argsort(-slope, kind="stable") if slope[unit] > 0]
        shortlist = likely[:SHORTLIST]
        every = np.log(np.maximum(self.of([(), *((unit,) for unit in shortlist)]), 1e-300))
        margins = every[:, answer] - every[:, rival]
        order = np.argsort(-margins[1:], kind="stable")[:CARRIERS]
        return tuple(shortlist[i] for i in order if margins[1 + i] > margins[0]), active

    def _by(self, responses: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """`responses` of one image times `kept` `[sets, units]`: a batch of sets."""
        between = [1] * (responses.ndim - 2)
        if self._tokens_first:
            return responses * kept.reshape(*between, len(kept), self.units)
        return responses * kept.reshape(len(kept), *between, self.units)
