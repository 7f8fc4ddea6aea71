"""One training example: an image or a word, warped and coloured, with the text it should be near."""

from __future__ import annotations

import cv2
import numpy as np

from training.corpus import Corpus
from training.images import image
from training.restyling import mirrors
from training.warping import LUMA, ink_and_ground
from training.written import sticker, word


def swatch(rgb: tuple[int, int, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """A patch of about this colour: a disc or a turned rectangle on another ground, or the whole image."""
    colour = np.clip(rng.normal(rgb, 9), 0, 255).astype(np.uint8).tolist()
    ground = rng.choice([255, 255, 128, 0]) if rng.random() < 0.7 else None
    if ground is None or abs(float(np.dot(rgb, LUMA)) - ground) < 30:
        return np.full((size, size, 3), colour, np.uint8)
    out = np.full((size, size, 3), ground, np.uint8)
    centre = tuple((size / 2 + rng.uniform(-0.12, 0.12, 2) * size).tolist())
    extent = tuple((rng.uniform(0.35, 0.95, 2) * size).tolist())
    turned = (centre, extent, float(rng.uniform(0, 180)))
    if rng.random() < 0.5:
        cv2.ellipse(out, turned, colour, -1)
    else:
        cv2.fillPoly(out, [cv2.boxPoints(turned).astype(np.int32)], colour)
    return out


def several(count: int, tile: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """`count` small copies of a symbol's tile in different cells of a 3 x 3 grid."""
    side = size // 3
    small = cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA)[..., 3:]
    cover = np.zeros((size, size, 1), np.float32)
    for cell in rng.permutation(9)[:count]:
        top, left = cell // 3 * side, cell % 3 * side
        cover[top : top + side, left : left + side] = small / 255
    ink, ground = ink_and_ground(rng)
    return (ink * cover + ground * (1 - cover)).astype(np.uint8)


def result(corpus: Corpus, size: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A colour or a number of things, with its row of the bank."""
    if rng.random() < 0.5 or not corpus.counts or not corpus.symbols:
        text, rgb = corpus.colours[int(rng.integers(len(corpus.colours)))]
        return swatch(rgb, size, rng), text
    text, count = corpus.counts[int(rng.integers(len(corpus.counts)))]
    row = corpus.symbols[int(rng.integers(len(corpus.symbols)))]
    return several(count, corpus.tiles[row], size, rng), text


def _name(concept: int, corpus: Corpus, rng: np.random.Generator) -> str:
    also = corpus.other_names[concept] if corpus.other_names else []
    if also and rng.random() < corpus.other_name_share:
        return also[int(rng.integers(len(also)))]
    return corpus.names[concept]


def shown(
    corpus: Corpus, row: int, size: int, rng: np.random.Generator, *, mirrored: bool = False
) -> np.ndarray:
    """The image of a row: before a photograph if it is a drawing, with the fine part of another image, where there are such."""
    behind = None
    if corpus.grounds:
        behind = corpus.tiles[corpus.grounds[int(rng.integers(len(corpus.grounds)))]]
    beside = None
    if corpus.others:
        beside = corpus.tiles[corpus.others[int(rng.integers(len(corpus.others)))]]
    modality = corpus.modality[row]
    return image(
        corpus.tiles[row], modality, size, rng, mirrored=mirrored, behind=behind, beside=beside
    )


def _what(corpus: Corpus, rng: np.random.Generator) -> tuple[int, str]:
    """A concept and the way it is shown: photographs as often as `photo_share` asks, the rest by the concept's cases."""
    if corpus.photographed and rng.random() < corpus.photo_share:
        return corpus.photographed[int(rng.integers(len(corpus.photographed)))], "photo"
    concept = int(rng.integers(len(corpus.names)))
    cases = corpus.cases[concept]
    return concept, cases[int(rng.integers(len(cases)))]


Example = tuple[np.ndarray, int, int, int, int, int]
"""An image and, -1 where there is none: its concept, a second concept written on it, its row of the bank, in `Corpus.spelt` what
is written, and in `Corpus.described` the image it is."""


def draw(corpus: Corpus, size: int, rng: np.random.Generator) -> Example:
    """One example. Words are put on images of other things only where they are legible, from 96 pixels."""
    if rng.random() < corpus.concept_share:
        concept, case = _what(corpus, rng)
        if case == "word":
            name = _name(concept, corpus, rng)
            return word(name, corpus, size, rng), concept, -1, -1, corpus.spelt[name], -1
        hands = corpus.hands[concept][case]
        rows = hands[int(rng.integers(len(hands)))]
        row = rows[int(rng.integers(len(rows)))]
        image = shown(corpus, row, size, rng, mirrored=mirrors(corpus.names[concept]))
        if size >= 96 and rng.random() < corpus.sticker_share:
            other = int(rng.integers(len(corpus.names)))
            blank = bool(rng.random() < corpus.blank_share)
            name = corpus.names[other]
            image = sticker(image, name, corpus, rng, blank=blank)
            if not blank:
                return image, concept, other, -1, corpus.spelt[name], -1
        return image, concept, -1, -1, -1, corpus.described.get(row, -1)
    if corpus.colours and rng.random() < corpus.synthetic_share:
        image, text = result(corpus, size, rng)
        return image, -1, -1, text, -1, -1
    if rng.random() < corpus.word_share or not corpus.others_by_modality:
        text = corpus.vocabulary[int(rng.integers(len(corpus.vocabulary)))]
        written = corpus.bank[text]
        return word(written, corpus, size, rng), -1, -1, text, corpus.spelt[written], -1
    # By text and not by image: a thousand stars of the clip art, and hundreds of icons, share a title each.
    texts = corpus.others_by_modality[int(rng.integers(len(corpus.others_by_modality)))]
    rows = texts[int(rng.integers(len(texts)))]
    row = rows[int(rng.integers(len(rows)))]
    image = shown(corpus, row, size, rng)
    return image, -1, -1, corpus.bank_of_image[row], -1, corpus.described.get(row, -1)
