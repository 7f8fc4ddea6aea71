"""One thing changed at a time: the attack by area, font, place, colour, contrast, case and language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from synesthete._core.yaml_reader import read_yaml
from synesthete.audits.labels import BLACK, PLACES, WHITE, Style, contrast
from synesthete.audits.typographic.attack import Labelled, Outcome, Subject
from synesthete.errors import SynestheteError
from synesthete.probes.words import CASES, Colour, load_fonts

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

Progress = Callable[[str], None]


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
        Head → outcome.
    skipped
        Words that the font has no letters for.
    """

    value: str
    style: Style
    outcomes: dict[str, Outcome]
    skipped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As reports have it."""
        told: dict[str, Any] = {"value": self.value, "skipped": list(self.skipped)}
        for head, outcome in self.outcomes.items():
            told[head] = outcome_dict(outcome)
        return told


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
            outcomes = {head: subject.outcome(shown, head) for head in subject.heads}
            out[factor].append(Row(value, style, outcomes, shown.skipped))
    out["language"] = languages(subject, base, translations())
    return out


def languages(subject: Subject, base: Style, table: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """The target's name in other languages, on the pictures whose target has a translation.

    The font is the package's first where the base font lacks letters.
    """
    targets = [subject.pictures.classes[t] if t >= 0 else "" for t in subject.targets]
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
            outcomes = {head: subject.outcome(shown, head) for head in subject.heads}
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
