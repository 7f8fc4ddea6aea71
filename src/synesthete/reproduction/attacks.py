"""Sections on written words that become the answer: the article's table, its photos, and the Stroop test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synesthete.audits.images import load_images
from synesthete.audits.labels import Style
from synesthete.audits.typographic.audit import make_subject
from synesthete.audits.typographic.protocol import (
    audit_photos,
    protocol,
    published,
    published_rows,
    stroop,
)
from synesthete.reproduction.section import Found, Row, Subject


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
        kind = "linear_probe" if found["linear_probe"] else "zero_shot"
        note = f"by {kind.replace('_', ' ')}; published: by linear probe; control: the other texts of the table, leading to this target"
        rows.append(
            _row(
                f"{found['target']} ← {found['text']}",
                found[kind],
                published=found["published"]["rate"],
                control=(found["control"] or {}).get(kind),
                note="; ".join(filter(None, [note, found["why"]])) if found[kind] else found["why"],
            )
        )
    labelled = attacked.labelled(Style(), blank=True)
    outcome = attacked.outcome(labelled, "zero_shot")
    rows.append(
        _row(
            "a handwritten label on a tenth of the image becomes the answer (zero shot)",
            outcome.to_word.as_dict(),
            control=None if outcome.to_word_blank is None else outcome.to_word_blank.as_dict(),
            note="of images that are classified correctly without it; control: an empty label. Not measured in the article",
        )
    )
    photos = audit_photos(model)
    theirs = published()
    rows.append(
        _row(
            "photos whose object is classified correctly with an empty label, and as the label with one (zero shot)",
            photos["to_word"],
            published=theirs["zero_shot"]["rate"],
            note="the article's photos; published: of all its photos. Control: by construction 0 with an empty label",
            control={"rate": 0.0},
        )
    )
    return Found(rows)


def stroop_test(subject: Subject) -> Found:
    """Names of colours in the ink of other colours: is the word or the ink the answer?"""
    found = stroop(subject.model).as_dict()
    reads = _row(
        "incongruent cells that are answered by the word",
        found["reads_the_word"],
        published=found["published_reads_the_word"]["rate"],
        control={"rate": found["chance"]},
        note=f"control: chance. Where word and ink agree {found['congruent']['rate']:.2f} are right (n {found['congruent']['n']})",
        section="stroop",
    )
    inks = _row(
        "incongruent cells that are answered by the ink",
        found["names_the_ink"],
        published=0.0,
        control={"rate": found["chance"]},
        note="control: chance",
        section="stroop",
    )
    return Found([reads, inks])


def _row(
    measure: str,
    rate: Mapping[str, Any] | None,
    *,
    published: float | None = None,
    control: Mapping[str, Any] | None = None,
    note: str = "",
    section: str = "typographic",
) -> Row:
    there = rate is not None and rate["rate"] is not None
    return Row(
        section=section,
        measure=measure,
        n=int(rate["n"]) if rate is not None else 0,
        value=rate["rate"] if rate is not None else None,
        interval=tuple(rate["interval"]) if rate is not None and there else None,
        published=published,
        control=None if control is None else control["rate"],
        note=note or ("" if there else "nothing to count"),
    )
