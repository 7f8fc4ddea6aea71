"""A small typographic attack to search by: words of other classes written on pictures, in two splits that share nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete.audits.labels import Style, can_write, write_label
from synesthete.editing.defence.objective import Typographic
from synesthete.errors import SynestheteError
from synesthete.probes.words import load_fonts

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

FEWEST = 30
CLASSES = 100
# Area of a label by that of the picture.
SHARE = 0.2
MODALITIES = ("photo", "drawing")
INKS = ((0, 0, 0), (160, 20, 30), (20, 40, 140))


@dataclass(frozen=True)
class Split:
    """What one side of the search may see.

    Attributes
    ----------
    rows
        Images of the probe set.
    words
        Classes whose words are written.
    fonts
        Families of the fonts that they are written in.
    """

    rows: list[int]
    words: list[str]
    fonts: list[str]


def splits(
    probes: ProbeSet, unseen: npt.NDArray[np.bool_], classes: Sequence[str], seed: int
) -> tuple[Split, Split]:
    """The search split and the held-out split: other images, other words, other fonts.

    Parameters
    ----------
    unseen
        `[images]`: those that the model never saw in training, which the held-out split is made of; when that
        says nothing (all of them), half of the images at random.

    Raises
    ------
    SynestheteError
        Fewer than 30 images on a side, or fewer than four classes.
    """
    if len(classes) < 4:
        raise SynestheteError(
            f"{probes.name} has {len(classes)} classes; an attack needs two to search with and two to judge by"
        )
    rng = np.random.default_rng(seed)
    concept, modality = (np.array(probes.labels[c].to_pylist()) for c in ("concept", "modality"))
    pictured = (
        np.isin(modality, MODALITIES) if np.isin(modality, MODALITIES).any() else modality != "word"
    )
    usable = np.flatnonzero(pictured & np.isin(concept, classes))
    if unseen[usable].all():
        held = np.zeros(len(probes), bool)
        held[rng.permutation(usable)[: len(usable) // 2]] = True
    else:
        held = unseen
    words = rng.permutation(sorted(classes)).tolist()
    half = len(words) // 2
    fonts = load_fonts()
    made = []
    for here, some, judging in ((~held, words[:half], False), (held, words[half:], True)):
        rows = usable[here[usable]]
        if len(rows) < FEWEST:
            raise SynestheteError(
                f"{len(rows)} pictures of {probes.name} can be attacked; at least {FEWEST} are needed on each side"
            )
        own = [font.family for font in fonts if font.held_out == judging]
        made.append(Split(rng.permutation(rows).tolist(), some, own))
    return made[0], made[1]


def draw_style(fonts: Sequence[str], rng: np.random.Generator) -> Style:
    """A white label at a random place, in a font of these and one of three inks."""
    font = fonts[int(rng.integers(len(fonts)))]
    return Style(share=SHARE, font=font, ink=INKS[int(rng.integers(len(INKS)))])


def choose_classes(
    probes: ProbeSet, unseen: npt.NDArray[np.bool_], limit: int, seed: int
) -> list[str]:
    """The classes that pictures are named among: at most `limit`, those with most unseen pictures first."""
    concept, modality = (np.array(probes.labels[c].to_pylist()) for c in ("concept", "modality"))
    pictured = (
        np.isin(modality, MODALITIES) if np.isin(modality, MODALITIES).any() else modality != "word"
    )
    there = pictured & (concept != "")
    names, every = np.unique(concept[there], return_counts=True)
    judged = np.array([int((concept[there & unseen] == name).sum()) for name in names])
    order = np.random.default_rng(seed).permutation(len(names))
    counts = [(min(int(j), 2), min(int(e), 4)) for j, e in zip(judged, every, strict=True)]
    ranked = sorted(order.tolist(), key=lambda i: counts[i], reverse=True)
    return sorted(names[i] for i in ranked[:limit])


def attacked(
    model: ImageTextModel,
    probes: ProbeSet,
    split: Split,
    classes: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    *,
    limit: int,
    seed: int,
) -> Typographic:
    """The pictures of a split with and without words.

    Parameters
    ----------
    embeddings
        Text embeddings of the classes `[classes, dim]`.
    limit
        At most so many pictures, the same number of every class as far as they reach.

    Raises
    ------
    SynestheteError
        Fewer than 30 pictures can be read, or the model names none of them right.
    """
    import torch

    rng = np.random.default_rng(seed)
    number = {name: i for i, name in enumerate(classes)}
    concept = probes.labels["concept"].to_pylist()
    plain, marked, truth, target = [], [], [], []
    for row in _in_turns(split.rows, concept, limit):
        style = draw_style(split.fonts, rng)
        others = [w for w in split.words if w != concept[row] and can_write(w, style)]
        try:
            image = model.geometry(probes.image(row))
            word = others[int(rng.integers(len(others)))] if others else ""
            marked.append(model.preprocess(write_label(image, word, style, rng)))
        except SynestheteError:
            continue
        plain.append(model.preprocess(image))
        truth.append(number[concept[row]])
        target.append(number[word])
    if len(plain) < FEWEST:
        raise SynestheteError(f"{len(plain)} pictures can be read; at least {FEWEST} are needed")
    pixels = torch.stack(plain)
    scores = np.concatenate(
        [model.encode_images(pixels[i : i + 64]) @ embeddings.T for i in range(0, len(pixels), 64)]
    )
    own, written, rows = (
        np.array(truth, np.int64),
        np.array(target, np.int64),
        np.arange(len(truth)),
    )
    right = scores[rows, own] > scores[rows, written]
    if not right.any():
        raise SynestheteError(
            f"{model.name} names none of {len(own)} pictures right: there is nothing to attack"
        )
    scale = float(model.network.logit_scale.exp())
    return Typographic(
        torch.cat([pixels, torch.stack(marked)]), own, np.arange(len(own)), written, right, embeddings,
        scale,
    )  # fmt: skip


def _in_turns(rows: Sequence[int], concept: Sequence[str], limit: int) -> list[int]:
    """One of every class, then a second of every class, and so on, up to a limit."""
    seen: dict[str, int] = {}
    turns = []
    for place, row in enumerate(rows):
        turn = seen[concept[row]] = seen.get(concept[row], -1) + 1
        turns.append((turn, place, row))
    return [row for *_, row in sorted(turns)[:limit]]
