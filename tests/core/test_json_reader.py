"""JSON of unknown origin either becomes plain values or one clear error; never a traceback of another kind."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthete._core.json_reader import MAX_DEPTH, InvalidJson, parse_json

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_json_comes_back_as_it_was(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert parse_json(text, "x") == value
    assert parse_json(text.encode(), "x") == value


@given(st.binary() | st.text() | st.text('[]{}",:\\u0d8nul1e9-', max_size=60))
def test_garbage_is_one_kind_of_error(data: str | bytes) -> None:
    with contextlib.suppress(InvalidJson):
        json.dumps(parse_json(data, "x"), allow_nan=False, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_depth_is_bounded_without_recursion(bracket: str) -> None:
    with pytest.raises(InvalidJson, match="nested deeper"):
        parse_json(bracket * 1_000_000, "x")
    closing = {"[": "]", '{"a":': "}"}[bracket]
    parse_json(bracket * MAX_DEPTH + "1" + closing * MAX_DEPTH, "x")
    with pytest.raises(InvalidJson, match="nested deeper"):
        parse_json(bracket * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1), "x")


def test_brackets_in_strings_are_no_depth() -> None:
    assert parse_json(json.dumps("[" * 1000 + '"\\'), "x") == "[" * 1000 + '"\\'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "not a JSON number"), ("[-Infinity]", "not a JSON number"), ("1e999", "too large"),
        ("1" * 5000, "more than 64 bits"), (str(2**64), "more than 64 bits"),
        ('"\\ud800"', "lone surrogate"), ('{"\\uDC00": 1}', "lone surrogate"), ("", "Expecting"),
        (b'"\xff"', "not UTF-8"), ('"\ud800"', "lone surrogate"), ("{} {}", "Extra data"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(text: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidJson, match=reason):
        parse_json(text, "x")


def test_size_is_bounded() -> None:
    with pytest.raises(InvalidJson, match="longer than 10 bytes"):
        parse_json("[1, 2, 3, 4]", "x", max_bytes=10)
