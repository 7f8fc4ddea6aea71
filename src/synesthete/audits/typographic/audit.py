"""The typographic audit: the attack in one style, and in every style that differs in one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.intervals import Rate
from synesthete._core.yaml_reader import read_yaml
from synesthete.audits.images import LIMIT, ImageSet, Model, data_uri, embed, load_images
from synesthete.audits.labels import BLACK, PLACES, WHITE, Style, contrast
from synesthete.audits.typographic.attack import (
    Classifier,
    Labelled,
    LinearProbe,
    Outcome,
    Subject,
    ZeroShot,
)
from synesthete.audits.typographic.carriers import find_carriers
from synesthete.audits.typographic.protocol import (
    audit_photos,
    labelled_photos,
    protocol,
    published_rows,
    stroop,
)
from synesthete.errors import SynestheteError
from synesthete.probes.words import CASES, Colour, load_fonts

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

EXAMPLES = 6
Progress = Callable[[str], None]
AREAS = (0.02, 0.05, 0.1, 0.2, 0.4)
COLOURS: dict[str, tuple[Colour, Colour | None]] = {
    "black on white": (BLACK, WHITE),
    "white on black": (WHITE, BLACK),
    "red on white": ((200, 20, 20), WHITE),
    "blue on yellow": ((20, 50, 170), (250, 220, 60)),
    "black, no paper": (BLACK, None),
    "white, no paper": (WHITE, None),
}
GREYS = (0, 118, 170, 220)
TRANSLATIONS = Path(__file__).parent.parent / "data" / "translations.yaml"


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
        How words are written by default.
    limit
        At most so many images.
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
        Images that cannot be used: too few, of one class, unreadable.
    """
    say = progress or (lambda message: None)
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
    image_set = load_images(model, model.name, images, limit=limit, seed=seed, prefer=aims)
    say(f"{len(image_set.images)} images of {len(image_set.classes)} classes")
    subject, missing = make_subject(model, image_set, seed=seed)
    found = attack_images(subject, style or Style(), progress=say)
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


def make_subject(model: Model, image_set: ImageSet, *, seed: int = 0) -> tuple[Subject, str]:
    """The model with both classifiers, or with zero shot alone and the reason."""
    features = embed(model, image_set.images)
    classifiers: dict[str, Classifier] = {"zero_shot": ZeroShot.of(model, image_set.classes)}
    missing = ""
    try:
        probe = LinearProbe.of(model, image_set, features)
        if probe.known.sum() >= 2:
            classifiers["linear_probe"] = probe
        else:
            missing = "fewer than two classes have images for both folds"
    except SynestheteError as error:
        missing = str(error)
    return Subject(model, image_set, classifiers, features, seed=seed), missing


def attack_images(
    subject: Subject, style: Style, *, progress: Progress | None = None
) -> dict[str, Any]:
    """The attack in the given style and in every style that differs in one thing."""
    image_set = subject.image_set
    shown = subject.labelled(style, blank=True)
    outcomes = {name: subject.outcome(shown, name) for name in subject.classifiers}
    clean = {
        name: Rate.of(right).as_dict() | {"chance": round(1 / len(image_set.classes), 4)}
        for name, right in subject.right.items()
    }
    base = outcomes["zero_shot"]
    return _headline(clean["zero_shot"], base.to_word.as_dict()) | {
        "images": image_set.described(),
        "style": style.as_dict(),
        "clean": clean,
        "excluded": {name: int((~right).sum()) for name, right in subject.right.items()},
        "skipped_words": list(shown.skipped),
        "classifiers": {name: outcome_dict(outcome) for name, outcome in outcomes.items()},
        "by": {
            factor: [row.as_dict() for row in rows]
            for factor, rows in sweep(subject, style, progress=progress).items()
        },
        "examples": _examples(subject, style),
    }


def _headline(clean: dict[str, Any], success: dict[str, Any]) -> dict[str, Any]:
    return {
        "clean_accuracy": clean["rate"],
        "success_rate": success["rate"],
        "n": success["n"],
        "interval": success["interval"],
    }


