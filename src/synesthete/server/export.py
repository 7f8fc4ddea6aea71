"""The microscope as a static site: the same pages as files that open from a disk and can be published."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import numpy as np

import synesthete.visualization
from synesthete._core.progress import Progress, Steps
from synesthete.atlas.files import claim_draft, disk_errors
from synesthete.errors import SynestheteError
from synesthete.report.columns import ordered
from synesthete.report.source import Links, Opened
from synesthete.server.library import Library, Site
from synesthete.server.page import Page, navigation
from synesthete.server.pages import PAGES
from synesthete.server.pages.bench import bench_card, bench_photo
from synesthete.server.pages.images import in_mosaic, visualization
from synesthete.server.render import render
from synesthete.server.sprites import OF_PAGES, SHARED, Sprites, draw

if TYPE_CHECKING:
    from PIL import Image

STATIC = Path(__file__).parent / "static"
FONTS = synesthete.visualization.FONT_FOLDER
MARK, DRAFT, FIRST = ".synesthete-site", ".draft", "index.html"
EXPORTED = tuple(page for page in PAGES if page.exported)
NAVIGATION = (*navigation(EXPORTED), ("Search", "/search"))
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ATTRIBUTE = re.compile(r'\b(href|src|action|content)="(/[^"]*)"')
_VALUE = re.compile(r'"(path|image)": "(/[^"]*)"')
_SPRITED = re.compile(r'<img src="(/(?:image|neuron)/[^"]*\.webp)"')
# Of neurons and images, which another export may leave out.
OLD = ("neuron", "visualization", "image", OF_PAGES, SHARED)
ENDINGS = (".html", ".webp", ".json", ".svg")
NEURONS = 100  # of each layer have a page unless more are wanted
TOGETHER = 6_000  # thumbnails cut for one group of sprites (160 MB)


def export_site(
    atlas_path: str | Path,
    out: str | Path,
    *,
    neurons: int | None = NEURONS,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write the pages of an atlas as files.

    Every page that another leads to is written, from the model card on: grids, neurons, concepts, families, the map, the
    licences, and a search that runs in the browser. What needs a model or writes reviews is left out. The thumbnails of a page are one file (`sprites`).

    The site is prepared in `.draft` inside the folder, checked, and moved to its place with `index.html` last: a site that
    is there with its first page is complete. Interrupted before, the same call starts again.

    Parameters
    ----------
    out
        A folder that does not exist, is empty, or holds a site that this wrote before (which is replaced file by file;
        pages and images of neurons that have none now are removed).
    neurons
        So many of each layer have a page, the most multimodal; None for all. The others are in the grids and on the map, without a link.
    progress
        Called with (steps done, how many there are): one for each page of a neuron or concept, and as many for the images.

    Returns
    -------
    dict
        How many `files` were written, the `pages` and `images` (thumbnails and visualizations that a page or script shows) among them, how many `neurons` have
        a page, and how many were `left_out`.

    Raises
    ------
    SynestheteError
        A folder with something else in it, or a link that leads nowhere.
    """
    folder = Path(out)
    _check_place(folder)
    library = Library([atlas_path])
    opened = library.get(library.first)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # First of all, and there with one step: it says whose folder this is, whatever happens.
        (folder / MARK).write_text("written by synesthete export\n", encoding="utf-8")
        with claim_draft(folder / DRAFT) as draft:
            counts = _write_site(opened, draft, neurons, progress)
            _put_in_place(draft, folder)
    return counts


