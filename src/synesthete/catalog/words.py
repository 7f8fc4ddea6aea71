"""Words: what of an item full text is searched in, which words of a query an item has, and what filters compare with."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Sequence

from synesthete.catalog.encode import text_of, words_of
from synesthete.catalog.schema import Item

SEARCHED = 20_000  # characters of an item
QUERY_WORDS, LONGEST = 24, 40  # words of a query, and letters of one, as full text is indexed
SEPARATOR = "\x1f"  # between a name and its value
# Chosen on half of the products of benchmarks/catalog.py (--part words): what an item with all words of a text gains,
# beside a cosine, and what a misspelt word counts.
WORDS, MISSPELT = 1.5, 0.8
SHORTEST_MISSPELT, TWO_EDITS = 4, 8  # letters from which one wrong letter is forgiven, and two
_CODE = re.compile(r"(?=\S*\d)[^\W_]+(?:[-_./][^\W_]+)+")


def folded(text: str) -> str:
    """Lower case, and Latin letters without their accents.

    Examples
    --------
    >>> folded("Crème BRÛLÉE, яйцо")
    'creme brulee, яйцо'
    """
    if text.isascii():
        return text.casefold()
    plain = (unicodedata.normalize("NFD", letter)[0] for letter in text)
    pairs = zip(text, plain, strict=True)
    return "".join(base if base < "\x80" else letter for letter, base in pairs).casefold()


def searched(item: Item) -> str:
    r"""What full text is searched in: all texts of an item, its id, and codes in one piece, too.

    Examples
    --------
    >>> searched(Item("AB-12", title="Mug"))
    'Mug\nAB-12\nAB12'
    """
    text = f"{text_of(item)[:SEARCHED]}\n{item.id}"
    joined = dict.fromkeys(re.sub(r"[-_./]", "", code) for code in _CODE.findall(text))
    return "\n".join([text, *joined])


def query_words(texts: Sequence[str]) -> list[str]:
    """The words that a query asks for, each once, without articles and the like."""
    words = words_of(folded(" ".join(texts)))
    return [one for one in words if len(one) <= LONGEST][:QUERY_WORDS]


def forms(word: str) -> list[str]:
    """A word, and the English singular or plural that it may be of.

    Examples
    --------
    >>> forms("berries"), forms("mug")
    (['berries', 'berry'], ['mug', 'mugs'])
    """
    if word.endswith("ies") and len(word) > 4:
        return [word, word[:-3] + "y"]
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        return [word, word[:-1]]
    if word.endswith("y") and len(word) > 3:
        return [word, word[:-1] + "ies"]
    return [word, word + "s"] if word.isalpha() and len(word) > 2 else [word]


def edits(word: str) -> int:
    """How many wrong letters are forgiven in a word."""
    letters = len(word)
    return 0 if letters < SHORTEST_MISSPELT or not word.isalpha() else 1 + (letters >= TWO_EDITS)


def shared(words: Sequence[str], text: str) -> dict[str, str]:
    """Word of a query to the word of a text that it is, in another form or misspelt, too."""
    own = dict.fromkeys(words_of(folded(text)))
    found: dict[str, str] = {}
    for word in words:
        same = next((form for form in forms(word) if form in own), None)
        found |= {} if same is None else {word: same}
    missing = [one for one in words if one not in found]
    for word in missing:
        near = misspelt(word, own)
        if near is None and len(word) > 1 and not word.isascii() and word in folded(text):
            near = word  # of a language that puts no spaces between words
        found |= {} if near is None else {word: near}
    return found


def misspelt(word: str, others: Collection[str]) -> str | None:
    """The first of the words that differ from one by a wrong letter or two, after the first letter."""
    most = edits(word)
    if not most:
        return None
    for other in others:
        alike = abs(len(other) - len(word)) <= most and other[:1] == word[:1]
        if alike and distance(word, other, most) <= most:
            return other
    return None


def distance(one: str, other: str, most: int) -> int:
    """Letters to change, add or leave out (Levenshtein), or `most` + 1 where there are more.

    Examples
    --------
    >>> distance("aple", "apple", 1), distance("pear", "plum", 1)
    (1, 2)
    """
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        before, row[0] = row[0], at
        for place, against in enumerate(other, 1):
            value = min(row[place] + 1, row[place - 1] + 1, before + (letter != against))
            before, row[place] = row[place], value
        if min(row) > most:
            return most + 1
    return row[-1]


def facet(name: str, value: str) -> str:
    r"""A name with one of its values, as filters compare them: numbers as numbers, texts in lower case.

    Examples
    --------
    >>> facet("colour", " Red"), facet("size", "5")
    ('colour\x1fred', 'size\x1f5.0')
    """
    return f"{name}{SEPARATOR}{folded_value(value)}"


def folded_value(value: str) -> str:
    """A value as filters compare it."""
    number = as_number(value)
    return value.strip().casefold() if math.isnan(number) else repr(number)


def as_number(text: str) -> float:
    """A text as a number; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
