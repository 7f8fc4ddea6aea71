"""Which units carry the attack: those that read a word and hardly see the thing, and what is left without them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synesthete.analysis.selectivity import auc_table
from synesthete.audits.labels import Style
from synesthete.audits.pictures import Float32, Int64, embed, read_units
from synesthete.audits.rates import Rate
from synesthete.audits.typographic.attack import Subject
from synesthete.probes.words import has_letters, load_fonts, render_word

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.models.image_text_model import ImageTextModel

Float64 = npt.NDArray[np.float64]
SHARES = (0.01, 0.05, 0.1)
DRAWS = 3
LISTED = 20
FONTS_OF_HALF = 3


@dataclass(frozen=True)
class Carriers:
    """How far each unit reads words, and sees things.

    Attributes
    ----------
    concept
        `[units]`, the class whose written name the unit tells best, in the fonts of one half.
    word, picture
        `[units]`, AUC for that class among words in the fonts of the other half, and among pictures; NaN where the
        class has no picture, or nothing else.
    drive
        `[units]`, how much a label raises the unit above the empty label, in its standard deviations over pictures without and with
        labels: a unit that is silent without them has none without.
    score
        `[units]`, `(word - max(picture, 0.5)) * drive`: great for a unit that tells the word, not the thing, and is
        raised by labels; 0 where one of these fails.
    """

    concept: Int64
    word: Float64
    picture: Float64
    drive: Float64
    score: Float64

    @property
    def order(self) -> Int64:
        """Units, those that carry the attack most first; equal ones by number."""
        return np.argsort(-self.score, kind="stable").astype(np.int64)


def rate_units(
    words_a: tuple[Float32, Int64],
    words_b: tuple[Float32, Int64],
    pictures: tuple[Float32, Int64],
    labelled: Float32,
    blank: Float32,
    classes: int,
) -> Carriers:
    """From activations to carriers.

    Parameters
    ----------
    words_a, words_b
        Activations `[words, units]` of drawn words and their classes, in two halves of the fonts.
    pictures
        Activations `[images, units]` of pictures without labels, and their classes.
    labelled, blank
        Activations `[pairs, units]` of pictures with a word, and of the same with the empty label.
    """
    chosen = auc_table(*words_a, classes).auc
    best = np.where(np.isnan(chosen), -1.0, chosen).argmax(1)
    every = np.arange(len(best))
    word = np.asarray(auc_table(*words_b, classes).auc[every, best], np.float64)
    picture = np.asarray(auc_table(*pictures, classes).auc[every, best], np.float64)
    shown = np.concatenate([pictures[0], labelled, blank])
    spread = np.maximum(shown.std(axis=0, dtype=np.float64), 1e-9)
    drive = (labelled.astype(np.float64) - blank).mean(axis=0) / spread
    reading = np.nan_to_num(word, nan=0.5) - np.maximum(np.nan_to_num(picture, nan=0.5), 0.5)
    score = np.maximum(reading, 0.0) * np.maximum(drive, 0.0)
    return Carriers(best.astype(np.int64), word, picture, drive, score)


def find_carriers(
    subject: Subject,
    model: ImageTextModel,
    style: Style,
    *,
    layer: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The units that carry the attack, and the attack and the clean accuracy with them switched off.

    The control is the same count of units drawn at random (mean of `DRAWS` draws).
    """
    layer = layer or model.default_layers[0]
    classes = subject.pictures.classes
    halves = [_word_pictures(classes, half) for half in range(2)]
    words = [(read_units(model, layer, images), codes) for images, codes in halves]
    seen = read_units(model, layer, subject.pictures.images)
    rows = [int(row) for row in subject.rows]
    names = [classes[t] for t in subject.targets]
    shown = [
        read_units(
            model, layer, [subject.picture(row, names[row], style, blank=blank) for row in rows]
        )
        for blank in (False, True)
    ]
    found = rate_units(
        words[0], words[1], (seen, subject.pictures.truth), shown[0], shown[1], len(classes)
    )
    units = len(found.score)
    return {
        "layer": layer,
        "units": units,
        "listed": [_told(found, classes, layer, int(unit)) for unit in found.order[:LISTED]],
        "without": _without(subject, model, style, layer, found, seed),
    }


def _without(
    subject: Subject,
    model: ImageTextModel,
    style: Style,
    layer: str,
    found: Carriers,
    seed: int,
) -> list[dict[str, Any]]:
    """Attack and clean accuracy with more and more units off, beside as many random ones."""
    rng = np.random.default_rng(seed)
    units, rows = len(found.score), [{"units": 0, "share": 0.0} | _measured(subject, style)]
    for share in SHARES:
        count = max(1, round(share * units))
        row: dict[str, Any] = {"units": count, "share": share}
        with _off(model, layer, found.order[:count].tolist()):
            row |= _measured(subject, style)
        drawn = []
        for _ in range(DRAWS):
            with _off(model, layer, rng.choice(units, count, replace=False).tolist()):
                drawn.append(_measured(subject, style))
        row["random"] = {
            key: Rate(sum(d[key]["successes"] for d in drawn), sum(d[key]["n"] for d in drawn)).as_dict()
            for key in ("to_word", "clean")
        }  # fmt: skip
        rows.append(row)
    return rows


def _measured(subject: Subject, style: Style) -> dict[str, Any]:
    """Success among the pictures that were named right before anything was switched off, and accuracy on all."""
    head = subject.heads["zero_shot"]
    every = np.arange(len(subject.pictures.images))
    clean = head.answers(embed(subject.model, subject.pictures.images), every)
    outcome = subject.outcome(subject.labelled(style), "zero_shot")
    return {
        "to_word": outcome.to_word.as_dict(),
        "clean": Rate.of(clean == subject.pictures.truth).as_dict(),
    }


def _off(model: ImageTextModel, layer: str, units: Sequence[int]) -> AbstractContextManager[None]:
    from synesthete.models.interventions import Change

    if not units:
        return nullcontext()
    return model.changed([Change(layer, tuple(units), scale=0.0)])


def _told(found: Carriers, classes: Sequence[str], layer: str, unit: int) -> dict[str, Any]:
    return {
        "address": f"{layer}:{unit}",
        "word": classes[found.concept[unit]],
        "word_selectivity": _number(found.word[unit]),
        "picture_selectivity": _number(found.picture[unit]),
        "drive": _number(found.drive[unit]),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _word_pictures(classes: Sequence[str], half: int) -> tuple[list[Image.Image], Int64]:
    """Every class's name in the fonts of one half."""
    fonts = load_fonts()[half::2][:FONTS_OF_HALF]
    images, codes = [], []
    for code, name in enumerate(classes):
        for font in fonts:
            if has_letters(name, font):
                images.append(render_word(name, font))
                codes.append(code)
    return images, np.array(codes, np.int64)
