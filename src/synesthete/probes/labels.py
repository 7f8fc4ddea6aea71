"""The label table of a probe set: columns under their usual other names, and what is unknown."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Mapping

import pyarrow as pa

from synesthete.probes.probe_set import (
    COLUMNS,
    IMAGE_MODALITIES,
    MODALITIES,
    ORIGIN,
    TEXT,
    TEXT_MODALITIES,
)

# Other names under which data sets have the columns; the first that holds something counts.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "concept": ("concept", "label"),
    "modality": ("modality",),
    "artist": ("artist",),
    "caption": ("caption", "text"),
    "family": ("family",),
    "source": ("source",),
    "licence": ("licence", "license"),
    "author": ("author",),
    ORIGIN: (ORIGIN,),
}
DEFAULT_MODALITY = "photo"
DEFAULT_TEXT_MODALITY = "description"
# Far more than any model reads.
MAX_TEXT = 10_000
_SHOWN = 200
UNNAMED = "no concept is given for it: name the concept or leave the image out"


def modality_name(text: str) -> str:
    """The modality that a word or folder name stands for: `Photos` is `photo`.

    Examples
    --------
    >>> modality_name("Photos"), modality_name("x-ray")
    ('photo', 'x-ray')
    """
    plain = text.strip()
    singular = plain.casefold().removesuffix("s")
    return singular if singular in MODALITIES else plain


class LabelTable:
    """Collects the rows of a probe set column by column; `table` fills in what is unknown.

    A missing modality becomes `photo`, of a text `description`. A missing artist becomes one of two stand-ins, `unknown-a`
    and `unknown-b`: statistics that choose a concept on one half of the artists and score it on the
    other need two halves in which every concept appears. Within each concept and modality the images
    take turns between the two in the order of their keys' hashes, so the split is balanced and the
    same wherever and whenever the set is read. It separates images, not people: with such a set,
    "held out" means held-out images.

    Parameters
    ----------
    concepts
        Whether the set names concepts; then an image without one cannot be used.
    """

    def __init__(self, *, concepts: bool = True) -> None:
        self._named = concepts
        self.columns: dict[str, list[str]] = {name: [] for name in (*COLUMNS, TEXT, ORIGIN)}
        self.problems: dict[int, str] = {}
        self._seen: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.columns["key"])

    def add(
        self, key: str, values: Mapping[str, str], problem: str = "", text: str | None = None
    ) -> None:
        """Append an image or a text.

        Parameters
        ----------
        key
            Name of the image; a key met before gets `#2`, `#3`, ... behind it.
        values
            Column or alias to text.
        problem
            Why the image or text cannot be used, if that is known already.
        text
            The text; None for an image.
        """
        key = _as_unicode(key)
        self._seen[key] = self._seen.get(key, 0) + 1
        self.columns["key"].append(key if self._seen[key] == 1 else f"{key}#{self._seen[key]}")
        for column, aliases in ALIASES.items():
            label = next((t for a in aliases if (t := values.get(a, "").strip())), "")
            self.columns[column].append(_as_unicode(unicodedata.normalize("NFC", label)))
        modality = modality_name(self.columns["modality"][-1])
        default = DEFAULT_MODALITY if text is None else DEFAULT_TEXT_MODALITY
        self.columns["modality"][-1] = modality or default
        if text is None:
            self.columns[TEXT].append("")
            if modality in TEXT_MODALITIES:
                problem = problem or f"an image, and '{modality}' is a modality of texts"
        else:
            self.columns["caption"][-1] = ""
            text, wrong = usable_text(text)
            self.columns[TEXT].append(text)
            if modality in IMAGE_MODALITIES:
                wrong = wrong or f"a text, and '{modality}' is a modality of images"
            problem = problem or wrong
        if not problem and self._named and not self.columns["concept"][-1]:
            problem = UNNAMED
        if problem:
            self.problems[len(self) - 1] = problem

    def require_concepts(self) -> None:
        """An image without a concept cannot be used, if any has one: for readers that know only at the end."""
        concepts = self.columns["concept"]
        if any(concepts):
            for row, concept in enumerate(concepts):
                if not concept:
                    self.problems.setdefault(row, UNNAMED)

    def table(self) -> pa.Table:
        """The label table `[images, COLUMNS]`, all strings, and where there are texts `text` and any `origin`."""
        self._name_unknown_artists()
        texts = any(self.columns[TEXT]) or set(TEXT_MODALITIES) & set(self.columns["modality"])
        of_texts = [TEXT, ORIGIN] if any(self.columns[ORIGIN]) else [TEXT]
        names = [*COLUMNS, *of_texts] if texts else COLUMNS
        return pa.table({name: pa.array(self.columns[name], pa.string()) for name in names})

    def _name_unknown_artists(self) -> None:
        cells: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
        for row, artist in enumerate(self.columns["artist"]):
            if not artist:
                cell = (self.columns["concept"][row], self.columns["modality"][row])
                cells[cell].append((_hash(self.columns["key"][row]), row))
        for cell, members in cells.items():
            # Where the odd image goes is left to chance too, or half a would get all of them.
            start = int(_hash("\0".join(cell)), 16)
            for turn, (_, row) in enumerate(sorted(members)):
                self.columns["artist"][row] = f"unknown-{'ab'[(start + turn) % 2]}"


def usable_text(text: str) -> tuple[str, str]:
    r"""A text as it is kept, and why it cannot be used.

    Control characters become spaces; what is too long is kept by its beginning, to be recognised by.

    Examples
    --------
    >>> usable_text(" red\x00 fruit\n"), usable_text("\x07")
    (('red  fruit', ''), ('', 'an empty text: write one or leave it out'))
    """
    if len(text) > MAX_TEXT:
        shown, _ = usable_text(text[:_SHOWN])
        return shown, f"a text of {len(text):,} characters: at most {MAX_TEXT:,} are read"
    plain = "".join(" " if unicodedata.category(one) == "Cc" else one for one in text)
    kept = _as_unicode(unicodedata.normalize("NFC", plain)).strip()
    # Marks of direction and joiners alone show nothing.
    if not any(unicodedata.category(one) not in ("Cf", "Zs", "Zl", "Zp") for one in kept):
        return "", "an empty text: write one or leave it out"
    return kept, ""


def _as_unicode(text: str) -> str:
    """Text that any table can hold: file names need not be valid Unicode."""
    return text.replace("\0", " ").encode("utf-8", "backslashreplace").decode("utf-8")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
