"""Pictographs of monochrome fonts: the concepts' emoji drawn in one ink by more hands, for training only.

The probe set has Noto Emoji's; those of Symbola, of Noto Sans Symbols 2 and the bitmaps of GNU Unifont are not in it. A font that is not
installed gives none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training import tables
from training.build_concepts.sources import EmojiFont

CURATED = Path(__file__).parent / "build_concepts" / "images.tsv"
EMOJI = "npm:noto-emoji:"


@dataclass(frozen=True, kw_only=True)
class Font:
    """Where a font's files are (below `node_modules`, or on the system), and whose it is."""

    key: str
    artist: str
    files: str
    author: str
    licence: str


PACKAGES = ("@fontsource/noto-sans-symbols-2@5.3.0",)
"""npm packages of these fonts, beside those the probe set needs as well."""
FONTS = (
    Font(key="npm:noto-emoji", artist="noto-emoji", files="@fontsource/noto-emoji/files/*-400-normal.woff2", author="Google", licence="OFL-1.1"),
    Font(key="npm:noto-sans-symbols-2", artist="noto-symbols", files="@fontsource/noto-sans-symbols-2/files/*-400-normal.woff2", author="Google", licence="OFL-1.1"),
    Font(key="deb:fonts-symbola", artist="symbola", files="/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf", author="George Douros", licence="free for any use"),
    Font(key="deb:unifont", artist="unifont", files="/usr/share/fonts/opentype/unifont/unifont*.otf", author="Roman Czyborra, Paul Hardy and others", licence="GPL-2+ as packaged"),
)  # fmt: skip


FAMILIES = frozenset(
    font.files.split("/")[1] for font in FONTS if font.files.startswith("@fontsource/")
)
"""Of these, the families of `@fontsource`: no text is to be written in them."""


def coded() -> dict[str, str]:
    """The concept of each code point (hexadecimal, as the table writes it) that is a symbol of the probe set."""
    curated = [(row["item"], row["concept"]) for row in tables.rows(CURATED)]
    return {
        item.removeprefix(EMOJI): concept for item, concept in curated if item.startswith(EMOJI)
    }


def items_of(item: str) -> list[str]:
    """The other fonts' pictographs of a Noto Emoji item, as the table names them; none for other items.

    Examples
    --------
    >>> items_of("npm:noto-emoji:1F41C")[1], items_of("npm:noto:ant")
    ('deb:fonts-symbola:1F41C', [])
    """
    if not item.startswith(EMOJI):
        return []
    return [f"{font.key}:{item.removeprefix(EMOJI)}" for font in FONTS if f"{font.key}:" != EMOJI]


def glyphs(packages: Path) -> Iterator[tuple[Font, str, str, str]]:
    """Font, code point, concept and SVG of every pictograph that an installed font of `FONTS` has."""
    concepts = coded()
    for font in FONTS:
        pattern = Path(font.files)
        folder = pattern.parent if pattern.is_absolute() else packages / pattern.parent
        drawn = EmojiFont(sorted(folder.glob(pattern.name)))
        for code, concept in concepts.items():
            if drawn.has(code):
                yield font, code, concept, drawn.svg(code)
