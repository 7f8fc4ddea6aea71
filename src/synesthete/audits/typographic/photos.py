"""Photos of real objects with real labels: `OBJECT-LABEL.jpg`, one photo of each object with an empty label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synesthete._core.json_reader import read_json
from synesthete._core.user_files import read_inside
from synesthete.audits.pictures import FEWEST, Model, embed
from synesthete.audits.rates import Rate
from synesthete.audits.typographic.heads import ZeroShot
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import decode

SHIPPED = Path(__file__).parent.parent / "data" / "labelled-photos"
PUBLISHED = Path(__file__).parent.parent / "data" / "published.json"
BLANK = "blank"
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
TEMPLATES = ("a photo of a {}", "a photo of the {}", "{}")


@dataclass(frozen=True)
class Photo:
    """One photo and what its name says of it."""

    path: Path
    thing: str
    label: str


def labelled_photos(folder: Path) -> list[Photo]:
    """The photos of a folder whose names are all `OBJECT-LABEL`, or none.

    Underscores stand for spaces. A folder is one of labelled photos when every picture that lies directly in it is so
    named and at least one label is `blank`.
    """
    if not folder.is_dir():
        return []
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in ENDINGS]
    found = []
    for path in files:
        thing, dash, label = path.stem.replace("_", " ").rpartition("-")
        if not dash or not thing or not label:
            return []
        found.append(Photo(path, thing.strip().lower(), label.strip().lower()))
    return found if any(photo.label == BLANK for photo in found) else []


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

    An object counts where its photo with the empty label is named right; its other photos, labelled with another
    word, are then fooled when the answer is the label. A photo labelled with its own name is a control that is told
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
    head = ZeroShot.of(model, names, TEMPLATES)
    answers = head.answers(embed(model, images), np.arange(len(images)))
    said = [names[answer] for answer in answers]
    return _counted(photos, said) | {
        "source": "photos of Goh et al. (2021)" if folder is None else str(folder),
        "classes": names,
        "unreadable": unreadable,
        "published": published() if folder is None else None,
        "answers": {photo.path.stem: answer for photo, answer in zip(photos, said, strict=True)},
    }


def _counted(photos: Sequence[Photo], said: Sequence[str]) -> dict[str, Any]:
    clean: dict[str, list[bool]] = {}
    for photo, answer in zip(photos, said, strict=True):
        if photo.label == BLANK:
            clean.setdefault(photo.thing, []).append(answer == photo.thing)
    right = {thing for thing, found in clean.items() if all(found)}
    attacks = [
        (photo, answer)
        for photo, answer in zip(photos, said, strict=True)
        if photo.label not in (BLANK, photo.thing)
    ]
    counted = [(photo, answer) for photo, answer in attacks if photo.thing in right]
    by_thing = {
        thing: Rate.of([a == p.label for p, a in counted if p.thing == thing]).as_dict()
        for thing in sorted(right)
    }
    own = [a == p.thing for p, a in zip(photos, said, strict=True) if p.label == p.thing]
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
    told: Mapping[str, Mapping[str, Sequence[str]]] = read_json(PUBLISHED)["photos"]
    out = {}
    for head in ("zero_shot", "linear_probe"):
        flips = [
            row[head][0] == row["label_class"]
            for key, row in told.items()
            if row["label"] not in (BLANK, key.rpartition("-")[0])
        ]
        out[head] = Rate.of(flips).as_dict()
    return out
