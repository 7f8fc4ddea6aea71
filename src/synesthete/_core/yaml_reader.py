"""YAML of unknown origin: plain values, bounded in size and depth, also where aliases repeat what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from synesthete._core.text import any_lone_surrogate
from synesthete._core.user_files import UnusableFile, decoded, read_named
from synesthete.errors import SynestheteError

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 200_000


class InvalidYaml(SynestheteError):
    """Text that is not YAML, or YAML beyond the limits of this module."""


def parse_yaml(text: str, name: str) -> Any:
    """Parse one document of plain values.

    Parameters
    ----------
    text
        The document.
    name
        Of the file, for the message.

    Raises
    ------
    InvalidYaml
        Not YAML, a tag that is not of plain values, too long, nested too deep, too many values, an alias within
        what it stands for, a string with a lone surrogate.

    Examples
    --------
    >>> parse_yaml("apple: {de: Apfel}", "x.yaml")
    {'apple': {'de': 'Apfel'}}
    >>> parse_yaml("&a [*a]", "x.yaml")
    Traceback (most recent call last):
    ...
    synesthete._core.yaml_reader.InvalidYaml: x.yaml is no YAML: the alias 'a' is part of what it stands for
    """
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"longer than {MAX_BYTES:,} characters")
        _measure(text)
        found = yaml.safe_load(text)
        if any_lone_surrogate(found):
            raise ValueError("a string with a lone surrogate")
    # PyYAML lets what its constructors raise through: ValueError for dates and numbers, TypeError, KeyError, ...
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidYaml(f"{name} is no YAML: {reason}") from None
    return found


def read_yaml(path: Path) -> Any:
    """Parse a file that the user named.

    Raises
    ------
    UnusableFile
        As for `synesthete._core.user_files.open_inside`.
    InvalidYaml
        As for `parse_yaml`.
    """
    data = read_named(path, max_bytes=MAX_BYTES)
    try:
        text = decoded(data, path)
    except UnusableFile as error:
        raise InvalidYaml(f"{path} is no YAML: {error.reason}", hint=error.hint) from None
    return parse_yaml(text, str(path))


def _measure(text: str) -> None:
    """Count depth and values without recursion, an alias as all that it stands for."""
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []  # anchor, and the count before it
    values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                raise ValueError(f"the alias {event.anchor!r} is part of what it stands for")
            values += sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            values += 1
            open_.append((event.anchor, values - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                sizes[anchor] = values - before
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if len(open_) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if values > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
