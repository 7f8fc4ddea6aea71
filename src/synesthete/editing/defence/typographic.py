"""A small typographic attack to search by: words of other classes written on images, in three splits that share nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Bool, Float32, Int64
from synesthete._core.intervals import paired_change
from synesthete.analysis.zero_shot import temperature
from synesthete.audits.images import in_turns
from synesthete.audits.labels import Style, can_write, write_label
from synesthete.editing.defence.objective import Evaluation, Measured, rate_of
from synesthete.errors import SynestheteError
from synesthete.probes.words import load_fonts

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

FEWEST, FEWEST_CLASSES = 30, 6
CLASSES = 100
# Area of a label by that of the image.
SHARE = 0.2
MODALITIES = ("photo", "drawing")
INKS = ((0, 0, 0), (160, 20, 30), (20, 40, 140))


@dataclass(frozen=True, kw_only=True)
class Typographic:
    """Images, and the same images with another class's word on them.

    Harm: how often the word is preferred to the truth, of the two, on images where the unedited model prefers the
    truth without the word. Kept: how often the plain images are classified correctly among all classes.

    Attributes
    ----------
    pixels
        The plain images, then the attacked ones.
    truth
        `[plain]` class of each plain image.
    of, target
        `[attacked]` the plain image that each attacked one was made of, and the class of the word.
    right
        `[attacked]` whether the unedited model prefers the truth on the plain image; the others are left out of the
        harm.
    classes
        Text embeddings `[classes, dim]`.
    scale
        The model's logit scale.
    """

    pixels: torch.Tensor
    truth: Int64
    of: Int64
    target: Int64
    right: Bool
    classes: Float32
    scale: float
    harm_name: str = "attack success"
    kept_name: str = "clean accuracy"

    def losses(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy of truth against word on attacked images, and of the truth among all classes on plain ones."""
        import torch
        import torch.nn.functional as F

        plain = len(self.truth)
        scores = self.scale * embeddings @ torch.from_numpy(self.classes).to(embeddings).T
        truth = torch.from_numpy(self.truth).to(scores.device)
        kept = F.cross_entropy(scores[:plain], truth)
        rows = np.flatnonzero(self.right)
        attacked = scores[plain + torch.from_numpy(rows)]
        word, own = (
            attacked.gather(1, torch.from_numpy(c[rows]).to(scores.device)[:, None])
            for c in (self.target, self.truth[self.of])
        )
        return F.softplus(word - own).mean(), kept

    def label_shares(self, grid: tuple[int, int]) -> torch.Tensor:
        """Share of each position of a grid that the label covers, `[attacked, rows, columns]`.

        The label is the rectangle around what differs from the plain image.
        """
        import torch.nn.functional as F

        plain = len(self.truth)
        differs = (self.pixels[plain:] != self.pixels[:plain][self.of]).any(1).float()
        # From the first to the last row and column with a difference.
        down, across = (
            differs.amax(axis).cummax(1).values
            * differs.amax(axis).flip(1).cummax(1).values.flip(1)
            for axis in (2, 1)
        )
        return F.adaptive_avg_pool2d(down[:, :, None] * across[:, None, :], grid)

    def survived(self, embeddings: Float32) -> Bool:
        """Which attacked images are still classified correctly among all classes, `[attacked]`."""
        scores = embeddings[len(self.truth) :] @ self.classes.T
        found: Bool = scores.argmax(1) == self.truth[self.of]
        return found

    def outcomes(self, embeddings: Float32) -> tuple[Bool, Bool]:
        """Which attacks on images that count succeed, and which plain images are classified correctly."""
        plain = len(self.truth)
        scores = embeddings @ self.classes.T
        rows = np.arange(len(self.of)) + plain
        fooled = scores[rows, self.target] >= scores[rows, self.truth[self.of]]
        return fooled[self.right], scores[:plain].argmax(1) == self.truth

    def evaluate(self, embeddings: Float32) -> Evaluation:
        """Rates with Wilson intervals."""
        fooled, named = self.outcomes(embeddings)
        return Evaluation(rate_of(fooled), rate_of(named))

    def change(self, before: Float32, after: Float32) -> Evaluation:
        """How far the rates move from one model's embeddings to another's, of the same images."""
        pairs = zip(self.outcomes(before), self.outcomes(after), strict=True)
        harm, kept = (Measured(*paired_change(one, other), len(one)) for one, other in pairs)
        return Evaluation(harm, kept)


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


