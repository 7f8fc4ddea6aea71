"""JSON of unknown origin: bounded in size and depth, finite numbers, text that UTF-8 can hold; and values as JSON can hold them."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from synesthete._core.text import any_lone_surrogate, has_lone_surrogate
from synesthete._core.user_files import read_inside, read_named
from synesthete.errors import SynestheteError

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 64
MAX_ELEMENT = 4 * 1024 * 1024
BLOCK = 1 << 20
_NO_SPACE = re.compile(r"[^ \t\r\n]")
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
    except ValueError as error:
        raise InvalidJson.of(name, str(error), hint) from None
    except RecursionError:
        raise InvalidJson.of(name, "nested too deep", hint) from None
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


def json_elements(
    file: BinaryIO, name: str, *, hint: str = "", max_bytes: int = MAX_ELEMENT
) -> Iterator[tuple[str, Any]]:
    """The elements of the lists in one object, each with the key of its list, without holding more than one.

    Values that are no lists are checked and left out.

    Parameters
    ----------
    file
        UTF-8, with or without a byte order mark; of any length.
    name
        Of the file, for messages.
    hint
        What it should look like.
    max_bytes
        Length above which an element is refused, in characters.

    Raises
    ------
    InvalidJson
        As for `parse_json`, with `max_bytes` for an element; no object; something after its end.

    Examples
    --------
    >>> import io
    >>> list(json_elements(io.BytesIO(b'{"info": {}, "images": [{"id": 1}, 2]}'), "x.json"))
    [('images', {'id': 1}), ('images', 2)]
    """
    scan = _Scan(file, name, hint, max_bytes)
    scan.take("{")
    for _ in scan.until("}"):
        key = scan.value()
        if not isinstance(key, str):
            raise scan.error("a key that is no string")
        scan.take(":")
        if scan.take("[", needed=False):
            for _ in scan.until("]"):
                yield key, scan.value()
        else:
            scan.value()
    if scan.peek():
        raise scan.error("something after its end")


class _Scan:
    """Reads values from the front of a file, of which only what is not read yet is in memory."""

    def __init__(self, file: BinaryIO, name: str, hint: str, max_bytes: int) -> None:
        self._file, self._name, self._hint, self._max = file, name, hint, max_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False

    def error(self, reason: str) -> InvalidJson:
        return InvalidJson.of(self._name, reason, self._hint)

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _NO_SPACE.search(self._text, self._at)
            if found:
                self._at = found.start()
                return found.group()
            self._at = len(self._text)
            if not self._more():
                return ""

    def take(self, wanted: str, *, needed: bool = True) -> bool:
        """Read a character, if it is the next."""
        found = self.peek()
        if found != wanted:
            if needed:
                raise self.error(
                    f"{wanted!r} expected, {found!r} found" if found else "it ends early"
                )
            return False
        self._at += 1
        return True

    def until(self, closing: str) -> Iterator[None]:
        """Once for each of the values that commas separate, up to the closing bracket."""
        if self.take(closing, needed=False):
            return
        while True:
            yield
            if self.take(closing, needed=False):
                return
            self.take(",")

    def value(self) -> Any:
        """The value that is next."""
        if not self.peek():
            raise self.error("it ends early")
        while True:
            reason = "it ends early"
            try:
                found, end = _DECODER.raw_decode(self._text, self._at)
            except ValueError as error:
                reason, end = str(error), 0
            except RecursionError:
                reason, end = "nested too deep", 0
            # A number at the end of what was read may go on.
            if end and (end < len(self._text) or self._ended):
                break
            if len(self._text) - self._at > self._max:
                raise self.error(
                    f"an element that is longer than {self._max:,} bytes, or: {reason}"
                )
            if not self._more() and not end:
                raise self.error(reason)
        text, self._at = self._text[self._at : end], end
        if _too_deep(text, MAX_DEPTH):
            raise self.error(f"nested deeper than {MAX_DEPTH} levels")
        if "\\ud" in text.lower() and any_lone_surrogate(found):
            raise self.error("a string with a lone surrogate")
        return found

    def _more(self) -> bool:
        """Read on, at least as much as there is, so that a long value is tried few times; whether there was more."""
        if self._ended:
            return False
        rest = self._text[self._at :]
        data = self._file.read(max(BLOCK, len(rest)))
        self._ended = not data
        try:
            self._text, self._at = rest + self._utf8.decode(data, final=self._ended), 0
        except UnicodeDecodeError as error:
            raise self.error(f"not UTF-8 ({error.reason})") from None
        return not self._ended


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


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_fits_in_64_bits)


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
