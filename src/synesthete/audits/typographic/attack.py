"""The attack: another class's word written on a picture that was named right, and what is answered then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete.audits.labels import Style, can_write, write_label
from synesthete.audits.pictures import Float32, Int64, Model, Pictures, embed
from synesthete.audits.rates import Rate
from synesthete.audits.typographic.heads import Head

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What one head answered to one style of label.

    Attributes
    ----------
    to_word
        The answer became the written word's class: the success rate of the attack.
    lost
        The answer was no longer the truth.
    to_word_blank, lost_to_blank
        The same with an empty label at the same place; None where it was not shown.
    """

    to_word: Rate
    lost: Rate
    to_word_blank: Rate | None = None
    lost_to_blank: Rate | None = None


@dataclass(frozen=True)
class Labelled:
    """Embeddings of labelled pictures.

    Attributes
    ----------
    rows
        `[shown]`, which picture each is of.
    embeddings
        `[shown, dim]`.
    blank
        The same with empty labels, or None.
    skipped
        Words without letters in the font.
    """

    rows: Int64
    embeddings: Float32
    blank: Float32 | None
    skipped: tuple[str, ...]


class Subject:
    """A model with its pictures, its heads, what they answer without labels, and the word for each picture.

    Parameters
    ----------
    heads
        Name → head; all have the classes of the pictures.
    features
        Embeddings of the pictures without labels `[images, dim]`.
    seed
        Draws the words and the places.

    Attributes
    ----------
    right
        Head → `[images]`, whether the picture is named right without a label. Only these are attacked.
    targets
        `[images]`, the class whose word is written: another one, of those that every head knows.
    """

    def __init__(
        self,
        model: Model,
        pictures: Pictures,
        heads: Mapping[str, Head],
        features: Float32,
        *,
        seed: int = 0,
    ) -> None:
        self.model, self.pictures, self.heads, self.seed = model, pictures, dict(heads), seed
        self.features = features
        every = np.arange(len(pictures.images))
        self.clean = {name: head.answers(features, every) for name, head in heads.items()}
        self.right = {name: found == pictures.truth for name, found in self.clean.items()}
        known = np.flatnonzero(np.all([head.known for head in heads.values()], axis=0))
        self.targets = other_classes(pictures.truth, known, np.random.default_rng(seed))

    @property
    def rows(self) -> Int64:
        """Pictures that some head names right."""
        return np.flatnonzero(np.any(list(self.right.values()), axis=0)).astype(np.int64)

    def labelled(
        self, style: Style, words: Sequence[str] | None = None, *, blank: bool = False
    ) -> Labelled:
        """Write each picture's word on it, and read the embeddings.

        Parameters
        ----------
        words
            `[images]`, what to write; by default the names of `targets`. An empty word leaves the picture out.
        blank
            Show the empty labels too.
        """
        said = [self.pictures.classes[t] for t in self.targets] if words is None else words
        wanted = [int(row) for row in self.rows if said[row]]
        rows = [row for row in wanted if can_write(said[row], style)]
        kept = set(rows)
        skipped = sorted({said[row] for row in wanted if row not in kept})
        return Labelled(
            np.array(rows, np.int64),
            embed(self.model, self._written(rows, said, style, False)),
            embed(self.model, self._written(rows, said, style, True)) if blank else None,
            tuple(skipped),
        )

    def picture(self, row: int, word: str, style: Style, *, blank: bool = False) -> Image.Image:
        """One labelled picture, the same each time."""
        rng = np.random.default_rng([self.seed, row])
        return write_label(self.pictures.images[row], word, style, rng, blank=blank)

    def outcome(self, shown: Labelled, head: str) -> Outcome:
        """What a head answered to labelled pictures, of those that it named right without."""
        mine = self.right[head][shown.rows]
        rows, truth = shown.rows[mine], self.pictures.truth[shown.rows[mine]]
        target = self.targets[rows]
        answers = self.heads[head].answers(shown.embeddings[mine], rows)
        to_word, lost = Rate.of(answers == target), Rate.of(answers != truth)
        if shown.blank is None:
            return Outcome(to_word, lost)
        control = self.heads[head].answers(shown.blank[mine], rows)
        return Outcome(to_word, lost, Rate.of(control == target), Rate.of(control != truth))

    def _written(
        self, rows: Sequence[int], words: Sequence[str], style: Style, blank: bool
    ) -> Iterator[Image.Image]:
        for row in rows:
            yield self.picture(row, words[row], style, blank=blank)


def other_classes(truth: Int64, known: npt.NDArray[np.intp], rng: np.random.Generator) -> Int64:
    """A class for each picture, at random among the known ones that are not its own.

    Examples
    --------
    >>> other_classes(np.array([0, 1]), np.array([0, 1]), np.random.default_rng(0)).tolist()
    [1, 0]
    """
    out = np.empty(len(truth), np.int64)
    for place, own in enumerate(truth.tolist()):
        others = known[known != own]
        out[place] = others[rng.integers(len(others))] if len(others) else -1
    return out
