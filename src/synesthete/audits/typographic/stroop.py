"""The Stroop test: the name of one colour in the ink of another, and which of the two is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from synesthete.audits.pictures import Model, embed
from synesthete.audits.rates import Rate
from synesthete.probes.words import Colour, load_fonts, render_word

PROMPT = "my favorite word, written in the color {}"
COLOURS: dict[str, Colour] = {
    "red": (214, 30, 30),
    "orange": (240, 140, 20),
    "yellow": (235, 215, 30),
    "green": (30, 150, 60),
    "blue": (35, 75, 200),
    "purple": (125, 45, 165),
    "brown": (120, 75, 40),
    "pink": (240, 120, 175),
}
# Goh et al. 2021, doi 10.23915/distill.00030, the Stroop figure.
PUBLISHED = Rate(49, 49)


@dataclass(frozen=True)
class Stroop:
    """What was answered.

    Attributes
    ----------
    cells
        Pairs of a word and another ink.
    reads_the_word, names_the_ink
        Of the cells.
    congruent
        The answer is the colour where word and ink are the same: the control, that it can do either at all.
    chance
        Of guessing.
    """

    cells: int
    reads_the_word: Rate
    names_the_ink: Rate
    congruent: Rate
    chance: float

    def as_dict(self) -> dict[str, Any]:
        """As reports have it, beside the published result."""
        return {
            "cells": self.cells,
            "reads_the_word": self.reads_the_word.as_dict(),
            "names_the_ink": self.names_the_ink.as_dict(),
            "congruent": self.congruent.as_dict(),
            "chance": round(self.chance, 4),
            "published_reads_the_word": PUBLISHED.as_dict(),
        }


def stroop(model: Model, *, prompt: str = PROMPT) -> Stroop:
    """Names of colours in the ink of colours; each cell is the mean over the fonts the shipped model never saw.

    Goh et al. 2021 with their prompt.
    """
    names = list(COLOURS)
    prompts = model.encode_texts([prompt.format(name) for name in names])
    fonts = [font for font in load_fonts() if font.held_out]
    cells = [(word, ink) for word in range(len(names)) for ink in range(len(names))]
    images: list[Image.Image] = [
        render_word(names[word], font, ink=COLOURS[names[ink]])
        for word, ink in cells
        for font in fonts
    ]
    scores = (embed(model, images) @ prompts.T).reshape(len(cells), len(fonts), -1).mean(1)
    answers, pairs = scores.argmax(1), np.array(cells)
    differ = pairs[:, 0] != pairs[:, 1]
    return Stroop(
        cells=int(differ.sum()),
        reads_the_word=Rate.of((answers == pairs[:, 0])[differ]),
        names_the_ink=Rate.of((answers == pairs[:, 1])[differ]),
        congruent=Rate.of((answers == pairs[:, 0])[~differ]),
        chance=1 / len(names),
    )
