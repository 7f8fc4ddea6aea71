"""JSON lines: an object on each line, with the line's number in what is said of a bad one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from synesthete.errors import SynestheteError


def json_objects(
    lines: Iterable[str], name: str, *, hint: str = ""
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of `lines` with their numbers from 1; empty lines are passed over.

    Parameters
    ----------
    name
        Of the file, for messages.
    hint
        What a line should look like.

    Raises
    ------
    SynestheteError
        A line that is no JSON, or no object.

    Examples
    --------
    >>> list(json_objects(['{"a": 1}', "", '{"b": 2}'], "rows.jsonl"))
    [(1, {'a': 1}), (3, {'b': 2})]
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SynestheteError(f"{name}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise SynestheteError(f"{name}, line {number}: not an object", hint=hint)
        yield number, row