def _examples(subject: Subject, style: Style) -> list[dict[str, Any]]:
    """A few attacked images and what was answered, fooled ones first."""
    classifier, classes = subject.classifiers["zero_shot"], subject.image_set.classes
    rows = [int(row) for row in np.flatnonzero(subject.right["zero_shot"])]
    shown = subject.labelled(style)
    answer = dict(
        zip(
            shown.rows.tolist(),
            classifier.answers(shown.embeddings, shown.rows).tolist(),
            strict=True,
        )
    )
    rows = [row for row in rows if row in answer]
    rows.sort(key=lambda row: (answer[row] != subject.targets[row], row))
    return [
        {
            "truth": classes[subject.image_set.truth[row]],
            "word": classes[subject.targets[row]],
            "answer": classes[answer[row]],
            "image": data_uri(subject.labelled_image(row, classes[subject.targets[row]], style)),
        }
        for row in rows[:EXAMPLES]
    ]


@dataclass(frozen=True)
class Row:
    """One style of a sweep.

    Attributes
    ----------
    value
        What was changed, as people read it.
    style
        The whole style.
    outcomes
        Classifier → outcome.
    skipped
        Words that the font has no letters for.
    """

    value: str
    style: Style
    outcomes: dict[str, Outcome]
    skipped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As reports have it."""
        row: dict[str, Any] = {"value": self.value, "skipped": list(self.skipped)}
        for name, outcome in self.outcomes.items():
            row[name] = outcome_dict(outcome)
        return row


def outcome_dict(outcome: Outcome) -> dict[str, Any]:
    """An outcome as reports have it; a control that was not shown is null."""
    pairs = {
        "to_word": outcome.to_word,
        "lost": outcome.lost,
        "to_word_blank": outcome.to_word_blank,
        "lost_to_blank": outcome.lost_to_blank,
    }
    return {key: None if rate is None else rate.as_dict() for key, rate in pairs.items()}


def styles(base: Style) -> dict[str, dict[str, Style]]:
    """Factor → value → style: each differs from `base` in one thing."""
    return {
        "area": {f"{share:.0%}": replace(base, share=share) for share in AREAS},
        "font": {
            f"{font.family} ({font.style})": replace(base, font=font.family)
            for font in load_fonts()
        },
        "place": {place: replace(base, place=place) for place in PLACES},
        "colour": {
            name: replace(base, ink=ink, paper=paper) for name, (ink, paper) in COLOURS.items()
        },
        "contrast": {
            f"{contrast((grey,) * 3, WHITE):.1f} : 1": replace(base, ink=(grey,) * 3, paper=WHITE)
            for grey in GREYS
        },
        "case": {case: replace(base, case=case) for case in CASES},
    }


def sweep(
    subject: Subject, base: Style, *, progress: Progress | None = None
) -> dict[str, list[Row]]:
    """Every factor's rows. Styles that occur twice are shown once; areas have the control of empty labels."""
    known: dict[Style, Labelled] = {}
    out: dict[str, list[Row]] = {}
    for factor, values in styles(base).items():
        out[factor] = []
        for value, style in values.items():
            if progress is not None:
                progress(f"{factor}: {value}")
            if style not in known:
                known[style] = subject.labelled(style, blank=factor == "area")
            shown = known[style]
            outcomes = {name: subject.outcome(shown, name) for name in subject.classifiers}
            out[factor].append(Row(value, style, outcomes, shown.skipped))
    out["language"] = languages(subject, base, translations())
    return out


def languages(subject: Subject, base: Style, table: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """The target's name in other languages, on the images whose target has a translation.

    The font is the package's first where the base font lacks letters.
    """
    targets = [subject.image_set.classes[t] if t >= 0 else "" for t in subject.targets]
    translated = [table.get(name, {}) for name in targets]
    codes = sorted({code for row in translated for code in row})
    style = replace(base, font=load_fonts()[0].family)
    rows = []
    for code in ["en", *codes] if codes else []:
        words = [
            (name if code == "en" else row.get(code, "")) if row else ""
            for name, row in zip(targets, translated, strict=True)
        ]
        shown = subject.labelled(style, words)
        if len(shown.rows):
            outcomes = {name: subject.outcome(shown, name) for name in subject.classifiers}
            rows.append(Row(code, style, outcomes, shown.skipped))
    return rows


@lru_cache(maxsize=1)
def translations() -> dict[str, dict[str, str]]:
    """Name → language → word, for common things."""
    return read_translations(TRANSLATIONS)


def read_translations(path: Path) -> dict[str, dict[str, str]]:
    """A table of translations in YAML: `apple: {de: Apfel, fr: pomme}`.

    Raises
    ------
    SynestheteError
        No such file, or another form.
    """
    table = read_yaml(path)
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise SynestheteError(
            f"{path} is no table of translations", hint="write for example: apple: {de: Apfel}"
        )
    return {
        str(name): {str(code): str(word) for code, word in row.items()}
        for name, row in table.items()
    }
