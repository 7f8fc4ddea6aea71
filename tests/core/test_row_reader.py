"""Rows come one by one; a bad one is an error in its place, and the next is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from synesthete._core.row_reader import csv_rows, jsonl_rows
from synesthete._core.user_files import UnusableFile
from synesthete.errors import SynestheteError


def test_bad_rows_of_csv_stand_in_their_places(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(
        b'\xef\xbb\xbfa; b\r\n1;2\r\n3\r\n\r\n4;5;6\r\n"x"y;7\r\n\xff;8\r\n"two\r\nlines";9\r\n'
    )
    columns, rows = csv_rows(path)
    assert columns == ["a", "b"]
    found = list(rows)
    assert [(line, row) for line, row in found if isinstance(row, dict)] == [
        (2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": ""}), (9, {"a": "two\r\nlines", "b": "9"}),
    ]  # fmt: skip
    errors = [(line, str(row)) for line, row in found if isinstance(row, SynestheteError)]
    assert [line for line, _ in errors] == [5, 6, 7]
    for (_, message), words in zip(
        errors, ("more fields than columns", "after line 5", "not UTF-8"), strict=True
    ):
        assert words in message


def test_a_quote_that_never_closes_and_a_field_without_end(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,2\n3,"x\n4,5\n')
    (_, good), (line, bad) = csv_rows(path)[1]
    assert good == {"a": "1", "b": "2"}
    assert (line, isinstance(bad, SynestheteError)) == (3, True)
    path.write_text("a,b\n1," + "x" * 101 + "\n3,4\n")
    (_, bad), (_, good) = csv_rows(path, field_characters=100)[1]
    assert "field limit" in str(bad)
    assert good == {"a": "3", "b": "4"}


@pytest.mark.parametrize(
    "data", ["a,b\n1,2\n".encode("utf-16"), b"a\0,b\n1,2\n", b"\xffa,b\n1,2\n"]
)
def test_a_header_that_is_no_text_refuses_the_table(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(SynestheteError, match="not UTF-8"):
        csv_rows(tmp_path / "t.csv")


def test_bad_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        b'{"a": 1}\n\n{"a": "\xff"}\n' + b"[" * 5000 + b'\n{"a": "\xe2\x80\xa8"}\n[]\n'
    )
    found = dict(jsonl_rows(path))
    assert found[1] == {"a": 1}
    assert found[5] == {"a": "\u2028"}
    for line, message in ((3, "not UTF-8"), (4, "nested deeper"), (6, "not an object")):
        assert message in str(found[line])
        assert f"line {line}" in str(found[line])


def test_tables_outside_the_folder_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "t.csv").symlink_to("../t.csv")
    assert list(csv_rows(folder / "t.csv")[1]) == [(2, {"a": "1"})]
    with pytest.raises(UnusableFile, match="leads out"):
        csv_rows(folder / "t.csv", root=folder)
    with pytest.raises(UnusableFile, match="leads out"):
        list(jsonl_rows(folder / "t.csv", root=folder))
