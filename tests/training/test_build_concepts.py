"""The probe set's builder: archives, credits, icons and tiles, on images made here."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fontTools")

from training.build_concepts.photo_credits import gcompris_credits, normal_licence
from training.build_concepts.qtresource import read_rcc
from training.build_concepts.render import TILE, render
from training.build_concepts.sources import Iconify, Original
from training.build_concepts.sprites import pack


def rcc(path: Path, files: dict[str, bytes]) -> Path:
    """A Qt resource archive of files in one folder, compressed with zlib."""
    names, data, nodes, places = b"", b"", [], {}
    for name in ("", "box", *files):
        places[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    nodes.append(struct.pack(">IHII", 0, 2, 1, 1))
    nodes.append(struct.pack(">IHII", places["box"], 2, len(files), 2))
    for name, content in files.items():
        packed = struct.pack(">I", len(content)) + zlib.compress(content)
        nodes.append(struct.pack(">IHHHI", places[name], 1, 0, 1, len(data)))
        data += struct.pack(">I", len(packed)) + packed
    tree = b"".join(node + bytes(8) for node in nodes)
    head = struct.pack(">4sIIII", b"qres", 2, 20, 20 + len(tree), 20 + len(tree) + len(data))
    path.write_bytes(head + tree + data + names)
    return path


def test_qt_archive(tmp_path: Path) -> None:
    files = {"a.txt": b"hello" * 50, "b.bin": bytes(range(256))}
    assert read_rcc(rcc(tmp_path / "x.rcc", files)) == {f"box/{n}": c for n, c in files.items()}
    (tmp_path / "y.rcc").write_bytes(b"PK\3\4 no archive of Qt's")
    with pytest.raises(ValueError, match="no Qt resource"):
        read_rcc(tmp_path / "y.rcc")


def test_credits_from_readme_blocks() -> None:
    readme = (
        "Copyright: Ada\nSource: https://example.org/bee\nLicense: CC-BY-2.0\nFiles: bee.webp\n\n"
        "Copyright:\n  Copyright 2009 NASA\n  Copyright 2018 Timo\nLicense: Public Domain\n"
        "Files:\n  moon.webp\n  sun.webp\n\nNo licence here: cow.webp\n"
    )
    credits = gcompris_credits({"gcompris/src/activities/erase/README": readme.encode()})
    assert set(credits) == {"erase/bee.webp", "erase/moon.webp", "erase/sun.webp"}
    assert credits["erase/bee.webp"].author == "Ada"
    assert credits["erase/bee.webp"].source == "https://example.org/bee"
    assert credits["erase/moon.webp"].author == "NASA; Timo"
    assert credits["erase/sun.webp"].licence == "Public domain"


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("CC BY-SA 3.0", "CC-BY-SA-3.0"),
        ("CC-BY-SA-2.0", "CC-BY-SA-2.0"),
        ("CC0", "CC0-1.0"),
        ("CC0 1.0", "CC0-1.0"),
        ("Public Domain", "Public domain"),
        ("GPLv2+", "GPLv2+"),
    ],
)
def test_licence_spellings(written: str, normal: str) -> None:
    assert normal_licence(written) == normal


@pytest.fixture
def icons(tmp_path: Path) -> Iconify:
    square = '<rect width="6" height="12" fill="currentColor"/>'
    (tmp_path / "icons.json").write_text(
        json.dumps(
            {
                "width": 12,
                "height": 12,
                "icons": {"left": {"body": square}},
                "aliases": {"right": {"parent": "left", "hFlip": True}, "west": {"parent": "left"}},
            }
        )
    )
    return Iconify(tmp_path)


def test_icon_aliases_and_flips(icons: Iconify) -> None:
    def halves(name: str) -> tuple[float, float]:
        grey = np.asarray(render(Original(icons.svg(name), None), photo=False).convert("L"))
        assert grey.shape == (TILE, TILE)
        return float(grey[64, 20]), float(grey[64, 108])

    assert halves("left") == halves("west") == (0, 255)
    assert halves("right") == (255, 0)
    with pytest.raises(KeyError, match="no icon 'up'"):
        icons.svg("up")


def test_photographs_fill_are_padded_or_cropped(tmp_path: Path) -> None:
    wide = np.zeros((100, 200, 3), np.uint8)
    wide[:, 150:] = (255, 0, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    original = Original(None, (tmp_path / "wide.png").read_bytes())
    assert np.asarray(render(original, photo=True)).max() < 255
    assert tuple(np.asarray(render(original, "pad", photo=True))[0, 0]) == (255, 255, 255)
    right = np.asarray(render(original, "80,0,100,40", photo=True))
    assert (right == (255, 0, 0)).all()


def test_tiles_are_packed_in_reading_order() -> None:
    tiles = [Image.new("RGB", (TILE, TILE), (n % 256, 0, 0)) for n in range(300)]
    places, sprites = pack(tiles, "symbol")
    assert [(p.sprite, p.tile) for p in (places[0], places[255], places[256])] == [
        ("symbol-00.webp", 0),
        ("symbol-00.webp", 255),
        ("symbol-01.webp", 0),
    ]
    assert len(sprites) == 2
    assert pack(tiles, "symbol")[1] == sprites
