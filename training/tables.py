"""Tables that training reads: a line of names, then a line a row; by tabs, or by commas in a `.csv`."""

from __future__ import annotations

import csv
from pathlib import Path


def rows(path: Path) -> list[dict[str, str]]:
    """Every row of `path` by the names of its columns. A cell may be long: one lists all photographs of a concept."""
    csv.field_size_limit(10**8)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t"))
