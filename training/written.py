"""Written words: about the middle, small and anywhere, or on an image of something else."""

from __future__ import annotations

import numpy as np

from training import words
from training.corpus import Corpus
from training.sources import TILE
from training.warping import ink_and_ground, scale_of, warp


def write(text: str, corpus: Corpus, rng: np.random.Generator) -> np.ndarray:
    return words.mask(text, corpus.fonts[int(rng.integers(len(corpus.fonts)))], rng)


def small(text: str, rng: np.random.Generator) -> float:
    """A scale at which a word fills a small part of the image, five pixels or more to a letter at 128 pixels."""
    longest = max(map(len, text.split()), default=1)
    return float(rng.uniform(min(0.7, max(0.3, 0.045 * longest)), 0.75))


def room_of(shown: np.ndarray, scale: float) -> tuple[float, float]:
    """How far what is not 0 in `shown` can move and stay on the image, across and down, at least a little."""
    across, down = (np.nonzero(shown.any(axis))[0] for axis in (0, 1))
    widths = [(ends[-1] - ends[0] + 1) / TILE if len(ends) else 1.0 for ends in (across, down)]
    return (max(0.04, (1 - scale * widths[0]) / 2), max(0.04, (1 - scale * widths[1]) / 2))


def word(text: str, corpus: Corpus, size: int, rng: np.random.Generator) -> np.ndarray:
    """A written word, uint8 `[size, size, 3]`: about the middle, or small and anywhere."""
    mask = write(text, corpus, rng)
    if size >= 96 and rng.random() < corpus.small_share:
        scale = small(text, rng)
        cover = warp(mask, size, rng, scale, reach=room_of(mask, scale))
    else:
        cover = warp(mask, size, rng, scale_of(size, rng, power=1.5))
    ink, ground = ink_and_ground(rng)
    part = (cover.astype(np.float32) / 255)[..., None]
    return (ink * part + ground * (1 - part)).astype(np.uint8)


def sticker(
    image: np.ndarray,
    text: str,
    corpus: Corpus,
    rng: np.random.Generator,
    *,
    blank: bool = False,
) -> np.ndarray:
    """`image` `[size, size, 3]` with a word on it: on a paper label, or written straight onto the image.

    With `blank` it is the paper that `text` would need, without the word.
    """
    mask = write(text, corpus, rng)
    ink, ground = ink_and_ground(rng)
    paper = np.zeros_like(mask)
    if blank or rng.random() < 0.75:
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        margin = int(rng.integers(3, 9))
        top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
        paper[top : rows[-1] + margin, left : columns[-1] + margin] = 255
    if blank:
        mask = np.zeros_like(mask)
    size = image.shape[0]
    layers = np.stack([mask, paper], axis=-1)
    scale = small(text, rng)
    room = room_of(np.maximum(mask, paper), scale)
    layers = warp(layers, size, rng, scale, reach=room).astype(np.float32) / 255
    under = image + (ground - image) * layers[..., 1:]
    return (under + (ink - under) * layers[..., :1]).astype(np.uint8)