def splits(probes: ProbeSet, unseen: Bool, classes: Sequence[str], seed: int) -> list[Split]:
    """The fitting, validation and test split: other images and other words, and the test in other fonts.

    Half of the images are for the test, a quarter each for the others; of the words each has a third.

    Parameters
    ----------
    unseen
        `[images]`: those that the model never saw in training, which all three splits are made of. On images that a model
        memorised, the gradients and the clean accuracy of a search are not those of other images.

    Raises
    ------
    SynestheteError
        Fewer than 30 images for the test, or fewer than six classes.
    """
    if len(classes) < FEWEST_CLASSES:
        raise SynestheteError(
            f"{probes.name} has {len(classes)} classes; an attack needs {FEWEST_CLASSES}: two to fit, two to validate and "
            "two to test with"
        )
    rng = np.random.default_rng(seed)
    concept, modality = (np.array(probes.labels[c].to_pylist()) for c in ("concept", "modality"))
    usable = np.flatnonzero(_can_be_attacked(modality) & np.isin(concept, classes) & unseen)
    rows = rng.permutation(usable)
    if len(rows) // 2 < FEWEST:
        raise SynestheteError(
            f"{len(rows)} images of {probes.name} can be attacked; at least {2 * FEWEST} are needed"
        )
    words = np.array_split(rng.permutation(sorted(classes)), 3)
    images = np.split(rows, [len(rows) // 4, len(rows) // 2])
    fonts = [[f.family for f in load_fonts() if f.held_out == test] for test in (False, True)]
    return [
        Split(part.tolist(), some.tolist(), fonts[place == 2])
        for place, (part, some) in enumerate(zip(images, words, strict=True))
    ]


def _can_be_attacked(modality: npt.NDArray[np.str_]) -> Bool:
    """`[images]`: photos and drawings; in a set without any, everything but words."""
    depicting = np.isin(modality, MODALITIES)
    return depicting if depicting.any() else modality != "word"


def draw_style(fonts: Sequence[str], rng: np.random.Generator) -> Style:
    """A white label at a random place, in a font of these and one of three inks."""
    font = fonts[int(rng.integers(len(fonts)))]
    return Style(share=SHARE, font=font, ink=INKS[int(rng.integers(len(INKS)))])


def choose_classes(probes: ProbeSet, unseen: Bool, limit: int, seed: int) -> list[str]:
    """The classes that images are named among: at most `limit`, those with most unseen images first."""
    concept, modality = (np.array(probes.labels[c].to_pylist()) for c in ("concept", "modality"))
    there = _can_be_attacked(modality) & (concept != "")
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
    embeddings: Float32,
    *,
    limit: int,
    seed: int,
) -> Typographic:
    """The images of a split with and without words.

    Parameters
    ----------
    embeddings
        Text embeddings of the classes `[classes, dim]`.
    limit
        At most so many images, the same number of every class as far as they reach.

    Raises
    ------
    SynestheteError
        Fewer than 15 images can be read, or the model classifies none of them correctly.
    """
    import torch

    rng = np.random.default_rng(seed)
    number = {name: i for i, name in enumerate(classes)}
    concept = probes.labels["concept"].to_pylist()
    plain, marked, truth, target = [], [], [], []
    for row in in_turns(split.rows, concept)[:limit].tolist():
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
    if len(plain) < FEWEST // 2:
        raise SynestheteError(f"{len(plain)} images can be read; at least {FEWEST // 2} are needed")
    pixels = torch.stack(plain)
    scores = np.concatenate(
        [model.encode_images(pixels[i : i + 64]) @ embeddings.T for i in range(0, len(pixels), 64)]
    )
    own, written = np.array(truth, np.int64), np.array(target, np.int64)
    rows = np.arange(len(own))
    right = scores[rows, own] > scores[rows, written]
    if not right.any():
        raise SynestheteError(
            f"{model.name} classifies none of {len(own)} images correctly: there is nothing to attack"
        )
    return Typographic(
        pixels=torch.cat([pixels, torch.stack(marked)]),
        truth=own,
        of=np.arange(len(own)),
        target=written,
        right=right,
        classes=embeddings,
        scale=temperature(model),
    )
