"""Which units carry the attack: those that read a word and hardly see the thing, and what is left without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Float32, Float64, Int64
from synesthete._core.intervals import Rate
from synesthete.analysis.selectivity import auc_table
from synesthete.audits.images import embed, read_units
from synesthete.audits.labels import Style
from synesthete.audits.typographic.attack import Subject
from synesthete.probes.words import has_letters, load_fonts, render_word

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.models.image_text_model import ImageTextModel

SHARES = (0.01, 0.05, 0.1)
DRAWS = 3
LISTED = 20
FONTS_OF_HALF = 3


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """How far each unit reads words, and sees things.

    Attributes
    ----------
    concept
        `[units]`, the class whose written name the unit tells best, in the fonts of one half.
    word, image
        `[units]`, AUC for that class among words in the fonts of the other half, and among images; NaN where the
        class has no image, or nothing else.
    drive
        `[units]`, how much a label raises the unit above the empty label, in its standard deviations over images without and with
        labels: a unit that is silent without them has none without.
    score
        `[units]`, `(word - max(image, 0.5)) * drive`: great for a unit that tells the word, not the thing, and is
        raised by labels; 0 where one of these fails.
    """

    concept: Int64
    word: Float64
    image: Float64
    drive: Float64
    score: Float64

    @property
    def order(self) -> Int64:
        """Units, those that carry the attack most first; equal ones by number."""
        return np.argsort(-self.score, kind="stable").astype(np.int64)


def rate_units(
    words_a: tuple[Float32, Int64],
    words_b: tuple[Float32, Int64],
    images: tuple[Float32, Int64],
    labelled: Float32,
    blank: Float32,
    classes: int,
) -> Carriers:
    """From activations to carriers.

    Parameters
    ----------
    words_a, words_b
        Activations `[words, units]` of drawn words and their classes, in two halves of the fonts.
    images
        Activations `[images, units]` of images without labels, and their classes.
    labelled, blank
        Activations `[pairs, units]` of images with a word, and of the same with the empty label.
    """
    chosen = auc_table(*words_a, classes).auc
    best = np.where(np.isnan(chosen), -1.0, chosen).argmax(1)
    every = np.arange(len(best))
    word = np.asarray(auc_table(*words_b, classes).auc[every, best], np.float64)
    image = np.asarray(auc_table(*images, classes).auc[every, best], np.float64)
    shown = np.concatenate([images[0], labelled, blank])
    spread = np.maximum(shown.std(axis=0, dtype=np.float64), 1e-9)
    drive = (labelled.astype(np.float64) - blank).mean(axis=0) / spread
    reading = np.nan_to_num(word, nan=0.5) - np.maximum(np.nan_to_num(image, nan=0.5), 0.5)
    score = np.maximum(reading, 0.0) * np.maximum(drive, 0.0)
    return Carriers(concept=best.astype(np.int64), word=word, image=image, drive=drive, score=score)


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
    classes = subject.image_set.classes
    halves = [_word_images(classes, half) for half in range(2)]
    words = [(read_units(model, layer, images), codes) for images, codes in halves]
    seen = read_units(model, layer, subject.image_set.images)
    rows = [int(row) for row in subject.rows]
    names = [classes[t] for t in subject.targets]
    shown = [
        read_units(
            model,
            layer,
            [subject.labelled_image(row, names[row], style, blank=blank) for row in rows],
        )
        for blank in (False, True)
    ]
    found = rate_units(
        words[0], words[1], (seen, subject.image_set.truth), shown[0], shown[1], len(classes)
    )
    units = len(found.score)
    return {
        "layer": layer,
        "units": units,
        "listed": [_row(found, classes, layer, int(unit)) for unit in found.order[:LISTED]],
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
        row["random"] = {key: _pooled([one[key] for one in drawn]) for key in ("to_word", "clean")}
        rows.append(row)
    return rows


def _pooled(rates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Draws counted together."""
    return Rate(sum(one["successes"] for one in rates), sum(one["n"] for one in rates)).as_dict()


def _measured(subject: Subject, style: Style) -> dict[str, Any]:
    """Success among the images that were classified correctly before anything was switched off, and accuracy on all."""
    classifier = subject.classifiers["zero_shot"]
    every = np.arange(len(subject.image_set.images))
    clean = classifier.answers(embed(subject.model, subject.image_set.images), every)
    outcome = subject.outcome(subject.labelled(style), "zero_shot")
    return {
        "to_word": outcome.to_word.as_dict(),
        "clean": Rate.of(clean == subject.image_set.truth).as_dict(),
    }


def _off(model: ImageTextModel, layer: str, units: Sequence[int]) -> AbstractContextManager[None]:
    from synesthete.models.interventions import Change

    if not units:
        return nullcontext()
    return model.changed([Change(layer, tuple(units), scale=0.0)])


def _row(found: Carriers, classes: Sequence[str], layer: str, unit: int) -> dict[str, Any]:
    return {
        "address": f"{layer}:{unit}",
        "word": classes[found.concept[unit]],
        "word_selectivity": _number(found.word[unit]),
        "image_selectivity": _number(found.image[unit]),
        "drive": _number(found.drive[unit]),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _word_images(classes: Sequence[str], half: int) -> tuple[list[Image.Image], Int64]:
    """Every class's name in the fonts of one half."""
    fonts = load_fonts()[half::2][:FONTS_OF_HALF]
    images, codes = [], []
    for code, name in enumerate(classes):
        for font in fonts:
            if has_letters(name, font):
                images.append(render_word(name, font))
                codes.append(code)
    return images, np.array(codes, np.int64)
