"""The published experiments (Goh et al. 2021) on this model: attack table, labelled photos, Stroop test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from synesthete._core.arrays import Bool, Float32
from synesthete._core.intervals import Rate
from synesthete._core.user_files import read_inside
from synesthete.audits.images import FEWEST, Model, embed
from synesthete.audits.labels import BLACK, LETTER_PX, WHITE, find_font
from synesthete.audits.typographic.attack import Classifier, Subject, ZeroShot
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import decode
from synesthete.probes.words import Colour, has_letters, load_fonts, render_line, render_word
from synesthete.published import table

DATA = Path(__file__).parent.parent / "data"
SHIPPED = DATA / "labelled-photos"
FONT = "Open Sans"
COLUMNS, LINES = 2, 4  # eight places
OUTLINE = 9  # pixels around letters of LETTER_PX, so that they stand out of any ground
BLANK = "blank"
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
TEMPLATES = ("a photo of a {}", "a photo of the {}", "{}")
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
PUBLISHED_STROOP = Rate(49, 49)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of the published table.

    Attributes
    ----------
    target, text
        The class that is aimed at, and what was written.
    names
        Names under which other sets of images may have the target.
    rate, n
        Published success of the attack on a linear probe of RN50x4.
    share
        Published mean share of changed pixels.
    """

    target: str
    text: str
    names: tuple[str, ...]
    rate: float
    n: int
    share: float


@lru_cache(maxsize=1)
def published_rows() -> tuple[Published, ...]:
    """The published table (Goh et al. 2021, CC-BY-4.0)."""
    rows = table("typographic")["attacks"]
    return tuple(Published(**row | {"names": tuple(row["names"])}) for row in rows)


def eightfold(image: Image.Image, text: str, share: float) -> tuple[Image.Image, float]:
    """The text at eight places of the image, outlined, so large that about `share` of the pixels change.

    Returns
    -------
    tuple
        The image, and the share of pixels that the text covers: smaller where eight texts do not fit.
    """
    edge, ink, covered = _overlay(text, share, image.size)
    out = image.convert("RGB").copy()
    out.paste(BLACK, (0, 0, *image.size), edge)
    out.paste(WHITE, (0, 0, *image.size), ink)
    return out, covered


@lru_cache(maxsize=64)
def _overlay(
    text: str, share: float, size: tuple[int, int]
) -> tuple[Image.Image, Image.Image, float]:
    """Masks of outlines and of letters, and the share of pixels that they touch."""
    _, mask = render_line(text, find_font(FONT), letter_px=LETTER_PX, margin=0.15)
    halo = mask.filter(ImageFilter.MaxFilter(OUTLINE))
    cell = (size[0] / COLUMNS, size[1] / LINES)
    largest = min(cell[0] / mask.width, cell[1] / mask.height)
    scale = largest
    # Soft edges touch more pixels the smaller the letters are, so the size is found by trying.
    for _ in range(6):
        edge, ink = (_tiled(part, scale, cell, size) for part in (halo, mask))
        covered = float((np.asarray(edge) > 0).mean())
        scale = min(largest, scale * (share / max(covered, 1e-6)) ** 0.5)
    return edge, ink, covered


def _tiled(
    part: Image.Image, scale: float, cell: tuple[float, float], size: tuple[int, int]
) -> Image.Image:
    """A mask in the middle of each cell."""
    small = part.resize(
        (max(1, round(part.width * scale)), max(1, round(part.height * scale))),
        Image.Resampling.BOX,
    )
    out = Image.new("L", size)
    for column in range(COLUMNS):
        for line in range(LINES):
            left = round(column * cell[0] + (cell[0] - small.width) / 2)
            top = round(line * cell[1] + (cell[1] - small.height) / 2)
            out.paste(small, (left, top))
    return out


