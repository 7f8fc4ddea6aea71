"""The one exception that users see: what was given, what was expected, what to do."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class SynestheteError(Exception):
    """A user error or damaged input, reported in one line.

    Messages may quote untrusted text: line ends become spaces, other control characters and lone surrogates a
    replacement character, so that they cannot control a terminal.

    Parameters
    ----------
    message
        What was given and what was expected.
    hint
        What to do about it.

    Examples
    --------
    >>> str(SynestheteError("no such model 'minni'", hint="did you mean 'mini'?"))
    "no such model 'minni' (did you mean 'mini'?)"
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = _one_line(message)
        self.hint = _one_line(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        one
        if unicodedata.category(one) not in ("Cc", "Cs", "Zl", "Zp")
        else " "
        if one.isspace()
        else "�"
        for one in text
    )


def one_of(name: str, options: Iterable[str]) -> str:
    """Near matches of `name` among `options`, or else all of them, as a hint.

    Examples
    --------
    >>> one_of("rejct", ["accept", "reject"]), one_of("x", ["accept", "reject"])
    ("did you mean 'reject'?", 'accept, reject')
    """
    options = list(options)
    return near(name, options) or ", ".join(options)


def near(name: str, options: Iterable[str], *, limit: int = 3) -> str:
    """Near matches of `name` among `options`, as a hint; empty when nothing is near.

    Examples
    --------
    >>> near("minni", ["mini", "RN50/openai"])
    "did you mean 'mini'?"
    """
    by_lower = {option.lower(): option for option in options}
    found = difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.5)
    if not found:
        return ""
    return "did you mean " + " or ".join(repr(by_lower[match]) for match in found) + "?"
