"""The typographic audit: everything that can be asked about words on pictures, in one result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete.audits.examples import data_uri
from synesthete.audits.labels import Style
from synesthete.audits.pictures import LIMIT, Model, Pictures, embed, load_pictures
from synesthete.audits.rates import Rate
from synesthete.audits.typographic.attack import Subject
from synesthete.audits.typographic.carriers import find_carriers
from synesthete.audits.typographic.heads import Head, LinearProbe, ZeroShot
from synesthete.audits.typographic.photos import audit_photos, labelled_photos
from synesthete.audits.typographic.protocol import protocol, published_rows
from synesthete.audits.typographic.stroop import stroop
from synesthete.audits.typographic.sweeps import outcome_dict, sweep
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

EXAMPLES = 6
Progress = Callable[[str], None]


def audit_typographic(
    model: ImageTextModel,
    images: str | Path | None = None,
    *,
    style: Style | None = None,
    limit: int = LIMIT,
    layer: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How easily a written word becomes the answer.

    Parameters
    ----------
    images
        A probe set of the user's (`FOLDER/CONCEPT/IMAGE`), or a folder of photos of labelled things
        (`OBJECT-LABEL.jpg`), or None for the built-in ones.
    style
        How words are written where nothing else is said.
    limit
        At most so many pictures.
    layer
        Where the units that carry the attack are looked for.

    Returns
    -------
    dict
        `clean_accuracy`, `success_rate`, `n` and `interval` are of zero-shot answers to the style; the rest is in
        docs/audits.md.

    Raises
    ------
    SynestheteError
        Pictures that cannot be used: too few, of one class, unreadable.
    """
    say = progress or (lambda told: None)
    if layer is not None:
        model.layer(layer)
    if images is not None and labelled_photos(Path(images)):
        say("labelled photos")
        photos = audit_photos(model, Path(images))
        say("Stroop")
        return _headline(photos["clean"], photos["to_word"]) | {
            "photos": photos,
            "stroop": stroop(model).as_dict(),
        }
    aims = [name for row in published_rows() for name in row.names]
    pictures = load_pictures(model, model.name, images, limit=limit, seed=seed, prefer=aims)
    say(f"{len(pictures.images)} pictures of {len(pictures.classes)} classes")
    subject, missing = make_subject(model, pictures, seed=seed)
    found = attack_pictures(subject, style or Style(), progress=say)
    if missing:
        found["linear_probe_missing"] = missing
    say("target ← text")
    found["published"] = protocol(subject)
    say("labelled photos")
    found["photos"] = audit_photos(model)
    say("Stroop")
    found["stroop"] = stroop(model).as_dict()
    if subject.right["zero_shot"].any():
        say("units that carry the attack")
        found["carriers"] = find_carriers(subject, model, style or Style(), layer=layer, seed=seed)
    return found


def make_subject(model: Model, pictures: Pictures, *, seed: int = 0) -> tuple[Subject, str]:
    """The model with both heads, or with zero shot alone and the reason."""
    features = embed(model, pictures.images)
    heads: dict[str, Head] = {"zero_shot": ZeroShot.of(model, pictures.classes)}
    missing = ""
    try:
        probe = LinearProbe.of(model, pictures, features)
        if probe.known.sum() >= 2:
            heads["linear_probe"] = probe
        else:
            missing = "fewer than two classes have pictures for both folds"
    except SynestheteError as error:
        missing = str(error)
    return Subject(model, pictures, heads, features, seed=seed), missing


def attack_pictures(
    subject: Subject, style: Style, *, progress: Progress | None = None
) -> dict[str, Any]:
    """The attack in the given style and in every style that differs in one thing."""
    pictures = subject.pictures
    shown = subject.labelled(style, blank=True)
    outcomes = {head: subject.outcome(shown, head) for head in subject.heads}
    clean = {
        head: Rate.of(right).as_dict() | {"chance": round(1 / len(pictures.classes), 4)}
        for head, right in subject.right.items()
    }
    base = outcomes["zero_shot"]
    return _headline(clean["zero_shot"], base.to_word.as_dict()) | {
        "pictures": pictures.described(),
        "style": style.as_dict(),
        "clean": clean,
        "excluded": {
            head: int((~right).sum()) for head, right in subject.right.items()
        },
        "skipped_words": list(shown.skipped),
        "heads": {head: outcome_dict(outcome) for head, outcome in outcomes.items()},
        "by": {
            factor: [row.as_dict() for row in rows]
            for factor, rows in sweep(subject, style, progress=progress).items()
        },
        "examples": _examples(subject, style),
    }  # fmt: skip


def _headline(clean: dict[str, Any], success: dict[str, Any]) -> dict[str, Any]:
    return {
        "clean_accuracy": clean["rate"],
        "success_rate": success["rate"],
        "n": success["n"],
        "interval": success["interval"],
    }


def _examples(subject: Subject, style: Style) -> list[dict[str, Any]]:
    """A few attacked pictures and what was answered, fooled ones first."""
    head, classes = subject.heads["zero_shot"], subject.pictures.classes
    rows = [int(row) for row in np.flatnonzero(subject.right["zero_shot"])]
    shown = subject.labelled(style)
    answer = dict(
        zip(shown.rows.tolist(), head.answers(shown.embeddings, shown.rows).tolist(), strict=True)
    )
    rows = [row for row in rows if row in answer]
    rows.sort(key=lambda row: (answer[row] != subject.targets[row], row))
    return [
        {
            "truth": classes[subject.pictures.truth[row]],
            "word": classes[subject.targets[row]],
            "answer": classes[answer[row]],
            "picture": data_uri(subject.picture(row, classes[subject.targets[row]], style)),
        }
        for row in rows[:EXAMPLES]
    ]