def _write_site(
    opened: Opened, folder: Path, neurons: int | None, progress: Progress | None
) -> dict[str, int]:
    kept, left_out = _with_page(opened, neurons)
    files, counts = SiteFiles(left_out), {"pages": 0, "images": 0}
    links = Links(live=False)
    site = Site(opened, links)
    for start in ("/", "/search"):
        files.file(start)
    # The end of the bar is known before the first page: each of these is written, and is a step, as are its images.
    known = kept | {links.concept(name) for name in opened.atlas.concepts}
    steps = Steps(progress, 2 * len(known))
    done: set[str] = set()
    while left := [path for path in files.wanted if path not in done] or sorted(known - done):
        for path in left:
            files.file(path)
            kind = _write(Site(opened, links, path=urlsplit(path).path), path, folder, files)
            counts[kind] = counts.get(kind, 0) + 1
            done.add(path)
            if path in known:
                steps.advance()
    index = json.dumps(_index(site, files), ensure_ascii=False)
    counts["images"] += _write_sprites(site, folder, files.sprites, steps, len(known))
    ignored = shutil.ignore_patterns("*.py", "__pycache__")
    shutil.copytree(FONTS, folder / "static" / "fonts", ignore=ignored, dirs_exist_ok=True)
    (folder / "static" / "search-index.js").write_text(
        f"window.synestheteIndex = {index};\n", encoding="utf-8"
    )
    broken = broken_links(folder)
    if broken:
        raise SynestheteError(f"{len(broken)} links lead nowhere, for example {broken[0]}")
    return {
        "files": sum(one.is_file() for one in folder.rglob("*")) + 1,  # and its mark
        "pages": counts["pages"],
        "images": counts["images"],
        "neurons": len(kept),
        "left_out": len(left_out),
    }


