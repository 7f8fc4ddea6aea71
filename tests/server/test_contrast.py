"""WCAG AA contrast of every colour of the style that text or a control has, on every ground, in light and dark."""

from __future__ import annotations

import re

import pytest

from synesthete.server.app import STATIC

STYLE = (STATIC / "style.css").read_text(encoding="utf-8")
TEXT = (
    "ink",
    "soft",
    "faint",
    "accent",
    "against",
    "photo",
    "drawing",
    "symbol",
    "word",
    "of-text",
    "other-modality",
)
GROUNDS = ("ground", "raised", "blank")


def luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def themes() -> list[dict[str, str]]:
    """Name → colour: light, dark by choice, dark by the system."""
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", STYLE)
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]
    assert len(found) == 3
    assert found[1] == found[2], "the two ways to the dark differ"
    return found[:2]


def test_the_measure() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_controls_stand_out(theme: int) -> None:
    colours = themes()[theme]
    weak = [
        f"{name} on {ground}: {contrast(colours[name], colours[ground]):.2f}"
        for ground in GROUNDS
        for name in TEXT
        if contrast(colours[name], colours[ground]) < 4.5
    ]
    weak += [
        f"{name} on {ground}: {contrast(colours[name], colours[ground]):.2f}"
        for ground in ("ground", "raised")
        for name in ("edge", "where")
        if contrast(colours[name], colours[ground]) < 3
    ]
    assert contrast(colours["ground"], colours["ink"]) >= 4.5  # buttons
    assert contrast(colours["ground"], colours["accent"]) >= 4.5  # buttons pointed at
    assert contrast(colours["ink"], colours["track"]) >= 4.5  # code
    assert not weak
