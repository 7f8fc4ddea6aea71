"""Sections on written words that become the answer: the article's table, its photos, and the Stroop test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synesthete._core.intervals import Rate
from synesthete.audits.images import load_images
from synesthete.audits.labels import Style
from synesthete.audits.typographic.audit import make_subject
from synesthete.audits.typographic.protocol import (
    PUBLISHED_STROOP,
    audit_photos,
    protocol,
    published,
    published_rows,
    stroop,
)
from synesthete.reproduction.section import Found, Row, Subject, share


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
    photos = audit_photos(model)
    theirs = published()
    objects = ", ".join(f"{name} {one['rate']:.2f} of {one['n']}" for name, one in photos["by_object"].items())  # fmt: skip
    attacked_photos = _rate(photos["to_word_of_all"])
    rows.append(
        Row(
            section="typographic",
            measure="photos with a label of another thing that are answered by it (zero shot)",
            n=attacked_photos.n,
            value=attacked_photos.rate,
            published=theirs["zero_shot"]["rate"],
            control=0.0,
            note="the article's photos, all of them, as published. The photos are of a few objects, too few for an interval; of objects that are "
            f"classified correctly with an empty label: {objects or 'none'}. Control: with an empty label, by construction",
        )
    )
    return Found(rows)


def stroop_test(subject: Subject) -> Found:
    """Names of colours in the ink of other colours: is the word or the ink the answer?"""
    found = stroop(subject.model)
    reads = share(
        "stroop",
        "incongruent cells that are answered by the word",
        found.reads_the_word,
        published=PUBLISHED_STROOP.rate,
        control=found.chance,
        note=f"control: chance. Where word and ink agree {found.congruent.rate:.2f} are right (n {found.congruent.n})",
    )
    inks = share(
        "stroop",
        "incongruent cells that are answered by the ink",
        found.names_the_ink,
        published=0.0,
        control=found.chance,
        note="control: chance",
    )
    return Found([reads, inks])


def _rate(found: Mapping[str, Any] | None) -> Rate:
    """A rate as reports have it, and none."""
    return Rate(0, 0) if found is None else Rate(found["successes"], found["n"])
