"""Tables of training: by tabs or by commas, with cells as long as they come."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import tables


@pytest.mark.parametrize(("name", "comma"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_rows_are_read_by_their_columns_names(tmp_path: Path, name: str, comma: str) -> None:
    long = ";".join(f"photo:{i}" for i in range(40_000))
    lines = [("concept", "photo"), ("äpfel", long), ('"a\n""b"', "")]
    text = "".join(comma.join(line) + "\n" for line in lines)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert tables.rows(tmp_path / name) == [
        {"concept": "äpfel", "photo": long},
        {"concept": 'a\n"b', "photo": ""},
    ]
