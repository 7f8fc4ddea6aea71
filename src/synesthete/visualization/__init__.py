"""Images of a model's neurons: optimised ones (`features`), attribution of activations to places, and the typeface of both."""

from __future__ import annotations

from pathlib import Path

FONT_FOLDER = Path(__file__).parent / "fonts"
FONTS = ("Inter-Regular", "Inter-SemiBold", "InterDisplay-SemiBold")


def font_bytes(name: str) -> bytes:
    """The file of one of `FONTS`."""
    return (FONT_FOLDER / f"{name}.otf").read_bytes()