def protocol(subject: Subject) -> list[dict[str, Any]]:
    """Ours beside the published, row by row.

    As published, every image counts whose answer was not the target before, whether it was right or not. By zero
    shot the target is one class more where the images have none of it; the linear probe knows only what there were
    images of. `control` counts the images on which one of the other rows' texts was written.
    """
    image_set = subject.image_set
    every = np.arange(len(image_set.images))
    drawn: dict[Published, tuple[Float32, float]] = {}
    for row in published_rows():
        if has_letters(row.text, find_font(FONT)):
            images, shares = zip(
                *(eightfold(image, row.text, row.share) for image in image_set.images), strict=True
            )
            drawn[row] = embed(subject.model, images), float(np.mean(shares))
    rows = []
    for row in published_rows():
        measured: dict[str, Any] = {
            "target": row.target,
            "text": row.text,
            "published": Rate(round(row.rate * row.n), row.n).as_dict(),
            "published_share": round(row.share, 4),
            "share": None,
            "zero_shot": None,
            "linear_probe": None,
            "control": {},
            "why": "",
        }
        rows.append(measured)
        if row not in drawn:
            measured["why"] = f"{FONT} has no letters for it"
            continue
        measured["share"] = round(drawn[row][1], 4)
        number = next(
            (image_set.classes.index(n) for n in row.names if n in image_set.classes), None
        )
        names = [*image_set.classes] if number is not None else [*image_set.classes, row.names[0]]
        target = len(names) - 1 if number is None else number
        probe = subject.classifiers.get("linear_probe")
        classifiers: dict[str, Classifier] = {"zero_shot": ZeroShot.of(subject.model, names)}
        if probe is None or number is None or not probe.known[number]:
            measured["why"] = f"the linear probe had no image of {row.names[0]}"
        else:
            classifiers["linear_probe"] = probe
        for name, classifier in classifiers.items():
            free = classifier.answers(subject.features, every) != target
            found = {
                text: classifier.answers(embeddings, every)[free] == target
                for text, (embeddings, _) in drawn.items()
            }
            measured[name] = Rate.of(found.pop(row)).as_dict()
            measured["control"][name] = Rate.of([*found.values()]).as_dict()
    return rows


@dataclass(frozen=True)
class Photo:
    """One photo and what its name says of it."""

    path: Path
    thing: str
    label: str


def labelled_photos(folder: Path) -> list[Photo]:
    """The photos of a folder whose names are all `OBJECT-LABEL`, or none.

    Underscores stand for spaces. A folder is one of labelled photos when every image that lies directly in it is so
    named and at least one label is `blank`.
    """
    if not folder.is_dir():
        return []
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in ENDINGS]
    found = []
    for path in files:
        thing, label = thing_and_label(path.stem)
        if not thing or not label:
            return []
        found.append(Photo(path, thing, label))
    return found if any(photo.label == BLANK for photo in found) else []


def thing_and_label(stem: str) -> tuple[str, str]:
    """Of a name `OBJECT-LABEL`; empty, one or both, of another name."""
    thing, _, label = stem.replace("_", " ").rpartition("-")
    return thing.strip().lower(), label.strip().lower()


def read_photos(
    model: Model, photos: Sequence[Photo]
) -> tuple[list[Photo], list[Image.Image], dict[str, str]]:
    """The readable ones, as the model sees them, and why the others were left out."""
    kept, images, unreadable = [], [], {}
    for photo in photos:
        try:
            data = read_inside(photo.path.parent, photo.path)
            images.append(model.geometry(decode(data)))
        except SynestheteError as error:
            unreadable[photo.path.name] = str(error)
            continue
        kept.append(photo)
    return kept, images, unreadable


def audit_photos(model: Model, folder: Path | None = None) -> dict[str, Any]:
    """Zero-shot answers to labelled photos, among all things and labels of the folder.

    An object counts where its photo with the empty label is classified correctly; its other photos, labelled with another
    word, are then fooled when the answer is the label. A photo labelled with its own name is a control that is reported
    but does not count.

    Parameters
    ----------
    folder
        The user's; by default the shipped photos, beside whose rates the published ones stand.

    Raises
    ------
    SynestheteError
        Fewer than 30 photos that can be read, one object, no empty label.
    """
    place = folder or SHIPPED
    photos, images, unreadable = read_photos(model, labelled_photos(place))
    if len(photos) < FEWEST:
        raise SynestheteError(
            f"{len(photos)} labelled photos can be used in {place}, and an audit needs {FEWEST}",
            hint="name them OBJECT-LABEL.jpg, one of each object OBJECT-blank.jpg",
        )
    things = sorted({photo.thing for photo in photos})
    if len(things) < 2:
        raise SynestheteError(
            f"all photos in {place} are of one object, {things[0]!r}",
            hint="give photos of two things or more",
        )
    names = sorted({*things, *(photo.label for photo in photos)} - {BLANK})
    classifier = ZeroShot.of(model, names, TEMPLATES)
    numbers = classifier.answers(embed(model, images), np.arange(len(images)))
    answers = [names[number] for number in numbers]
    return _counted(photos, answers) | {
        "source": "photos of Goh et al. (2021)" if folder is None else str(folder),
        "classes": names,
        "unreadable": unreadable,
        "published": published() if folder is None else None,
        "answers": {photo.path.stem: answer for photo, answer in zip(photos, answers, strict=True)},
    }


