"""A customer's signals as JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synesthete.catalog.table_files import read_rows
from synesthete.catalog.tables import inside
from synesthete.catalog.types import Signal
from synesthete.errors import SynestheteError

KEYS = frozenset({"side", "item", "text", "picture", "weight", "age_days"})


def read_signals(path: Path) -> list[Signal]:
    """Signals of a file, an object a line: `{"side": "like", "item": "42", "age_days": 3}`.

    Pictures are named relative to the file's folder.

    Raises
    ------
    SynestheteError
        A file that cannot be read, an unknown key, a value of the wrong kind.
    """
    return [_signal(f"{path.name}, line {line}", row, path) for line, row in read_rows(path)]


def _signal(where: str, row: dict[str, Any], path: Path) -> Signal:
    given = {key: value for key, value in row.items() if value not in (None, "")}
    unknown = set(given) - KEYS
    if unknown:
        hint = f"there are {', '.join(sorted(KEYS))}"
        raise SynestheteError(f"{where}: no key {sorted(unknown)[0]!r}", hint=hint)
    if given.get("side", "like") not in ["like", "dislike"]:
        raise SynestheteError(
            f"{where}: the side is {given['side']!r}", hint="write like or dislike"
        )
    try:
        numbers = {key: float(given[key]) for key in ("weight", "age_days") if key in given}
    except (TypeError, ValueError, OverflowError):
        raise SynestheteError(f"{where}: weight and age_days are numbers") from None
    picture = None
    if "picture" in given:
        found = inside(path.parent.resolve(), str(given["picture"]))
        if isinstance(found, str):
            raise SynestheteError(f"{where}: {found}")
        picture = found
    return Signal(
        given.get("side", "like"),
        item=str(given["item"]) if "item" in given else None,
        text=str(given["text"]) if "text" in given else None,
        picture=picture,
        weight=numbers.get("weight", 1.0),
        age_days=numbers.get("age_days", 0.0),
    )
