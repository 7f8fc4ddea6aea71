"""The microscope as a static site: the same pages as files that open from a disk and can be published."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import synesthete.visualization
from synesthete.atlas.files import claim_draft, disk_errors
from synesthete.errors import SynestheteError
from synesthete.report.links import Links
from synesthete.report.source import Opened
from synesthete.server.library import Library, Site
from synesthete.server.page import Page
from synesthete.server.pages import PAGES
from synesthete.server.picture_routes import made_file, mosaic, tile
from synesthete.server.render import STATIC_NAVIGATION, render
from synesthete.server.site_files import Files

STATIC = Path(__file__).parent / "static"
FONTS = synesthete.visualization.FONT_FOLDER
MARK, DRAFT, ENTRANCE = ".synesthete-site", ".draft", "index.html"
Progress = Callable[[int, int], None]


def export_site(
    atlas_path: str | Path, out: str | Path, *, progress: Progress | None = None
) -> dict[str, int]:
    """Write the pages of an atlas as files.

    Every page that another leads to is written, from the model card on: grids, neurons, concepts, families, the map, the
    licences, and a search that runs in the browser. What needs a model or writes reviews is left out.

    The site is prepared in `.draft` inside the folder, checked, and moved to its place with `index.html` last: a site that
    is there with its first page is complete. Killed before, the same call does it anew.

    Parameters
    ----------
    out
        A folder that does not exist, is empty, or holds a site that this wrote before (which is replaced file by file).
    progress
        Called with (files written, files known of).

    Returns
    -------
    dict
        How many `pages` and `pictures` were written.

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
            counts = _write_site(opened, draft, progress)
            _put_in_place(draft, folder)
    return counts


def _write_site(opened: Opened, folder: Path, progress: Progress | None) -> dict[str, int]:
    files, counts = Files(), {"pages": 0, "pictures": 0}
    for start in ("/", "/search"):
        files.file(start)
    done: set[str] = set()
    while left := [path for path in files.wanted if path not in done]:
        for path in left:
            target = folder / files.wanted[path]
            target.parent.mkdir(parents=True, exist_ok=True)
            kind = _write(
                Site(opened, Links(live=False), path=urlsplit(path).path), path, target, files
            )
            counts[kind] = counts.get(kind, 0) + 1
            done.add(path)
            if progress is not None:
                progress(len(done), len(files.wanted))
    ignored = shutil.ignore_patterns("*.py", "__pycache__")
    shutil.copytree(FONTS, folder / "static" / "fonts", ignore=ignored, dirs_exist_ok=True)
    index = json.dumps(_index(Site(opened, Links(live=False)), files), ensure_ascii=False)
    (folder / "static" / "search-index.js").write_text(
        f"window.synestheteIndex = {index};\n", encoding="utf-8"
    )
    broken = broken_links(folder)
    if broken:
        raise SynestheteError(f"{len(broken)} links lead nowhere, for example {broken[0]}")
    return {"pages": counts["pages"], "pictures": counts["pictures"]}


def _check_place(folder: Path) -> None:
    if folder.is_file():
        raise SynestheteError(f"{folder} is a file", hint="name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise SynestheteError(
            f"{folder} holds something that is no exported site", hint="name another folder"
        )


def _put_in_place(draft: Path, folder: Path) -> None:
    """Every file by one rename; the entrance is shut meanwhile."""
    (folder / ENTRANCE).unlink(missing_ok=True)
    for path in sorted(one for one in draft.rglob("*") if one.is_file()):
        name = path.relative_to(draft)
        if name.as_posix() != ENTRANCE:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(folder / name)
    (draft / ENTRANCE).replace(folder / ENTRANCE)


def _write(site: Site, path: str, target: Path, files: Files) -> str:
    plain = unquote(urlsplit(path).path)
    if plain.startswith("/static/"):
        target.write_bytes(_asset(plain.removeprefix("/static/")))
        return "assets"
    if plain.endswith(".webp"):
        target.write_bytes(_picture(site, plain))
        return "pictures"
    page, given = _match(plain)
    given |= {
        key: int(value) if key == "page" else value
        for key, value in parse_qsl(urlsplit(path).query)
    }
    facts = page.view(site, **given)
    html = render(page, site, facts, static=True, twin="", navigation=STATIC_NAVIGATION)
    target.write_text(files.rewrite(html, files.wanted[path]), encoding="utf-8")
    return "pages"


def _match(path: str) -> tuple[Page, dict[str, Any]]:
    for page in PAGES:
        if page.exported:
            # "{name:path}" of FastAPI as a named group.
            pattern = re.sub(r"\{(\w+)(:path)?\}", r"(?P<\1>.+)", page.path)
            found = re.fullmatch(pattern, path)
            if found:
                return page, dict(found.groupdict())
    raise SynestheteError(f"no page of a static site lies at {path}")


def _picture(site: Site, path: str) -> bytes:
    key = path.removesuffix(".webp")
    if key.startswith("/image/"):
        return tile(site, key.removeprefix("/image/")).data
    if key.startswith("/visualization/"):
        address, _, name = key.removeprefix("/visualization/").rpartition("/")
        return made_file(site, address, name).data
    return mosaic(site, key.removeprefix("/neuron/")).data


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
        code = re.sub(r"export default (async )?function", r"return \1function", code)
        parts.append(f"const {name} = (() => {{\n{code}\n}})();")
    main = (STATIC / "main.js").read_text(encoding="utf-8")
    call = "import(`./${name}.js`).then((loaded) => wake(loaded.default))"
    assert call in main
    main = main.replace(call, f"wake(({{ {', '.join(names)} }})[name])")
    return "(() => {\n" + "\n".join(parts) + f"\n{main}\n}})();\n"


def _index(site: Site, files: Files) -> list[dict[str, Any]]:
    """Neurons (the most multimodal first), concepts and families that have a page, for the search."""
    from synesthete.report.columns import ordered

    rows: list[dict[str, Any]] = []

    def add(text: str, label: str, path: str) -> None:
        if path in files.wanted:
            rows.append(
                {"text": text, "label": label, "path": files.wanted[path], "order": len(rows)}
            )

    for concept in site.atlas.concepts:
        add(concept, f"{concept} (concept)", site.links.concept(concept))
    for layer in site.atlas.layers if site.atlas.analysed else ():
        columns = site.opened.columns(layer)
        for family in columns.family.counts():
            add(family, f"{family} (family)", site.links.family(family))
        for unit in ordered(columns, _all(columns.units), "multimodality"):
            address, called = columns.address(int(unit)), columns.called(int(unit))
            add(
                called or address,
                f"{called or 'no concept'} · {address}",
                site.links.neuron(address),
            )
    return rows


def _all(count: int) -> Any:
    import numpy as np

    return np.arange(count)


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
