"""The static site: complete, links checked, nothing from outside."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.report.source import Links
from synesthete.server.export import SiteFiles, broken_links, export_site, script
from synesthete.server.library import Library, Site
from tests.recording.trees import tree
from tests.small_atlas import CONCEPTS, LAYER


@pytest.fixture(scope="module")
def site(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    counts = export_site(original, folder, neurons=None)
    assert counts["pages"] == len(list(folder.rglob("*.html")))
    return folder


def test_every_neuron_and_concept_has_a_page(site: Path) -> None:
    assert len(list((site / "concept").glob("*.html"))) == len(CONCEPTS)
    pages = list((site / "neuron").glob("*.html"))
    assert len(pages) == 256
    text = (site / "neuron" / f"{LAYER}-0.html").read_text(encoding="utf-8")
    assert "red apple" in text
    assert "csrf" not in text
    for page in site.rglob("*.html"):
        assert not re.search(r'(href|src|action)="(/|https?:)', page.read_text(encoding="utf-8")), (
            page
        )


def test_broken_links_are_found(site: Path, tmp_path: Path) -> None:
    assert broken_links(site) == []
    copy = Path(shutil.copytree(site, tmp_path / "copy"))
    (copy / "concepts.html").unlink()
    assert any("concepts.html" in one for one in broken_links(copy))


def test_the_search_index_names_files_that_exist(site: Path) -> None:
    text = (site / "static" / "search-index.js").read_text(encoding="utf-8")
    rows = json.loads(text.removeprefix("window.synestheteIndex = ").rstrip().rstrip(";"))
    assert {"red apple", "apple", "food"} <= {row["text"] for row in rows}
    assert all((site / row["path"]).is_file() for row in rows)


def test_a_second_export_replaces_and_other_folders_are_left_alone(
    original: Path, site: Path, tmp_path: Path
) -> None:
    before = {page.name: page.read_bytes() for page in site.glob("*.html")}
    export_site(original, site, neurons=None)
    assert {page.name: page.read_bytes() for page in site.glob("*.html")} == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(SynestheteError, match="other than an exported site"):
        export_site(original, mine)
    with pytest.raises(SynestheteError, match="is a file"):
        export_site(original, mine / "thesis.tex")


def test_the_script_is_one_plain_script() -> None:
    text = script()
    assert not re.search(r"^import\b|import\(", text, re.MULTILINE)
    assert "export default" not in text
    node = shutil.which("node")
    if node:
        subprocess.run([node, "--check", "-"], input=text.encode(), check=True)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=20, unique=True))
def test_every_path_gets_a_file_of_its_own(names: list[str]) -> None:
    files = SiteFiles()
    given = [files.file(Links().concept(name)) for name in names]
    assert len({one.casefold() for one in given}) == len(names)
    assert all(
        re.fullmatch(r"[A-Za-z0-9._/-]+", one) and ".." not in one.split("/") for one in given
    )
    assert [files.file(Links().concept(name)) for name in names] == given


class Killed(BaseException):
    """In the middle of an export."""


def written(site: Path, folder: Path) -> dict[str, int]:
    """In place of an export's long part, its result."""
    shutil.copytree(site, folder, dirs_exist_ok=True)
    return {"pages": 1, "images": 1}


@pytest.mark.parametrize("moves", [0, 1, 40, "last"])
def test_a_site_with_its_first_page_is_complete(
    original: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int | str
) -> None:
    wanted = tree(site)
    monkeypatch.setattr(
        "synesthete.server.export._write_site",
        lambda opened, folder, *more: written(site, folder),
    )
    own = Path(shutil.copytree(site, tmp_path / "own"))
    (own / "CNAME").write_text("mine")
    (own / "index.html").write_text("of another atlas")
    replace, seen = Path.replace, 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal seen
        seen += 1
        if self.name == "index.html" if moves == "last" else seen > int(moves):
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        # As after a kill, what was prepared stays.
        patch.setattr("synesthete.atlas.files.shutil.rmtree", lambda *a, **b: None)
        with pytest.raises(Killed):
            export_site(original, own)
    assert not (own / "index.html").exists()
    export_site(original, own)
    assert tree(own) == wanted | {"CNAME": tree(own)["CNAME"]}


