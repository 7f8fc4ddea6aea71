"""Installed icon sets, icon by icon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def icons(packages: Path, name: str) -> Iterator[tuple[str, str]]:
    """`(icon, svg)` of an installed icon set, none if it is not installed; hidden icons are left out."""
    path = packages / "@iconify-json" / name / "icons.json"
    if not path.exists():
        return
    content = json.loads(path.read_text())
    width, height = content.get("width", 16), content.get("height", 16)
    for icon, body in content["icons"].items():
        if body.get("hidden"):
            continue
        box = (
            body.get("left", 0),
            body.get("top", 0),
            body.get("width", width),
            body.get("height", height),
        )
        yield (
            icon,
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{box[0]} {box[1]} {box[2]} {box[3]}" color="black">{body["body"]}</svg>'
            ),
        )
