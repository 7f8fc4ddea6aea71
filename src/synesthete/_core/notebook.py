"""How an object looks in a notebook: its class looks the drawing up here, and the top of the package puts it here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HTML: dict[str, Callable[[Any], str | None]] = {}
"""Name of a kind of object, such as `atlas`, to what draws one as HTML. Rooms that draw lie above those that they draw."""


def html_of(kind: str, value: object) -> str | None:
    """`value` as HTML; None, which shows its `repr`, where nothing draws that kind."""
    draw = HTML.get(kind)
    return None if draw is None else draw(value)
