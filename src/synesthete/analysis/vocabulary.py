"""Vocabularies: the words that a unit may be named by."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from synesthete._core.user_files import decoded, read_named
from synesthete.errors import SynestheteError, near

CONCEPTS, ENGLISH, NOUNS = "concepts", "english", "wordnet-nouns"
BUILT_IN = (CONCEPTS, ENGLISH, NOUNS)
ENGLISH_WORDS = 20_000
LONGEST = 200  # characters; a longer line is not a word
CONTROLS = ("Cc", "Co", "Cs")


def load_vocabulary(spec: str, concepts: Sequence[str] = ()) -> list[str]:
    """Words of a vocabulary, in its order, without doubles.

    Parameters
    ----------
    spec
        `concepts`, those of the atlas; `english`, the 20,000 commonest English words (the package
        wordfreq, Speer 2022); `wordnet-nouns`, the 20,000 commonest nouns of WordNet; or a text file in
        UTF-8, one word or phrase per line, `#` for comments.
    concepts
        The atlas's own.

    Raises
    ------
    SynestheteError
        No such vocabulary or file, fewer than two words, a line that is not text or too long.
    """
    if spec == CONCEPTS:
        words = list(concepts)
    elif spec == ENGLISH:
        from wordfreq import top_n_list

        words = [item for item in top_n_list("en", ENGLISH_WORDS + 2000) if item.isalpha()]
        words = words[:ENGLISH_WORDS]
    elif spec == NOUNS:
        from synesthete.analysis.families.definitions import nouns

        words = nouns()
    else:
        words = _read(Path(spec))
    if len(words) < 2:
        found = "is empty" if not words else f"has only {words[0]!r}"
        raise SynestheteError(
            f"the vocabulary {spec} {found}",
            hint="two words or more are needed: --vocabulary english, wordnet-nouns or a file",
        )
    return words


def _read(path: Path) -> list[str]:
    if not path.is_file():
        hint = near(str(path), BUILT_IN) or f"give a file, or one of {', '.join(BUILT_IN)}"
        raise SynestheteError(f"there is no vocabulary {path}", hint=hint)
    lines = decoded(read_named(path), path).splitlines()
    words: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        word = " ".join(unicodedata.normalize("NFC", line).split())
        if not word or word.startswith("#"):
            continue
        # Joiners that scripts and emoji need are not controls, whatever str.isprintable says.
        if len(word) > LONGEST or any(unicodedata.category(c) in CONTROLS for c in word):
            raise SynestheteError(f"line {number} of {path} is not a word: {word[:40]!r}")
        words.setdefault(word)
    return list(words)
