"""Open the packages that the probe set is made of and give each item as SVG text or image bytes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fontTools.pens.boundsPen import BoundsPen
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.ttLib import TTFont

from training import tables

from .photo_credits import Credit, gcompris_credits, photo_folder_credits, wheel_credits
from .qtresource import read_rcc

HERE = Path(__file__).parent
RCC_FOLDER = Path("/usr/share/gcompris-qt/rcc")
ACTIVITIES = "gcompris/src/activities/"
"""What every path inside GCompris's archives begins with, and no item names."""
FILES = {
    "art4apps": "usr/share/games/pysiogame/res/images/art4apps",
    "tango": "usr/share/icons/Tango/scalable",
    "icofont": "icons",
}
"""Where the single files of a set lie: below the system's root (apt) or in the package's folder (npm)."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One row of `packages.tsv`: where a set of images comes from and whose it is."""

    set: str
    kind: str
    manager: str
    package: str
    version: str
    modality: str
    artist: str
    licence: str
    author: str
    url: str


@dataclass(frozen=True)
class Original:
    """The image behind one cell, as its package has it: SVG text or encoded bytes."""

    svg: str | None
    data: bytes | None


def read_packages(folder: Path = HERE) -> dict[str, Package]:
    """Return the rows of `packages.tsv` in `folder` by the name of their set."""
    return {row["set"]: Package(**row) for row in tables.rows(folder / "packages.tsv")}


@dataclass
class Iconify:
    """An `@iconify-json` set: SVG bodies with aliases that chain to parents."""

    folder: Path

    @cached_property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "icons.json").read_text("utf-8"))
        return content

    def names(self) -> set[str]:
        """Return every icon and alias name."""
        return set(self._content["icons"]) | set(self._content.get("aliases", {}))

    def svg(self, name: str) -> str:
        """Return the icon as an SVG document, black where the body says `currentColor`."""
        if name not in self.names():
            raise KeyError(f"{self.folder.name} has no icon {name!r}")
        chain: dict[str, Any] = {}
        while name not in self._content["icons"]:
            alias = self._content["aliases"][name]
            chain = {**alias, **chain}
            name = alias["parent"]
        icon = {**self._content["icons"][name], **chain}
        size = [icon.get(side, self._content.get(side, 16)) for side in ("width", "height")]
        corner = [icon.get(side, self._content.get(side, 0)) for side in ("left", "top")]
        body = _turned(icon, size, corner)
        box = f"{corner[0]} {corner[1]} {size[0]} {size[1]}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{size[0]}" height="{size[1]}" viewBox="{box}" color="#000">{body}</svg>'
        )


def _turned(icon: dict[str, Any], size: list[float], corner: list[float]) -> str:
    """Return an icon's body with the flips and the rotation that its alias asks for."""
    body: str = icon["body"].replace("currentColor", "#000000")
    middle = [corner[axis] + size[axis] / 2 for axis in (0, 1)]
    if icon.get("hFlip"):
        body = f'<g transform="translate({2 * middle[0]} 0) scale(-1 1)">{body}</g>'
    if icon.get("vFlip"):
        body = f'<g transform="translate(0 {2 * middle[1]}) scale(1 -1)">{body}</g>'
    if icon.get("rotate"):
        turn = 90 * int(icon["rotate"])
        body = f'<g transform="rotate({turn} {middle[0]} {middle[1]})">{body}</g>'
    return body


@dataclass
class EmojiFont:
    """A monochrome font, whose glyphs are turned into SVG paths; of two of its files that have a glyph the first one's is taken."""

    files: list[Path]

    @cached_property
    def _glyphs(self) -> dict[int, tuple[TTFont, str]]:
        glyphs: dict[int, tuple[TTFont, str]] = {}
        for path in self.files:
            font = TTFont(path)
            for code, name in font.getBestCmap().items():
                glyphs.setdefault(code, (font, name))
        return glyphs

    def has(self, codepoint: str) -> bool:
        """Return whether the font draws something for this code point (hexadecimal)."""
        return int(codepoint, 16) in self._glyphs and self._bounds(codepoint) is not None

    def _bounds(self, codepoint: str) -> tuple[float, float, float, float] | None:
        """Return left, bottom, right and top of a glyph, nothing for an empty one."""
        font, name = self._glyphs[int(codepoint, 16)]
        glyph_set = font.getGlyphSet()
        pen = BoundsPen(glyph_set)
        glyph_set[name].draw(pen)
        return pen.bounds

    def svg(self, codepoint: str) -> str:
        """Return the glyph of one code point (hexadecimal) as an SVG document."""
        font, name = self._glyphs[int(codepoint, 16)]
        glyph_set = font.getGlyphSet()
        path = SVGPathPen(glyph_set)
        glyph_set[name].draw(path)
        bounds = self._bounds(codepoint)
        assert bounds is not None, f"{codepoint} is empty"
        left, bottom, right, top = bounds
        side = max(right - left, top - bottom)
        box = f"{(left + right - side) / 2} {-(top + bottom + side) / 2} {side} {side}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" '
            f'viewBox="{box}"><g transform="scale(1 -1)"><path d="{path.getCommands()}"/></g></svg>'
        )


