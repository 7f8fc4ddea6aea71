"""Output of the command line: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synesthete._core.json_reader import plain


def out() -> Console:
    """The console for data; a new one each time, so that a redirected stdout is respected."""
    return Console(highlight=False, soft_wrap=False)


def err() -> Console:
    """The console for everything that is not data."""
    return Console(stderr=True, highlight=False)


class Note(str):
    """A line of a command's view that is not data: it goes to standard error."""

    __slots__ = ()


def say(message: str) -> None:
    """Print something that is not data: one line, on standard error."""
    err().print(Text(message), soft_wrap=True)


def fail(message: str) -> None:
    """Print what went wrong: one red line, on standard error."""
    line = " ".join(message.split())
    err().print(Text("error: ", style="bold red") + Text(line, style="red"), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print `value` as JSON; escapes are used only where stdout cannot hold the letters."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    text = json.dumps(plain(value), indent=2, ensure_ascii=not unicode, allow_nan=False)
    sys.stdout.write(text + "\n")


def table(*columns: str, right: Sequence[str] = (), rows: Iterable[Iterable[object]] = ()) -> Table:
    """A table in the house style; the columns named in `right` are aligned right.

    Headings and cells are shown as they are, without markup; None is shown as a dash.
    """
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    drawn.show_header = any(columns)
    for column in columns:
        drawn.add_column(
            Text(column),
            justify="right" if column in right else "left",
            no_wrap=column in right or column == "address",
            min_width=12 if column == "concept" else None,
            overflow="fold",
        )
    for row in rows:
        cells = ("–" if cell is None else cell for cell in row)
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))
    return drawn


def dim(text: str) -> Text:
    """A line of less weight, such as the n and the controls below a table."""
    return Text(text, style="dim")


def count(number: int) -> str:
    """A count as people read it.

    Examples
    --------
    >>> count(12345)
    '12,345'
    """
    return f"{number:,}"


def and_more(left: int, hint: str = "") -> str:
    """What stands below a list that was cut: how many more there are, and what to do about it.

    Examples
    --------
    >>> and_more(1200, "--limit N")
    '… and 1,200 more (--limit N)'
    """
    return f"… and {count(left)} more" + (f" ({hint})" if hint else "")


def percent(number: float) -> str:
    """A share of a whole, in percent.

    Examples
    --------
    >>> percent(0.1436)
    '14.4 %'
    """
    return f"{100 * number:.1f} %"


def bounds(interval: Sequence[float]) -> str:
    """Both ends of an interval of shares, in percent.

    Examples
    --------
    >>> bounds((0.1, 0.25))
    '10.0–25.0'
    """
    return f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"


def share(number: float) -> str:
    """An AUC or a probability with two places; a dash where there is none.

    Examples
    --------
    >>> share(0.987), share(float("nan"))
    ('0.99', '–')
    """
    return "–" if math.isnan(number) else f"{number:.2f}"
