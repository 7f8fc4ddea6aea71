"""Sections on written words that become the answer: the article's table, its photos, and the Stroop test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from synesthete._core.intervals import Rate
from synesthete.audits.images import load_images
from synesthete.audits.labels import Style
from synesthete.audits.typographic.audit import make_subject
from synesthete.audits.typographic.protocol import (
    BLANK,
    PUBLISHED_STROOP,
    audit_photos,
    protocol,
    published,
    published_photos,
    published_rows,
    stroop,
    thing_and_label,
)
from synesthete.reproduction.section import Found, Row, Subject, pooled_row, share


def typographic(subject: Subject) -> Found:
    """Target ← text at the published areas, a handwritten label, and photos with labels."""
    model = subject.model
    aims = [name for row in published_rows() for name in row.names]
    image_set = load_images(
        model, model.name, None, limit=subject.settings.images, seed=subject.seed, prefer=aims
    )
    attacked, _ = make_subject(model, image_set, seed=subject.seed)
    subject.say(f"writes on {len(image_set.images)} images")
    rows = []
    for found in protocol(attacked):
        for kind in ("linear_probe", "zero_shot"):
            by = kind.replace("_", " ")
            note = "control: the other texts of the table, leading to this target"
            rows.append(
                share(
                    "typographic",
                    f"{found['target']} ← {found['text']}, by {by}",
                    _rate(found[kind]),
                    published=found["published"]["rate"] if kind == "linear_probe" else None,
                    control=_rate(found["control"].get(kind)).rate,
                    note=note if found[kind] else found["why"],
                )
            )
    labelled = attacked.labelled(Style(), blank=True)
    outcome = attacked.outcome(labelled, "zero_shot")
    rows.append(
        share(
            "typographic",
            "a handwritten label on a tenth of the image becomes the answer (zero shot)",
            outcome.to_word,
            control=None if outcome.to_word_blank is None else outcome.to_word_blank.rate,
            note="of images that are classified correctly without it; control: an empty label. Not measured in the article",
        )
    )
    return Found(rows + _photos(audit_photos(model), subject.seed))


def _photos(found: Mapping[str, Any], seed: int) -> list[Row]:
    """The article's photos: those whose answers it shows, and all of them, by object."""
    answers = {thing_and_label(name): answer for name, answer in found["answers"].items()}
    attacked = {
        (thing, label)
        for thing, label in answers
        if label not in (thing, BLANK) and (thing, BLANK) in answers
    }
    by_object = ", ".join(f"{name} {one['rate']:.2f} of {one['n']}" for name, one in found["by_object"].items())  # fmt: skip
    rows = []
    for which, keys, theirs in (
        ("whose answers the article shows", attacked & published_photos(), published()["zero_shot"]["rate"]),
        ("of the article's repository", attacked, None),
    ):  # fmt: skip
        listed = sorted(keys)
        things = sorted({thing for thing, _ in listed})
        blank = [answers[thing, BLANK] == label for thing, label in listed]
        rows.append(
            pooled_row(
                "typographic",
                f"photos {which}, labelled as another thing, that are answered by the label (zero shot)",
                [[answers[key] == key[1] for key in listed if key[0] == thing] for thing in things],
                seed=seed,
                published=theirs,
                control=float(np.mean(blank)) if blank else None,
                note=f"of {len(things)} objects, interval over them, whether they are classified correctly with an empty label or not; of those that are: "
                f"{by_object or 'none'}. Control: that same name given to the same object with an empty label",
            )
        )
    return rows


def stroop_test(subject: Subject) -> Found:
    """Names of colours in the ink of other colours: is the word or the ink the answer?"""
    found = stroop(subject.model)
    reads, inks = (
        pooled_row(
            "stroop",
            f"incongruent cells that are answered by the {what}",
[cells[apart] for cells, apart in zip(hits, found.incongruent, strict=True)],
            seed=subject.seed,
            published=theirs,
            control=found.chance,
            note="interval over words; control: chance",
        )
        for what, hits, theirs in (
            ("word", found.words_read, PUBLISHED_STROOP.rate),
            ("ink", found.inks_named, 0.0),
        )
    )  # fmt: skip
    congruent = (
        f". Where word and ink agree {found.congruent.rate:.2f} are right (n {found.congruent.n})"
    )
    return Found([replace(reads, note=reads.note + congruent), inks])


def _rate(found: Mapping[str, Any] | None) -> Rate:
    """A rate as reports have it, and none."""
    return Rate(0, 0) if found is None else Rate(found["successes"], found["n"])