@dataclass(kw_only=True)
class Sources:
    """All packages of `packages.tsv` below one folder, plus the folders of collected photographs.

    Parameters
    ----------
    packages
        Folder with `node_modules/` and `wheels/`.
    photos
        Folders, each with a `manifest.csv` and the images it lists; no path is in two of them.
    rcc
        Folder of the GCompris resource archives.
    root
        Where Debian packages of single files are unpacked: the system's root.
    """

    packages: Path
    photos: Sequence[Path] = ()
    rcc: Path = RCC_FOLDER
    root: Path = Path("/")
    table: dict[str, Package] = field(default_factory=read_packages)
    _open: dict[str, Any] = field(default_factory=dict)

    def original(self, item: str) -> Original:
        """Return the image that an item such as `npm:noto:red-apple` names."""
        manager, _, rest = item.partition(":")
        if manager == "photo":
            return Original(None, self._photos[rest][0].read_bytes())
        name, _, member = rest.partition(":")
        opened = self._opened(name)
        if isinstance(opened, Iconify | EmojiFont):
            return Original(opened.svg(member), None)
        if isinstance(opened, Path):
            return self._file(self.table[name], opened, member)
        if isinstance(opened, zipfile.ZipFile):
            return Original(None, opened.read(member))
        return Original(None, opened[f"{ACTIVITIES}{member}"])

    def _file(self, package: Package, folder: Path, member: str) -> Original:
        """Return a single file of a set."""
        if package.kind == "codepoint-files":
            return Original(None, (folder / "assets" / f"{member.lower()}.webp").read_bytes())
        path = (self.root if package.manager == "apt" else folder) / FILES[package.set] / member
        if path.suffix == ".svg":
            return Original(path.read_text("utf-8"), None)
        return Original(None, path.read_bytes())

    def credit(self, item: str) -> Credit:
        """Return licence, author and origin of an item."""
        manager, _, rest = item.partition(":")
        if manager == "photo":
            return self._photos[rest][1]
        name, _, member = rest.partition(":")
        package = self.table[name]
        if package.kind == "rcc":
            return self._gcompris_credits[member]
        if package.kind == "wheel":
            return wheel_credits(name)[member]
        source = f"{package.package} {package.version} {member}"
        return Credit(package.artist, package.licence, package.author, source)

    def versions(self) -> dict[str, str]:
        """Return the installed version of every npm package that the table names."""
        found = {}
        for package in self.table.values():
            if package.manager == "npm":
                about = self.packages / "node_modules" / package.package / "package.json"
                found[package.set] = json.loads(about.read_text("utf-8"))["version"]
        return found

    def _opened(self, name: str) -> Any:
        if name not in self._open:
            package = self.table[name]
            folder = self.packages / "node_modules" / package.package
            if package.kind == "iconify":
                self._open[name] = Iconify(folder)
            elif package.kind == "font":
                self._open[name] = EmojiFont(sorted((folder / "files").glob("*-400-normal.woff2")))
            elif package.kind in ("codepoint-files", "files"):
                self._open[name] = folder
            elif package.kind == "wheel":
                stem = f"{package.package.replace('-', '_')}-{package.version}-*.whl"
                self._open[name] = zipfile.ZipFile(
                    next(iter(sorted((self.packages / "wheels").glob(stem))))
                )
            else:
                self._open[name] = self._gcompris
        return self._open[name]

    @cached_property
    def _gcompris(self) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for path in sorted(self.rcc.glob("*.rcc")):
            if path.stem in GCOMPRIS_ACTIVITIES:
                files |= read_rcc(path)
        return files

    @cached_property
    def _gcompris_credits(self) -> dict[str, Credit]:
        return gcompris_credits(self._gcompris)

    @cached_property
    def _photos(self) -> dict[str, tuple[Path, Credit]]:
        return {
            path: (folder / path, credit)
            for folder in self.photos
            for path, credit in photo_folder_credits(folder / "manifest.csv").items()
        }


GCOMPRIS_ACTIVITIES = frozenset(
    (
        "categorization",
        "clickgame",
        "details",
        "erase",
        "explore_farm_animals",
        "explore_monuments",
        "explore_world_animals",
        "explore_world_music",
        "solar_system",
    )
)
