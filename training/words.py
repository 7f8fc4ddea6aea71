"""Written words as masks: any text, any of many fonts, wrapped or on one line."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training import pictographs, tables
from training.sources import TILE

MORE = Path(__file__).with_name("more_fonts.tsv")
"""Fonts of training only, beside the probe set's: package, version, style, licence. Half of them are handwriting."""
SIZES = (12, 15, 18, 22, 27, 33, 40, 48, 58, 70)
SYSTEM_FONTS = (
    "dejavu/DejaVuSans.ttf", "dejavu/DejaVuSans-Bold.ttf", "dejavu/DejaVuSerif.ttf", "dejavu/DejaVuSansMono.ttf",
    "liberation/LiberationSans-Regular.ttf", "liberation/LiberationSans-Bold.ttf",
    "liberation/LiberationSerif-Regular.ttf", "liberation/LiberationSerif-Italic.ttf",
    "liberation/LiberationMono-Regular.ttf", "liberation/LiberationSansNarrow-Regular.ttf",
    "lato/Lato-Regular.ttf", "lato/Lato-Black.ttf", "freefont/FreeSerif.ttf", "freefont/FreeMono.ttf",
    "noto/NotoSans-Regular.ttf", "noto/NotoSerif-Regular.ttf",
)  # fmt: skip


def font_files(fontsource: Path, *, held_out: frozenset[str]) -> list[str]:
    """Paths of training fonts: the system's and every upright weight-400 Latin file of `fontsource`.

    `held_out` names families (`merriweather`) that evaluation uses and training must not see.
    """
    system = [Path("/usr/share/fonts/truetype") / name for name in SYSTEM_FONTS]
    found = [str(path) for path in system if path.exists()]
    for family in sorted(fontsource.glob("*")):
        if family.name in held_out | pictographs.FAMILIES:
            continue
        for weight in ("400", "700"):
            found += [
                str(p) for p in family.glob(f"files/{family.name}-latin-{weight}-normal.woff2")
            ]
    return found


def more_fonts() -> list[dict[str, str]]:
    """Every row of `more_fonts.tsv`."""
    return tables.rows(MORE)


@lru_cache(maxsize=2048)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _lines(text: str, count: int) -> list[str]:
    """`text` split at spaces onto about `count` lines of like length."""
    words = text.split()
    if count <= 1 or len(words) == 1:
        return [text]
    goal = len(text) / count
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) / 2 > goal:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def mask(text: str, path: str, rng: np.random.Generator) -> np.ndarray:
    """Ink of `text`, uint8 `[TILE, TILE]`, at a random size and wrapping, near the centre."""
    case = rng.random()
    text = text.upper() if case < 0.33 else text.title() if case < 0.6 else text
    words = len(text.split())
    count = (
        1
        if words == 1 or (words < 4 and rng.random() < 0.2)
        else int(rng.integers(2, min(words, 5) + 1))
    )
    body = "\n".join(_lines(text, count))
    draw = ImageDraw.Draw(canvas := Image.new("L", (TILE, TILE)))
    left, top, right, bottom = draw.multiline_textbbox(
        (0, 0), body, font=_font(path, 40), spacing=4
    )
    fit = TILE * (0.8 + 0.18 * rng.random()) / max(right - left, bottom - top, 1) * 40
    size = max((s for s in SIZES if s <= fit), default=SIZES[0])
    font = _font(path, size)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), body, font=font, spacing=4)
    x, y = (TILE - right - left) / 2, (TILE - bottom - top) / 2
    draw.multiline_text(
        (x, y),
        body,
        fill=255,
        font=font,
        spacing=4,
        align="center" if rng.random() < 0.7 else "left",
    )
    return np.asarray(canvas)
