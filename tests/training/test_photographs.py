"""Photographs from their repositories: what is listed, what is fetched, and what happens when it cannot be."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training import photographs, tables
from training.photographs import fetch_all, listed, small


def _jpeg(seed: int, size: tuple[int, int] = (400, 300)) -> bytes:
    noise = np.random.default_rng(seed).integers(
        0, 256, (size[1] // 20, size[0] // 20, 3), np.uint8
    )
    out = io.BytesIO()
    Image.fromarray(noise).resize(size).save(out, "JPEG")
    return out.getvalue()


def _archive(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"repository-abc/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(f"repository-abc/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)


class _Quiet(SimpleHTTPRequestHandler):
    paths: list[str] = []  # noqa: RUF012 - one list for all requests, emptied by the fixture

    def do_GET(self) -> None:
        self.paths.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address of archives, and the folder that is served there."""
    root = tmp_path / "served"
    root.mkdir()
    _Quiet.paths.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{repository}}/{{commit}}", root
    server.shutdown()


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    digest = hashlib.sha256(small(_jpeg(1))).hexdigest()[:16]
    (folder / "photograph_sources.tsv").write_text(
        "source\trepository\tcommit\tlicence\tattribution\n"
        "fruit\tsomeone/fruit\tc0ffee\tMIT\tSomeone\n"
        "tools\tothers/tools\tbeef\t\t\n"
    )
    (folder / "photographs.tsv").write_text(
        "path\tlabel\toriginal\tsha256\tlicence\tattribution\n"
        f"fruit/apple/1.webp\tapple\timages/red one.jpg\t{digest}\t\t\n"
        "fruit/apple/2.webp\tapple\timages/other.jpg\t0123456789abcdef\t\t\n"
        "fruit/pear/1.webp\tpear\timages/gone.jpg\t0123456789abcdef\t\t\n"
        "tools/saw/1.webp\tsaw\tsaw.png\t0123456789abcdef\tCC0\tAn author\n"
    )
    return folder


@pytest.mark.parametrize(
    ("folder", "count"), [(photographs.HERE, 9737), (photographs.NEVER_TRAINED, 97)]
)
def test_every_listed_photograph_says_where_it_is_from(folder: Path, count: int) -> None:
    photos = [one for of_source in listed(folder).values() for one in of_source]
    assert len(photos) == count
    assert len({one.path for one in photos}) == len(photos)
    for one in photos:
        assert one.licence
        assert one.attribution
        assert len(one.commit) == 40
        assert set(one.sha256) <= set("0123456789abcdef")
        assert not one.path.startswith("/")
        assert ".." not in Path(one.path).parts


def test_photographs_that_training_does_not_read_are_held_out_and_others() -> None:
    trained, never = (
        {
            (one.repository, one.original): f"photo:{one.path}"
            for of_source in listed(folder).values()
            for one in of_source
        }
        for folder in (photographs.HERE, photographs.NEVER_TRAINED)
    )
    assert not set(trained) & set(never)
    held_out = (photographs.NEVER_TRAINED / "held_out_photos.txt").read_text().split()
    assert set(never.values()) <= set(held_out)
    assert {key for key in held_out if key.startswith("photo:")} <= {
        *trained.values(),
        *never.values(),
    }


def test_they_are_fetched_shrunk_and_listed_with_their_licences(
    tmp_path: Path, lists: Path, archives: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, root = archives
    files = {
        "images/red one.jpg": _jpeg(1),
        "images/other.jpg": _jpeg(2),
        "README.md": b"x" * 9,
    }
    _archive(root / "someone" / "fruit" / "c0ffee", files, {"images/gone.jpg": "/etc/hostname"})
    _archive(root / "others" / "tools" / "beef", {"saw.png": _jpeg(3, (60, 90))})
    out = tmp_path / "photos"
    assert fetch_all(out, [], address, lists) == (3, 4)
    output = capsys.readouterr().out
    assert "fruit: 1 missing, 1 other, 1 same" in output
    assert "tools: 1 other" in output
    assert Image.open(out / "fruit/apple/1.webp").size == (160, 120)
    assert Image.open(out / "tools/saw/1.webp").size == (60, 90), "nothing is made larger"
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == [
        "1.webp",
        "1.webp",
        "2.webp",
        "manifest.csv",
    ]
    with (out / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [
        "fruit/apple/1.webp",
        "fruit/apple/2.webp",
        "tools/saw/1.webp",
    ]
    assert rows[0]["original path"] == "images/red one.jpg"
    assert [row["licence"] for row in rows] == ["MIT", "MIT", "CC0"]
    assert rows[2]["attribution"] == "An author"


def test_what_is_there_is_not_fetched_again(
    tmp_path: Path, lists: Path, archives: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, root = archives
    out = tmp_path / "photos"
    _archive(root / "others" / "tools" / "beef", {"saw.png": _jpeg(3)})
    assert fetch_all(out, ["tools"], address, lists) == (1, 4)
    assert fetch_all(out, ["tools"], address, lists) == (1, 4)
    assert _Quiet.paths == ["/others/tools/beef"]
    assert "tools: 1 there" in capsys.readouterr().out
    # A second source does not make the manifest forget the first.
    _archive(root / "someone" / "fruit" / "c0ffee", {"images/other.jpg": _jpeg(2)})
    assert fetch_all(out, ["fruit"], address, lists) == (2, 4)
    assert len(tables.rows(out / "manifest.csv")) == 2


def test_a_missing_archive_is_reported_and_the_others_are_fetched(
    tmp_path: Path, lists: Path, archives: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, root = archives
    _archive(root / "others" / "tools" / "beef", {"saw.png": _jpeg(3)})
    assert fetch_all(tmp_path / "a", [], address, lists) == (1, 4)
    assert "fruit: could not be fetched (HTTP Error 404" in capsys.readouterr().out
    whole = root / "someone" / "fruit" / "c0ffee"
    _archive(whole, {"images/other.jpg": _jpeg(2), "images/red one.jpg": _jpeg(1, (4000, 3000))})
    for cut in (b"no archive at all", whole.read_bytes()[: whole.stat().st_size // 2]):
        whole.write_bytes(cut)
        fetch_all(tmp_path / "b", ["fruit"], address, lists)
        assert "fruit: could not be fetched" in capsys.readouterr().out
    assert (tmp_path / "b" / "fruit/apple/2.webp").exists(), "what came before the end stays"
    assert not (tmp_path / "b" / "fruit/apple/1.webp").exists()


def test_what_is_no_image_is_reported(
    tmp_path: Path, lists: Path, archives: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, root = archives
    _archive(root / "others" / "tools" / "beef", {"saw.png": b"<html>not here</html>"})
    assert fetch_all(tmp_path / "photos", ["tools"], address, lists) == (0, 4)
    assert "tools: 1 broken" in capsys.readouterr().out


def test_only_known_sources_and_only_by_https(tmp_path: Path, lists: Path) -> None:
    with pytest.raises(ValueError, match="no source bread: there are fruit, tools"):
        fetch_all(tmp_path, ["bread"], folder=lists)
    for address in (
        "http://example.org/{commit}",
        "file:///etc/{commit}",
        "ftp://127.0.0.1/{commit}",
    ):
        with pytest.raises(ValueError, match="fetched by https"):
            fetch_all(tmp_path, ["fruit"], address, lists)
