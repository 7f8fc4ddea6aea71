"""An item's words cut into pieces that a text tower can read, each with what it counts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synesthete.catalog.types import Item

WORDS_PER_PIECE = 20  # so that a piece fits the context of small text towers, too
LETTERS_PER_PIECE = 300
PIECES, REVIEW_PIECES = 24, 24
TITLE, CATEGORY, ATTRIBUTES, DESCRIPTION, REVIEWS = 1.0, 0.5, 0.25, 0.5, 0.25

_SENTENCE = re.compile(r"(?<=[.!?;。！？؟])\s+|\n+")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Articles, prepositions and the like say nothing of what two texts share.
_COMMON = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "has",
        "have",
        "in",
        "into",
        "is",
        "it",
        "its",
        "not",
        "of",
        "on",
        "or",
        "that",
        "the",
        "their",
        "this",
        "to",
        "was",
        "were",
        "which",
        "while",
        "will",
        "with",
        "without",
        "you",
        "your",
        "our",
        "we",
        "they",
    ]
)


def pieces_of(item: Item) -> list[tuple[str, float]]:
    """Pieces of an item's texts with their weights.

    Title 1, category ½, description ½ over its pieces, attributes ¼ over theirs, reviews ¼ over theirs; of a long
    description or many reviews, 24 pieces spread evenly from first to last.

    Examples
    --------
    >>> pieces_of(Item("1", title="Blue mug", description="Holds tea. Holds coffee."))
    [('Blue mug', 1.0), ('Holds tea.', 0.25), ('Holds coffee.', 0.25)]
    """
    found: list[tuple[str, float]] = []
    for texts, weight, most in (
        ([item.title], TITLE, 2),
        ([item.category], CATEGORY, 1),
        ([item.description], DESCRIPTION, PIECES),
        ([f"{key} {', '.join(v)}" for key, v in item.attributes.items()], ATTRIBUTES, PIECES),
        (item.reviews, REVIEWS, REVIEW_PIECES),
    ):
        pieces = spread([piece for text in texts for piece in cut(text)], most)
        found += [(piece, weight / len(pieces)) for piece in pieces]
    return found


def cut(text: str) -> list[str]:
    """A text in sentences, and long ones in runs of words."""
    pieces = []
    # What lies beyond is the same book; its first half million letters tell what it is about.
    for sentence in _SENTENCE.split(text[:500_000]):
        words = sentence.split()
        for start in range(0, len(words), WORDS_PER_PIECE):
            piece = " ".join(words[start : start + WORDS_PER_PIECE])
            pieces += [
                piece[at : at + LETTERS_PER_PIECE] for at in range(0, len(piece), LETTERS_PER_PIECE)
            ]
    return pieces


def spread(values: Sequence[str], most: int) -> list[str]:
    """At most so many values, evenly from first to last.

    Examples
    --------
    >>> spread(["a", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    if len(values) <= most:
        return list(values)
    if most == 1:
        return [values[0]]
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, in order, each once, without the commonest.

    Examples
    --------
    >>> words_of("The blue mug, and a BLUE saucer")
    ['blue', 'mug', 'saucer']
    """
    words = (word.casefold() for word in _WORD.findall(text[:500_000]))
    return list(dict.fromkeys(word for word in words if word not in _COMMON))


def text_of(item: Item) -> str:
    """All of an item's words, one after another."""
    values = [f"{key} {', '.join(v)}" for key, v in item.attributes.items()]
    parts = [item.title, item.category, item.description, *values, *item.reviews]
    return "\n".join(part for part in parts if part)
