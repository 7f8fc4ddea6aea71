"""JSON of unknown origin: bounded in size and depth, finite numbers, text that UTF-8 can hold; and values as JSON can hold them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

from synesthete._core.text import any_lone_surrogate, has_lone_surrogate
from synesthete._core.user_files import read_inside, read_named
from synesthete.errors import SynestheteError

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 64
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


class InvalidJson(SynestheteError):
    """Text that is not JSON, or JSON beyond the limits of this module.

    Attributes
    ----------
    reason
        The message without the name of the document.
    """

    reason = ""

    @classmethod
    def of(cls, name: str, reason: str, hint: str = "") -> InvalidJson:
        """The error for the document `name`."""
        created = cls(f"{name}: not JSON ({reason})", hint=hint)
        created.reason = reason
        return created


def parse_json(
    data: str | bytes,
    name: str,
    *,
    hint: str = "",
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
) -> Any:
    """Parse one document.

    Parameters
    ----------
    data
        The document; bytes are UTF-8, with or without a byte order mark.
    name
        Of the file or row, for the message.
    hint
        What the document should look like.
    max_bytes
        Length above which it is refused; of text, in characters.
    max_depth
        How deep lists and objects may be nested.

    Raises
    ------
    InvalidJson
        Not UTF-8, not JSON, too long, nested too deep; `NaN`, `Infinity` or a number beyond 64 bits; a
        string with a lone surrogate.

    Examples
    --------
    >>> parse_json(b'{"a": [1, 2.5]}', "x.json")
    {'a': [1, 2.5]}
    >>> parse_json("[" * 100, "x.json")
    Traceback (most recent call last):
    ...
    synesthete._core.json_reader.InvalidJson: x.json: not JSON (nested deeper than 64 levels)
    """
    if len(data) > max_bytes:
        raise InvalidJson.of(name, f"longer than {max_bytes:,} bytes", hint)
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise InvalidJson.of(name, f"not UTF-8 (byte {error.start})", hint) from None
    if _too_deep(text, max_depth):
        raise InvalidJson.of(name, f"nested deeper than {max_depth} levels", hint)
    try:
        found = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, parse_int=_fits_in_64_bits
        )
    except (ValueError, RecursionError) as error:
        raise InvalidJson.of(name, str(error) or type(error).__name__, hint) from None
    # An escape is the only way in that the decoding above leaves open; the walk is for these few.
    if ("\\ud" in text or "\\uD" in text or has_lone_surrogate(text)) and any_lone_surrogate(found):
        raise InvalidJson.of(name, "a string with a lone surrogate", hint)
    return found


def read_json(
    path: Path,
    *,
    root: Path | None = None,
    hint: str = "",
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
) -> Any:
    """Parse a file, named by the user or, with `root`, one of the user's folder `root`.

    Raises
    ------
    UnusableFile
        As for `synesthete._core.user_files.open_inside`.
    InvalidJson
        As for `parse_json`.
    """
    if root is None:
        data = read_named(path, max_bytes=max_bytes)
    else:
        data = read_inside(root, path, max_bytes=max_bytes)
    return parse_json(data, path.name, hint=hint, max_bytes=max_bytes, max_depth=max_depth)


def json_lines(
    lines: Iterable[str], name: str, *, hint: str = "", max_bytes: int = MAX_BYTES
) -> Iterator[tuple[int, dict[str, Any] | InvalidJson]]:
    """The objects of JSON lines with their line numbers from 1, or why a line is none; empty lines are skipped.

    Parameters
    ----------
    name
        Of the file, for messages.
    hint
        What a line should look like.
    max_bytes
        Length above which a line is refused.

    Examples
    --------
    >>> list(json_lines(['{"a": 1}', "", "[]"], "rows.jsonl"))
    [(1, {'a': 1}), (3, InvalidJson('rows.jsonl, line 3: not an object'))]
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        if has_lone_surrogate(line):  # of a file opened with `surrogateescape`
            yield number, InvalidJson.of(where, "not UTF-8", hint or "save it as UTF-8")
            continue
        try:
            row = parse_json(line, where, hint=hint, max_bytes=max_bytes)
        except InvalidJson as error:
            yield number, error
            continue
        yield (
            number,
            row if isinstance(row, dict) else InvalidJson(f"{where}: not an object", hint=hint),
        )


def _too_deep(text: str, limit: int) -> bool:
    """Counted without recursion, before a recursive parser sees the text."""
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > limit:
            return True
    return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _fits_in_64_bits(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"the integer {text[:24]} has more than 64 bits")
    return int(text)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses and numpy scalars unwrapped, NaN and infinity as null.

    Examples
    --------
    >>> plain({"auc": float("nan"), "families": ("fruit",)})
    {'auc': None, 'families': ['fruit']}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)
