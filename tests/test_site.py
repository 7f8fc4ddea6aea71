"""The documentation as a site: it builds strictly, every page has its place, every link leads somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAV = tomllib.loads((DOCS / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
ADDRESS = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        import build_site
    folder = tmp_path_factory.mktemp("site") / "docs"
    assert build_site.build(folder) == folder / "site"
    return folder


def pages(entries: list[dict[str, object]]) -> Iterator[str]:
    """The pages of a part of the navigation, in its order."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, list):
                yield from pages(value)
            else:
                yield str(value)


def test_every_page_is_in_the_navigation_once() -> None:
    named = list(pages(NAV))
    assert len(set(named)) == len(named)
    own = {name for name in named if "/" not in name}
    assert own == {path.name for path in DOCS.glob("*.md")}


def test_the_first_page_lists_what_the_navigation_does() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    sections = [entry for entry in NAV if isinstance(next(iter(entry.values())), list)]
    assert [next(iter(entry)) for entry in sections] == [
        "Tutorials",
        "How-to",
        "Reference",
        "Explanation",
    ]
    for entry in sections:
        ((title, inner),) = entry.items()
        part = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \|", part, re.MULTILINE)
        listed = [{name: target.replace("../", "repository/")} for name, target in rows]
        assert listed == inner


def test_every_link_of_the_site_leads_somewhere(out: Path) -> None:
    site = out / "site"
    built = list(site.rglob("*.html"))
    assert len(built) > len(list(DOCS.glob("*.md")))
    for page in built:
        for address in ADDRESS.findall(page.read_text(encoding="utf-8")):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or not parts.path or page.name == "404.html":
                continue
            assert (page.parent / unquote(parts.path)).exists(), f"{page.name}: {address}"


def test_a_page_loads_nothing_from_elsewhere(out: Path) -> None:
    for page in (out / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'src="(?:https?:)?//[^"]*"', text), page.name
        assert not re.findall(r'<link[^>]*stylesheet[^>]*href="(?:https?:)?//', text), page.name


@pytest.mark.parametrize("link", ["[x](glossary.md#no-such-part)", "[x](no-such-page.md)"])
def test_a_link_that_leads_nowhere_ends_the_build(out: Path, link: str) -> None:
    page = out / "docs" / "families.md"
    before = page.read_text(encoding="utf-8")
    page.write_text(f"{before}\n{link}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=out,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    page.write_text(before, encoding="utf-8")
    assert done.returncode != 0
    assert "families.md" in done.stdout + done.stderr


def test_the_readme_is_short_and_light() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert images
    assert sum((ROOT / name).stat().st_size for name in images) <= 2_000_000
    assert "badge" not in text.lower()


def test_the_citation_is_of_this_version() -> None:
    import yaml

    from synesthete import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__
    assert citation["authors"] == [{"name": "The Synesthete authors"}]
    assert "The Synesthete authors" in (ROOT / "NOTICE").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert citation["title"].replace("CLIP", "{CLIP}") in readme
    assert f"{{{__version__}}}" in readme


def test_every_place_of_the_gallery_names_a_model_and_its_command() -> None:
    from synesthete import list_models

    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `synesthete reproduce (\S+) --out \S+` \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) > 3
    assert {model for model, _ in rows} <= {model["name"] for model in list_models()}
    for model, state in rows:
        measured = re.search(r"\]\(([^)]+)\)", state)
        assert measured is not None or state == "*empty*", model
        assert measured is None or (DOCS / measured[1]).is_file()
