"""Cut the shipped fonts down to Western European letters and list them with their licences."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fontTools import subset
from fontTools.ttLib import TTFont

from training import tables

HERE = Path(__file__).parent
# Basic Latin, Latin-1 letters and the quotes and dashes of ordinary text.
CODEPOINTS = [
    *range(0x20, 0x7F),
    *range(0xA0, 0x100),
    *(0x2013, 0x2014, 0x2018, 0x2019, 0x201C, 0x201D, 0x2026, 0x20AC),
]


def read_fonts(folder: Path = HERE) -> list[dict[str, str]]:
    """Return the rows of `fonts.tsv` in `folder`."""
    return tables.rows(folder / "fonts.tsv")


def write_fonts(node_modules: Path, out: Path, folder: Path = HERE) -> int:
    """Write every font as a TTF, its licence text and `fonts.json`; return the bytes written.

    Parameters
    ----------
    node_modules
        Folder that holds the `@fontsource` packages of `fonts.tsv`.
    out
        Folder to write to.
    folder
        Folder of `fonts.tsv`.

    Raises
    ------
    ValueError
        When a font's licence reserves its name: a subset may then not carry it (OFL, clause 3).
    """
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for row in read_fonts(folder):
        package = node_modules / row["package"]
        about = json.loads((package / "metadata.json").read_text("utf-8"))
        licence = (package / "LICENSE").read_text("utf-8")
        if re.search(r"with Reserved Font Name", licence, re.I):
            raise ValueError(f"{row['package']} reserves its name")
        stem = about["id"]
        data = _subset(package / "files" / f"{stem}-latin-400-normal.woff2", out / f"{stem}.ttf")
        (out / f"{stem}.OFL.txt").write_text(licence, "utf-8")
        entries.append(
            {
                "file": data.name,
                "family": about["family"],
                "style": row["style"],
                "source": f"{row['package']} {row['version']}",
                "licence": about["license"]["type"],
                "author": about["license"]["attribution"].split(" (http")[0],
                "licence_file": f"{stem}.OFL.txt",
                "held_out": bool(row["held_out"]),
            }
        )
    (out / "fonts.json").write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    return sum(path.stat().st_size for path in out.iterdir() if path.is_file())


def _subset(source: Path, target: Path) -> Path:
    options = subset.Options(
        hinting=False, layout_features=["kern", "liga", "ccmp", "locl", "mark"],
        name_IDs=["*"], recalc_timestamp=False, notdef_outline=True,
    )  # fmt: skip
    font = TTFont(source, recalcTimestamp=False)
    font.flavor = None
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=CODEPOINTS)
    cutter.subset(font)
    font.save(target)
    return target
