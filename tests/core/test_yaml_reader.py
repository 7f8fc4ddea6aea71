"""YAML of unknown origin either becomes plain values of bounded size or one clear error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from synesthete._core.yaml_reader import MAX_DEPTH, InvalidYaml, parse_yaml, read_yaml
from tests.doors import BOMB


@given(st.text() | st.text("&*a[]{}:,- \n!?|>'\"#%@1.\\ud8", max_size=60))
def test_garbage_is_one_kind_of_error(text: str) -> None:
    with contextlib.suppress(InvalidYaml):
        repr(parse_yaml(text, "x"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "more than 200,000 values"), ("&a [*a]", "part of what it stands for"), ("&a {b: *a}", "part of what"),
        ("[" * 5000, "nested deeper"), ("- " * 100 + "x", "nested deeper"), ("a: 2026-99-99", "month"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"), ("? [a]\n: b", "unhashable key"),
        ('"\\ud800"', "lone surrogate"), ("[", "expected"), ("x" * (5 << 20), "longer than"), ("a: b: c", "mapping values"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(text: str, reason: str) -> None:
    with pytest.raises(InvalidYaml, match=reason) as caught:
        parse_yaml(text, "x")
    assert "\n" not in str(caught.value)


def test_anchors_and_merges_are_read() -> None:
    text = "one: &one {a: 1}\ntwo: {<<: *one, b: [*one, *one]}"
    assert parse_yaml(text, "x") == yaml.safe_load(text)
    deep = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert parse_yaml(deep, "x") == yaml.safe_load(deep)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidYaml, match="not UTF-8"):
        read_yaml(tmp_path / "x.yaml")
