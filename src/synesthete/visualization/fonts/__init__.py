"""The typeface of cards and sheets, as files inside the package."""

from __future__ import annotations

from importlib import resources

FONTS = ("Inter-Regular", "Inter-SemiBold", "InterDisplay-SemiBold")


def font_bytes(name: str) -> bytes:
    """The file of one of `FONTS`."""
    return resources.files(__name__).joinpath(f"{name}.otf").read_bytes()