def _counted(photos: Sequence[Photo], answers: Sequence[str]) -> dict[str, Any]:
    clean: dict[str, list[bool]] = {}
    for photo, answer in zip(photos, answers, strict=True):
        if photo.label == BLANK:
            clean.setdefault(photo.thing, []).append(answer == photo.thing)
    right = {thing for thing, found in clean.items() if all(found)}
    attacks = [
        (photo, answer)
        for photo, answer in zip(photos, answers, strict=True)
        if photo.label not in (BLANK, photo.thing)
    ]
    counted = [(photo, answer) for photo, answer in attacks if photo.thing in right]
    by_thing = {
        thing: Rate.of([a == p.label for p, a in counted if p.thing == thing]).as_dict()
        for thing in sorted(right)
    }
    own = [a == p.thing for p, a in zip(photos, answers, strict=True) if p.label == p.thing]
    return {
        "clean": Rate.of([all(found) for found in clean.values()]).as_dict(),
        "to_word": Rate.of([answer == photo.label for photo, answer in counted]).as_dict(),
        "lost": Rate.of([answer != photo.thing for photo, answer in counted]).as_dict(),
        "to_word_of_all": Rate.of([answer == photo.label for photo, answer in attacks]).as_dict(),
        "own_label": Rate.of(own).as_dict(),
        "excluded": len(attacks) - len(counted),
        "photos": len(photos),
        "by_object": by_thing,
    }


def published() -> dict[str, Any]:
    """What RN50x4 answered to these photos, of those published: by zero shot and by linear probe."""
    answers: Mapping[str, Mapping[str, Sequence[str]]] = table("typographic")["photos"]
    out = {}
    for name in ("zero_shot", "linear_probe"):
        flips = [
            row[name][0] == row["label_class"] for key, row in answers.items() if _attacks(key, row)
        ]
        out[name] = Rate.of(flips).as_dict()
    return out


def published_photos() -> set[tuple[str, str]]:
    """The photos of those answers, as object and label."""
    answers: Mapping[str, Mapping[str, Any]] = table("typographic")["photos"]
    return {thing_and_label(key) for key, row in answers.items() if _attacks(key, row)}


def _attacks(key: str, row: Mapping[str, Any]) -> bool:
    return row["label"] not in (BLANK, key.rpartition("-")[0])


@dataclass(frozen=True, kw_only=True)
class Stroop:
    """What was answered.

    Attributes
    ----------
    words_read, inks_named
        `[words, inks]`: whether a cell is answered by its word, and by its ink; both where they are the same.
    """

    words_read: Bool
    inks_named: Bool

    @property
    def incongruent(self) -> Bool:
        """`[words, inks]`: the cells of a word and another ink, which are counted."""
        return ~np.eye(len(self.words_read), dtype=bool)

    @property
    def cells(self) -> int:
        """How many they are."""
        return int(self.incongruent.sum())

    @property
    def reads_the_word(self) -> Rate:
        """Of these cells."""
        return Rate.of(self.words_read[self.incongruent])

    @property
    def names_the_ink(self) -> Rate:
        """Of these cells."""
        return Rate.of(self.inks_named[self.incongruent])

    @property
    def congruent(self) -> Rate:
        """The answer is the colour where word and ink are the same: the control, that it can do either at all."""
        return Rate.of(self.words_read.diagonal())

    @property
    def chance(self) -> float:
        """Of guessing."""
        return 1 / len(self.words_read)

    def as_dict(self) -> dict[str, Any]:
        """As reports have it, beside the published result."""
        return {
            "cells": self.cells,
            "reads_the_word": self.reads_the_word.as_dict(),
            "names_the_ink": self.names_the_ink.as_dict(),
            "congruent": self.congruent.as_dict(),
            "chance": round(self.chance, 4),
            "published_reads_the_word": PUBLISHED_STROOP.as_dict(),
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
    read, named = (hits.reshape(len(names), -1) for hits in (answers[:, None] == pairs).T)
    return Stroop(words_read=read, inks_named=named)
