"""How an object looks in a notebook: its class looks the drawing up here, and the top of the package puts it here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HTML: dict[str, Callable[[Any], str | None]] = {}
"""Name of a kind of object, such as `atlas`, to what draws one as HTML. Rooms that draw lie above those that they draw."""

BUNDLES: dict[str, Callable[[Any], dict[str, Any] | None]] = {}
"""Name of a kind of object to what shows one as a widget, by format; None where it is shown as HTML instead."""


def html_of(kind: str, value: object) -> str | None:
    """`value` as HTML; None, which shows its `repr`, where nothing draws that kind."""
    draw = HTML.get(kind)
    return None if draw is None else draw(value)


def bundle_of(kind: str, value: object) -> dict[str, Any] | None:
    """`value` as a widget; None, which shows it as HTML, where there is none."""
    show = BUNDLES.get(kind)
    return None if show is None else show(value)