def test_an_export_that_fails_leaves_the_site_that_was_there(
    original: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(shutil.copytree(site, tmp_path / "own"))
    before = tree(own)
    monkeypatch.setattr("synesthete.server.export.broken_links", lambda folder: ["x: y"])
    with pytest.raises(SynestheteError, match="lead nowhere"):
        export_site(original, own)
    assert tree(own) == before


def test_neurons_that_have_no_page_now_lose_the_one_they_had(
    original: Path, site: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(site, tmp_path / "own"))
    (own / "visualization" / "old").mkdir(parents=True)
    for name in ("neuron/gone-7.html", "visualization/old/1.webp", "neuron/notes.txt", "CNAME"):
        (own / name).write_text("x")
    export_site(original, own, neurons=3)
    pages = {page.stem for page in (own / "neuron").glob("*.html")}
    assert pages == {f"{LAYER}-{unit}" for unit in (0, 1, 3)}
    assert not (own / "neuron" / "gone-7.html").exists()
    assert not (own / "visualization" / "old" / "1.webp").exists()
    assert (own / "neuron" / "notes.txt").exists(), "not of an export"
    assert (own / "CNAME").exists()
    assert broken_links(own) == []


def test_neurons_left_out_are_shown_without_a_link(
    original: Path, site: Path, tmp_path: Path
) -> None:
    """Everything else is as in the whole site, and the bar knows its end from the start."""
    calls: list[tuple[int, int]] = []
    counts = export_site(
        original,
        tmp_path / "few",
        neurons=3,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert (counts["neurons"], counts["left_out"]) == (3, 253)
    pages = {page.stem for page in (tmp_path / "few" / "neuron").glob("*.html")}
    assert pages == {f"{LAYER}-{unit}" for unit in (0, 1, 3)}
    assert broken_links(tmp_path / "few") == []
    grid = (tmp_path / "few" / "neurons.html").read_text(encoding="utf-8")
    assert f'href="neuron/{LAYER}-0.html"' in grid
    assert f'href="neuron/{LAYER}-4.html"' not in grid
    assert calls == [(n + 1, len(calls)) for n in range(2 * (3 + len(CONCEPTS)))]
    files = [one for one in (tmp_path / "few").rglob("*") if one.is_file()]
    assert len(files) == counts["files"]


def test_the_images_of_a_page_are_views_of_one_file(original: Path, site: Path) -> None:
    """Decoded again, each is the thumbnail that the server gives."""
    page = (site / "concept" / "apple.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="\.\./(sprites/concept/apple\.svg)#(t\d+)"', page)
    assert len(shown) >= 8
    drawing = (site / "sprites" / "concept" / "apple.svg").read_text(encoding="utf-8")
    views = dict(re.findall(r'<view id="(t\d+)" viewBox="([^"]+)"/>', drawing))
    assert {view for _, view in shown} == set(views)
    (packed,) = re.findall(r'href="data:image/webp;base64,([^"]+)"', drawing)
    sheet = Image.open(io.BytesIO(base64.b64decode(packed))).convert("RGB")
    opened = Library([original]).get("small")
    tile = Site(opened, Links()).opened.thumbnails
    left, top, wide, high = map(int, views["t0"].split())
    cut = np.asarray(sheet.crop((left, top, left + wide, top + high)), float)
    own = [np.asarray(tile.cut(n), float) for n in range(opened.atlas.probes.num_rows - 1)]
    assert min(np.abs(cut - one).mean() for one in own if one.shape == cut.shape) < 6


def test_the_search_shows_images(site: Path) -> None:
    text = (site / "static" / "search-index.js").read_text(encoding="utf-8")
    rows = json.loads(text.removeprefix("window.synestheteIndex = ").rstrip().rstrip(";"))
    for row in rows:
        if "(family)" not in row["label"]:
            file, _, view = row["image"].partition("#")
            assert f'id="{view}"' in (site / file).read_text(encoding="utf-8"), row


def test_credits_are_listed_without_images(site: Path) -> None:
    page = (site / "licences.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>") == 64
    assert "<img" not in page
