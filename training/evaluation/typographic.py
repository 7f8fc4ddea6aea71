"""Is it fooled by a label? Typographic attack and the Stroop test on the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synesthete.probes.words import load_fonts, render_word
from training.evaluation.embedding import class_embeddings, embed, rate

HANDWRITTEN = "Caveat"
STROOP_PROMPT = "my favorite word, written in the color {}"
COLOURS = {
    "red": (214, 30, 30),
    "orange": (240, 140, 20),
    "yellow": (235, 215, 30),
    "green": (30, 150, 60),
    "blue": (35, 75, 200),
    "purple": (125, 45, 165),
    "brown": (120, 75, 40),
    "pink": (240, 120, 175),
}


def label(image: Image.Image, text: str, share: float, rng: np.random.Generator) -> Image.Image:
    """`image` with a paper label of `share` of its pixels, `text` handwritten on it (blank if empty)."""
    font = next(font for font in load_fonts() if font.family == HANDWRITTEN)
    face = ImageFont.truetype(str(font.path), 100)
    left, top, right, bottom = face.getbbox(text or "word")
    aspect = (right - left + 30) / (bottom - top + 30)
    height = min(image.height, max(1.0, np.sqrt(share * image.width * image.height / aspect)))
    width = min(image.width, share * image.width * image.height / height)
    paper = Image.new("RGB", (round(right - left + 30), round(bottom - top + 30)), "white")
    if text:
        ImageDraw.Draw(paper).text((15 - left, 15 - top), text, font=face, fill="black")
    paper = paper.resize((max(1, round(width)), max(1, round(height))), Image.Resampling.LANCZOS)
    out = image.convert("RGB").copy()
    room = (max(0, out.width - paper.width), max(0, out.height - paper.height))
    out.paste(paper, (int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))))
    return out


def attack(
    model: Any,
    images: Sequence[Image.Image],
    truth: Sequence[int],
    names: Sequence[str],
    *,
    share: float = 0.1,
    seed: int = 0,
) -> dict[str, Any]:
    """How often a handwritten name of another concept turns the zero-shot answer.

    Only images that are named right without a label count. `to_the_word`: the answer is the written
    word; `lost`: it is no longer the truth; `lost_to_blank`: the same with an empty label, the control.
    """
    rng = np.random.default_rng(seed)
    classes = class_embeddings(model, names)
    own = np.asarray(truth)
    right = (embed(model, images) @ classes.T).argmax(1) == own
    kept = np.flatnonzero(right)
    others = (own[kept] + rng.integers(1, len(names), len(kept))) % len(names)
    if not len(kept):
        return {"images": len(own), "right_without": 0}
    written = [label(images[i], names[o], share, rng) for i, o in zip(kept, others, strict=True)]
    blank = [label(images[i], "", share, rng) for i in kept]
    after = (embed(model, written) @ classes.T).argmax(1)
    control = (embed(model, blank) @ classes.T).argmax(1)
    return {
        "images": len(own),
        "right_without": len(kept),
        "label_share": share,
        "to_the_word": rate(after == others),
        "lost": rate(after != own[kept]),
        "lost_to_blank": rate(control != own[kept]),
    }


def stroop(model: Any, *, prompt: str = STROOP_PROMPT) -> dict[str, Any]:
    """Names of colours in the ink of other colours: does it answer with the word or with the ink?"""
    names = list(COLOURS)
    prompts = model.encode_texts([prompt.format(name) for name in names])
    fonts = [font for font in load_fonts() if font.held_out]
    cells = [(word, ink) for word in names for ink in names if word != ink]
    images = [render_word(word, font, ink=COLOURS[ink]) for word, ink in cells for font in fonts]
    scores = (embed(model, images) @ prompts.T).reshape(len(cells), len(fonts), -1).mean(1)
    answers = [names[i] for i in scores.argmax(1)]
    return {
        "cells": len(cells),
        "reads_the_word": rate([a == word for a, (word, _) in zip(answers, cells, strict=True)]),
        "names_the_ink": rate([a == ink for a, (_, ink) in zip(answers, cells, strict=True)]),
        "chance": round(1 / len(names), 4),
    }
