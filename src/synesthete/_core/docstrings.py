"""Numpy-style docstrings, taken apart for help and schemas."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Help:
    """What a numpy-style docstring says: the text, each parameter's metavar and meaning, and the other sections."""

    text: str
    parameters: Mapping[str, tuple[str | None, str]]
    returns: str
    see: str
    examples: Sequence[str]


def read_docstring(docstring: str | None) -> Help:
    """Take a numpy-style docstring apart.

    Examples
    --------
    >>> read_docstring(read_docstring.__doc__).text
    'Take a numpy-style docstring apart.'
    """
    text = inspect.cleandoc(docstring or "")
    first, *rest = re.split(r"\n*^(\w+(?: \w+)?)\n-+$\n", text, flags=re.MULTILINE)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    described = sections.get("Parameters", "") + "\n" + sections.get("Attributes", "")
    parameters = {}
    for names, metavar, meaning in re.findall(
        r"^(\w[\w, ]*?)(?: : (.+))?\n((?:[ ]+.*\n?|\n)+)", described, re.MULTILINE
    ):
        for name in names.split(", "):
            parameters[name] = metavar or None, " ".join(meaning.split())
    returns, see, examples = (sections.get(one, "") for one in ("Returns", "See Also", "Examples"))
    return Help(
        text=first.strip(),
        parameters=parameters,
        returns=" ".join(returns.split()),
        see=see.strip(),
        examples=[line.strip() for line in examples.splitlines() if line.strip()],
    )
