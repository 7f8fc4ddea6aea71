"""Text of unknown origin: what no file, database or terminal can hold is found before it gets there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from synesthete.errors import SynestheteError

MAX_NAME = 512
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def has_lone_surrogate(text: str) -> bool:
    r"""Whether `text` holds half of a UTF-16 pair, which cannot be encoded as UTF-8.

    Examples
    --------
    >>> has_lone_surrogate("\ud83d"), has_lone_surrogate("😀")
    (True, False)
    """
    return not text.isascii() and _LONE_SURROGATE.search(text) is not None


def any_lone_surrogate(value: Any) -> bool:
    """Whether a string anywhere in lists and dictionaries has a lone surrogate in it."""
    if isinstance(value, str):
        return has_lone_surrogate(value)
    if isinstance(value, dict):
        return any(any_lone_surrogate(key) or any_lone_surrogate(one) for key, one in value.items())
    return isinstance(value, list) and any(map(any_lone_surrogate, value))


def check_name(name: object, what: str, *, max_length: int = MAX_NAME) -> str:
    r"""A name, stripped: of a concept, an item, a person, a layer, a file.

    Parameters
    ----------
    name
        Of any type; only a string passes.
    what
        What it names, for the message, such as `the concept`.
    max_length
        In characters.

    Raises
    ------
    SynestheteError
        No string, empty, too long, or with control characters or lone surrogates in it.

    Examples
    --------
    >>> check_name(" apple ", "the concept")
    'apple'
    >>> check_name("a\0b", "the concept")
    Traceback (most recent call last):
    ...
    synesthete.errors.SynestheteError: the concept 'a\x00b' contains control characters
    """
    if not isinstance(name, str):
        raise SynestheteError(f"{what} must be a string, not {type(name).__name__}")
    stripped = name.strip()
    if not stripped:
        raise SynestheteError(f"{what} is empty")
    if len(stripped) > max_length:
        raise SynestheteError(f"{what} has {len(stripped):,} characters; at most {max_length:,}")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in stripped):
        raise SynestheteError(f"{what} {stripped[:80]!a} contains control characters")
    return stripped


def first_of(texts: Sequence[str], most: int, *, between: str = ", ") -> str:
    """The first of some texts, and how many more there are.

    Examples
    --------
    >>> first_of(["a", "b", "c"], 2), first_of(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    more = len(texts) - most
    return between.join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


def storable(text: str) -> str:
    r"""The text as any file can hold it: NUL becomes a space, a lone surrogate a question mark.

    Examples
    --------
    >>> storable("a\0b\ud800")
    'a b?'
    """
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
