"""What docs/probes.md shows is what the readers do."""

from __future__ import annotations

import re
from pathlib import Path

from synesthete.probes import load_probes
from tests.probes.samples import png, write

PAGE = (Path(__file__).parents[2] / "docs" / "probes.md").read_text(encoding="utf-8")


def test_the_folder_that_the_page_shows(tmp_path: Path) -> None:
    lines = re.findall(
        r"^      (\S+) +concept \"?([^,\"]+)\"?, modality (\w+)$", PAGE, re.MULTILINE
    )
    assert len(lines) == 3
    for file, _, _ in lines:
        write(tmp_path / file, png())
    labels = load_probes(tmp_path).labels.select(["key", "concept", "modality"]).to_pylist()
    assert sorted(tuple(row.values()) for row in labels) == sorted(lines)


def test_the_table_that_the_page_shows(tmp_path: Path) -> None:
    table = re.findall(r"^    (file_name,.*\n)    (.*\n)", PAGE, re.MULTILINE)
    write(tmp_path / "metadata.csv", "".join(table[0]).encode())
    write(tmp_path / "one.jpg", png())
    (row,) = load_probes(tmp_path).labels.to_pylist()
    assert row["artist"] == "Ann"
    assert row["caption"] == "a red apple"
    assert row["licence"] == "CC0-1.0"
