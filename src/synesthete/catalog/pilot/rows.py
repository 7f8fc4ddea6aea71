"""Rows of a pilot's tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import json_objects
from synesthete.errors import SynestheteError


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a CSV or of JSON Lines.

    Raises
    ------
    SynestheteError
        When it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SynestheteError(f"{path} cannot be read: {error}") from error
    if path.suffix == ".csv":
        try:
            yield from csv.DictReader(io.StringIO(text, newline=""))
        except csv.Error as error:
            raise SynestheteError(f"{path} is no CSV: {error}") from error
        return
    for _, row in json_objects(text.split("\n"), str(path)):
        yield row