def _write_sprites(site: Site, folder: Path, sprites: Sprites, steps: Steps, share: int) -> int:
    """The sprites, in groups for which each of the atlas's own is decoded once; how many images are on them."""
    sheets = list(sprites.sheets())
    own = {path: _thumbnails_of(site, path) for path in {p: 0 for _, some in sheets for p in some}}
    groups: list[list[tuple[str, list[str]]]] = [[]]
    together: set[int] = set()
    for name, paths in sheets:
        if len(together) > TOGETHER:
            groups.append([])
            together = set()
        groups[-1].append((name, paths))
        together |= {one for path in paths for one in own[path] if one is not None}
    drawn = 0
    for group in groups:
        needed = (one for _, paths in group for path in paths for one in own[path])
        site.opened.thumbnails.prepare(one for one in needed if one is not None)
        for name, paths in group:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(draw([_thumbnail(site, path, own[path]) for path in paths]))
            drawn += 1
            for _ in range(share * drawn // len(sheets) - share * (drawn - 1) // len(sheets)):
                steps.advance()
    site.opened.thumbnails.prepare(())
    for _ in range(0 if sheets else share):
        steps.advance()
    return len(own)


def _thumbnail(site: Site, path: str, images: Sequence[int | None]) -> Image.Image:
    """An image of a sprite: of the probe set, or a neuron's of each modality."""
    thumbnails = site.opened.thumbnails
    if path.startswith("/neuron/"):
        return thumbnails.sheet(images)
    (number,) = (one for one in images if one is not None)
    return thumbnails.cut(number)


def _with_page(opened: Opened, neurons: int | None) -> tuple[set[str], set[str]]:
    """Paths of the neurons that have a page, and of those that have none."""
    kept: set[str] = set()
    left_out: set[str] = set()
    links = Links(live=False)
    for layer in opened.atlas.layers if opened.atlas.analysed else ():
        columns = opened.columns(layer)
        order = ordered(columns, np.arange(columns.units), "multimodality")
        paths = [links.neuron(columns.address(int(unit))) for unit in order]
        kept.update(paths[:neurons])
        left_out.update(paths[len(paths) if neurons is None else neurons :])
    return kept, left_out


def _is_image(path: str) -> bool:
    return urlsplit(path).path.endswith((".webp", ".png")) and not path.startswith("/static/")


def _thumbnails_of(site: Site, path: str) -> list[int | None]:
    """The images that a thumbnail is made of; of a neuron one a modality, None for a place that stays clear."""
    key = unquote(path).removesuffix(".webp")
    if key.startswith("/image/"):
        number = site.opened.ids.number(key.removeprefix("/image/"))
        return [] if number is None else [number]
    if key.startswith("/neuron/"):
        return in_mosaic(site, key.removeprefix("/neuron/"))
    return []


def _check_place(folder: Path) -> None:
    if folder.is_file():
        raise SynestheteError(f"{folder} is a file", hint="name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise SynestheteError(
            f"{folder} holds something other than an exported site", hint="name another folder"
        )


def _put_in_place(draft: Path, folder: Path) -> None:
    """Every file by one rename; there is no first page meanwhile. What earlier exports wrote of other neurons goes."""
    (folder / FIRST).unlink(missing_ok=True)
    paths = sorted(one for one in draft.rglob("*") if one.is_file())
    # Not every disk tells letter case apart.
    written = {path.relative_to(draft).as_posix().casefold() for path in paths}
    for old in [one for name in OLD for one in (folder / name).rglob("*")]:
        there = old.relative_to(folder).as_posix().casefold()
        if old.is_file() and old.suffix in ENDINGS and there not in written:
            old.unlink()
    for path in paths:
        name = path.relative_to(draft)
        if name.as_posix() != FIRST:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(folder / name)
    (draft / FIRST).replace(folder / FIRST)


def _write(site: Site, path: str, folder: Path, files: SiteFiles) -> str:
    target = folder / files.wanted[path]
    target.parent.mkdir(parents=True, exist_ok=True)
    plain = unquote(urlsplit(path).path)
    if plain.startswith("/static/"):
        target.write_bytes(_asset(plain.removeprefix("/static/")))
        return "assets"
    query = {
        key: int(value) if key == "page" else value
        for key, value in parse_qsl(urlsplit(path).query)
    }
    if _is_image(path):
        target.write_bytes(_image(site, plain, query))
        return "images"
    page, given = _match(plain)
    given |= query
    facts = page.view(site, **given)
    html = render(page.template, site, facts=facts, static=True, navigation=NAVIGATION)
    target.write_text(files.rewrite(html, files.wanted[path]), encoding="utf-8")
    return "pages"


def _match(path: str) -> tuple[Page, dict[str, Any]]:
    for page in EXPORTED:
        # "{name:path}" of FastAPI as a named group.
        pattern = re.sub(r"\{(\w+)(:path)?\}", r"(?P<\1>.+)", page.path)
        if found := re.fullmatch(pattern, path):
            return page, dict(found.groupdict())
    raise SynestheteError(f"no page of a static site lies at {path}")


def _image(site: Site, path: str, given: dict[str, Any]) -> bytes:
    if path.startswith("/bench."):
        return (bench_card if path.endswith(".png") else bench_photo)(site, **given).data
    key = path.removesuffix(".webp")
    address, _, name = key.removeprefix("/visualization/").rpartition("/")
    return visualization(site, address, name).data


def _asset(name: str) -> bytes:
    if name == "site.js":
        return script().encode()
    if name == "search-index.js":
        return b""
    return (STATIC / name).read_bytes()


def script() -> str:
    """The modules as one plain script: browsers load no modules from a disk."""
    parts = []
    names = sorted(path.stem for path in STATIC.glob("*.js") if path.stem != "main")
    for name in names:
        code = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        # What it imports is a constant beside it, looked up when the function is called.
        code = re.sub(r'^import (\w+) from "\./\1\.js";$', "", code, flags=re.MULTILINE)
        code = re.sub(r"export default (async )?function", r"return \1function", code)
        parts.append(f"const {name} = (() => {{\n{code}\n}})();")
    main = (STATIC / "main.js").read_text(encoding="utf-8")
    call = "import(`./${name}.js`).then((loaded) => wake(loaded.default))"
    assert call in main
    main = main.replace(call, f"wake(({{ {', '.join(names)} }})[name])")
    return "(() => {\n" + "\n".join(parts) + f"\n{main}\n}})();\n"


def _index(site: Site, files: SiteFiles) -> list[dict[str, Any]]:
    """Neurons (the most multimodal first), concepts and families that have a page, for the search."""
    rows: list[dict[str, Any]] = []

    def add(text: str, label: str, path: str, image: str = "") -> None:
        if path in files.wanted:
            row = {"text": text, "label": label, "path": files.wanted[path], "order": len(rows)}
            rows.append(row | ({"image": files.sprites.shared(image)} if image else {}))

    for concept in site.atlas.concepts:
        path = site.links.concept(concept)
        image = files.sprites.first(files.wanted.get(path, ""))
        add(concept, f"{concept} (concept)", path, image)
    for layer in site.atlas.layers if site.atlas.analysed else ():
        columns = site.opened.columns(layer)
        for family in columns.family.counts():
            add(family, f"{family} (family)", site.links.family(family))
        for unit in ordered(columns, np.arange(columns.units), "multimodality"):
            address, heading = columns.address(int(unit)), columns.heading[int(unit)]
            label = f"{heading or 'no concept'} · {address}"
            path = site.links.neuron(address)
            add(heading or address, label, path, site.links.mosaic(address))
    return rows


class SiteFiles:
    """Gives every path of the microscope one file, and remembers which paths pages lead to.

    Parameters
    ----------
    left_out
        Paths that are not written; what links to them has no link in the site.

    Attributes
    ----------
    wanted
        Path → file, in the order in which pages first linked to them.
    sprites
        Where the thumbnails are.
    """

    def __init__(self, left_out: Collection[str] = ()) -> None:
        self.left_out = left_out
        self.wanted: dict[str, str] = {}
        self._taken: set[str] = set()
        self.sprites = Sprites()

    def file(self, path: str) -> str:
        """The file of a path (with its query).

        Examples
        --------
        >>> files = SiteFiles()
        >>> [files.file(p) for p in ("/", "/concept/hot%20dog", "/neuron/l:1", "/neuron/l:1.webp", "/concepts?page=2")]
        ['index.html', 'concept/hot-dog.html', 'neuron/l-1.html', 'neuron/l-1.webp', 'concepts-page-2.html']
        >>> files.file("/concept/hot-dog")
        'concept/hot-dog-2.html'
        """
        if path not in self.wanted:
            self.wanted[path] = self._free(path)
        return self.wanted[path]

    def _free(self, path: str) -> str:
        parts = urlsplit(path)
        pieces = [_plain(unquote(piece)) for piece in parts.path.strip("/").split("/") if piece]
        stem, dot, end = "/".join(pieces).rpartition(".")
        if not (dot and end in ("webp", "png", "css", "js", "svg")):
            stem, end = "/".join(pieces) or "index", "html"
        stem += "".join(f"-{_plain(key)}-{_plain(value)}" for key, value in parse_qsl(parts.query))
        free, number = f"{stem}.{end}", 2
        # Two names may differ in letter case alone, and not every disk tells those apart.
        while free.casefold() in self._taken:
            free, number = f"{stem}-{number}.{end}", number + 1
        self._taken.add(free.casefold())
        return free

    def rewrite(self, html: str, here: str) -> str:
        """A page with every address made relative to its file `here`."""

        def attribute(found: re.Match[str]) -> str:
            if _unescaped(found[2]) in self.left_out:
                return ""
            return f'{found[1]}="{self._relative(_unescaped(found[2]), here)}"'

        def thumbnail(found: re.Match[str]) -> str:
            file, _, view = self.sprites.of_page(here, _unescaped(found[1])).partition("#")
            return f'<img src="{_from(here, file)}#{view}"'

        def value(found: re.Match[str]) -> str:
            if found[2] in self.left_out:
                return f'"{found[1]}": null'
            if found[1] == "image":
                file, _, view = self.sprites.shared(found[2]).partition("#")
                return f'"image": "{_from(here, file)}#{view}"'
            return f'"{found[1]}": "{self._relative(found[2], here)}"'

        return _VALUE.sub(value, _ATTRIBUTE.sub(attribute, _SPRITED.sub(thumbnail, html)))

    def _relative(self, path: str, here: str) -> str:
        base, hash_, place = path.partition("#")
        return _from(here, self.file(base)) + hash_ + place


def _from(here: str, there: str) -> str:
    """The address of a file of the site on a page of it."""
    return quote(posixpath.relpath(there, posixpath.dirname(here) or "."))


def _unescaped(text: str) -> str:
    return text.replace("&amp;", "&").replace("&#39;", "'")


def _plain(piece: str) -> str:
    return _SAFE.sub("-", piece).strip("-.") or "x"


def broken_links(folder: Path) -> list[str]:
    """Links of a static site that lead to no file of it, as `page: link`."""
    found = []
    for page in sorted(folder.rglob("*.html")):
        html = page.read_text(encoding="utf-8")
        for link in set(re.findall(r'\b(?:href|src|action)="([^"]*)"', html)):
            base = unquote(urlsplit(link).path)
            if urlsplit(link).scheme or link.startswith("#") or not base:
                continue
            if not (page.parent / base).resolve().is_file():
                found.append(f"{page.relative_to(folder)}: {link}")
    return found
