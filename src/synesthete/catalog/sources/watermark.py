"""Incremental reading: rows changed since a time, and the latest change that was read, kept in the catalogue's folder.

A watermark is kept for each source, as the source wrote it. Times without a zone count as UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import read_json
from synesthete.atlas.files import write_file
from synesthete.catalog.tables import as_text
from synesthete.errors import SynestheteError

FILE = "sync.json"
BEGINNING = "0001-01-01 00:00:00"
_MILLISECONDS = 1e11  # seconds since 1970 reach this in the year 5138


class Watermark:
    """Which rows of a source are read, and the latest change among them.

    Parameters
    ----------
    since
        A time, in ISO 8601, seconds since 1970, or as a table writes it; None for all rows. Rows without a time that can be
        read are always read.
    required
        Whether the source must have a column of times.

    Attributes
    ----------
    unreadable
        Rows whose time cannot be read.

    Raises
    ------
    SynestheteError
        No such time.

    Examples
    --------
    >>> mark = Watermark("2026-03-01")
    >>> [mark.admits(cell) for cell in ("2026-02-28", "2026-03-01T00:00:00Z", "", "2026-03-05 10:00")]
    [False, True, True, True]
    >>> mark.highest
    '2026-03-05 10:00'
    """

    def __init__(self, since: str | None = None, *, required: bool = False) -> None:
        self.text = since or BEGINNING
        self.required = required or since is not None
        start = time_of(self.text)
        if start is None:
            raise SynestheteError(
                f"{self.text!r} is not a time", hint="write 2026-03-01 or 2026-03-01T12:00:00Z"
            )
        self._since = start
        self._started = datetime.now(UTC)
        self._highest: tuple[datetime, str] | None = None
        self.unreadable = 0

    @property
    def since(self) -> datetime:
        """The time from which rows are read."""
        return self._since

    @property
    def highest(self) -> str | None:
        """The latest change that was read, as the source wrote it; None where there was none.

        Times in the future do not count: a row with a wrong year would hide all later changes.
        """
        return None if self._highest is None else self._highest[1]

    def admits(self, cell: object) -> bool:
        """Whether a row that changed at this time is read."""
        changed = time_of(cell)
        if changed is None:
            self.unreadable += cell not in (None, "")
            return True
        if changed <= self._started and (self._highest is None or changed > self._highest[0]):
            self._highest = changed, as_text(cell).strip()
        return changed >= self._since


def time_of(cell: Any) -> datetime | None:
    """A time, with its zone, out of a cell: a date, a time, ISO 8601, or seconds or milliseconds since 1970.

    Examples
    --------
    >>> time_of("2026-03-01 12:00+01:00").isoformat(), time_of(0).year, time_of("yesterday")
    ('2026-03-01T11:00:00+00:00', 1970, None)
    """
    try:
        if isinstance(cell, str):
            text = cell.strip()
            cell = float(text) if text.replace(".", "", 1).isdecimal() and len(text) > 8 else text
        if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
            seconds = float(cell)
            return datetime.fromtimestamp(seconds / (1000 if seconds > _MILLISECONDS else 1), UTC)
        if isinstance(cell, str):
            cell = datetime.fromisoformat(cell)
        elif isinstance(cell, date) and not isinstance(cell, datetime):
            cell = datetime.combine(cell, time())
        if not isinstance(cell, datetime):
            return None
        return cell.replace(tzinfo=UTC) if cell.tzinfo is None else cell.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def read_mark(catalog: Path, source: str) -> str | None:
    """The latest change of a source that a catalogue has; None where it was not read yet.

    Raises
    ------
    SynestheteError
        A damaged file.
    """
    return _marks(catalog).get(source)


def keep_mark(catalog: Path, source: str, mark: Watermark) -> str | None:
    """Keep the latest change of a source, once all that was read is in the catalogue; returns the latest that is known.

    It stays where it is after a run that began later than it: what changed between the two was not read.
    """
    marks = _marks(catalog)
    known, latest = marks.get(source), mark.highest
    if latest is None or mark.since > _sorted(known or BEGINNING):
        return known
    if known is not None and _sorted(latest) <= _sorted(known):
        return known
    content = {"sources": {**marks, source: latest}}
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    write_file(catalog / FILE, (text + "\n").encode())
    return latest


def _sorted(mark: str) -> datetime:
    found = time_of(mark)
    assert found is not None, "a mark is a time"
    return found


def _marks(catalog: Path) -> Mapping[str, str]:
    if not (catalog / FILE).exists():
        return {}
    found = read_json(catalog / FILE, root=catalog)
    marks = found.get("sources") if isinstance(found, dict) else None
    if not isinstance(marks, dict) or not all(
        isinstance(mark, str) and time_of(mark) for mark in marks.values()
    ):
        raise SynestheteError(
            f"{catalog / FILE} is damaged", hint="delete it, and the next run reads all rows"
        )
    return marks
