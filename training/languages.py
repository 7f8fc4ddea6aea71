"""Names of the concepts in other languages, from the Unicode CLDR annotations that `emojibase-data` carries.

A concept gets a name where its own name is an emoji's English short name; flags and other emoji without one are left out.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from training import tables

LANGUAGES = ("de", "es", "fr", "it", "nl", "pt", "sv")


def _short_names(data: Path, language: str) -> dict[str, str]:
    emoji = json.loads((data / language / "data.json").read_text(encoding="utf-8"))
    return {e["hexcode"]: e["label"].lower() for e in emoji}


def names(packages: Path, concepts: list[str]) -> list[tuple[str, str, str]]:
    """Rows `concept, language, name` from `packages/emojibase-data`; names that equal the English one are left out."""
    data = packages / "emojibase-data"
    of = {label: code for code, label in _short_names(data, "en").items()}
    rows = []
    for language in LANGUAGES:
        known = _short_names(data, language)
        for concept in concepts:
            name = known.get(of.get(concept, ""), "")
            if name and name != concept:
                rows.append((concept, language, name))
    return rows


def read(path: Path) -> dict[str, list[str]]:
    """All names of each concept in `path`, as `write` left them; nothing if there is no such file."""
    found: dict[str, list[str]] = {}
    if path.exists():
        for row in tables.rows(path):
            found.setdefault(row["concept"], []).append(row["name"])
    return found


def write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([("concept", "language", "name"), *rows])
