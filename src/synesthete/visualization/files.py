"""Writing drawings to disk: a neuron card as a web page and a picture, a chart as either."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.atlas.files import write_file, write_together
from synesthete.errors import SynestheteError
from synesthete.visualization.card import draw
from synesthete.visualization.drawing import FONTS, font_bytes
from synesthete.visualization.facts import gather
from synesthete.visualization.page import card_page

if TYPE_CHECKING:
    from synesthete.atlas import Atlas, Neuron

ZOOM = 2
# The shipped fonts hold Latin letters; for anything beyond, the system's fonts are asked.
_BEYOND = re.compile("[^\u0000-\u017f\u2010-\u2265\u25cf]")


@dataclass(frozen=True)
class CardFiles:
    """Where a card was written."""

    html: Path
    png: Path


def write_card(atlas: Atlas, neuron: Neuron, folder: str | Path) -> CardFiles:
    """Write the card of a neuron as `ADDRESS.html` and `ADDRESS.png`.

    Parameters
    ----------
    atlas, neuron
        An analysed atlas and one of its neurons.
    folder
        Where to; made when it does not exist.

    Raises
    ------
    SynestheteError
        When the folder cannot be made or the atlas is damaged.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise SynestheteError(f"{folder} is a file; the card needs a folder")
    facts = gather(atlas, neuron)
    name = file_name(neuron.address)
    files = CardFiles(folder / f"{name}.html", folder / f"{name}.png")
    page = card_page(facts).encode()
    write_together(folder, {files.png.name: render(draw(facts)), files.html.name: page})
    return files


def write_drawing(svg: str, path: str | Path) -> Path:
    """Write a drawing, completely or not at all, as `.svg`, or as a picture where the path ends in `.png`.

    Raises
    ------
    SynestheteError
        When the path ends in neither, or its folder does not exist.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise SynestheteError(f"{path} must end in .svg or .png")
    if not path.parent.is_dir():
        raise SynestheteError(f"there is no folder {path.parent}")
    write_file(path, render(svg) if path.suffix == ".png" else svg.encode())
    return path


def file_name(address: str) -> str:
    """An address as the name of a file, on any system.

    Examples
    --------
    >>> file_name("visual.layer4.1:pre:12")
    'visual.layer4.1-pre-12'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", address)


def render(svg: str, *, zoom: int = ZOOM) -> bytes:
    """SVG as PNG, `zoom` pixels for each of its units, in the package's own fonts."""
    import resvg_py

    with tempfile.TemporaryDirectory() as folder:
        for name in FONTS:
            Path(folder, f"{name}.otf").write_bytes(font_bytes(name))
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                zoom=zoom,
                skip_system_fonts=_BEYOND.search(svg) is None,
                font_dirs=[folder],
                font_family="Inter",
                sans_serif_family="Inter",
            )
        )
