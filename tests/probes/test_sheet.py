"""Contact sheets show every concept once, every image or how many more, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.probes import contact_sheets, load_probes, write_contact_sheets
from synesthete.probes.probe_set import ProbeSet
from tests.probes.samples import encoded, write


def solid_set(folder: Path, concepts: int, each: int) -> ProbeSet:
    """Each image of one colour of its own, to be found again on the page."""
    for c in range(concepts):
        for modality in ("photo", "drawing"):
            for i in range(each):
                colour = (40 + 10 * c, 40 + 10 * i, 90 if modality == "photo" else 160)
                image = Image.new("RGB", (50, 50), colour)
                name = f"concept number {c}/{modality}/{i}.png"
                write(folder / name, encoded(image, "PNG"))
    return load_probes(folder)


def colours(pages: list[Image.Image]) -> set[tuple[int, ...]]:
    found: set[tuple[int, ...]] = set()
    for page in pages:
        values, counts = np.unique(np.asarray(page).reshape(-1, 3), axis=0, return_counts=True)
        found |= {tuple(int(x) for x in v) for v, n in zip(values, counts, strict=True) if n > 1500}
    return found


def test_every_image_is_on_some_page(tmp_path: Path) -> None:
    probes = solid_set(tmp_path, concepts=6, each=7)
    done: list[int] = []
    pages = list(contact_sheets(probes, tile_px=48, page_height_px=500, progress=done.append))
    assert len(pages) > 1
    assert sum(done) == 6
    assert all(page.height <= 500 for page in pages)
    wanted = {(40 + 10 * c, 40 + 10 * i, b) for c in range(6) for i in range(7) for b in (90, 160)}
    assert wanted <= colours(pages)


def test_a_cell_can_be_cut_short(tmp_path: Path) -> None:
    probes = solid_set(tmp_path, concepts=2, each=5)
    (page,) = contact_sheets(probes, tile_px=48, per_cell=2)
    shown = colours([page])
    for c in range(2):
        for blue in (90, 160):
            assert len({(40 + 10 * c, 40 + 10 * i, blue) for i in range(5)} & shown) == 2


def test_unreadable_images_are_marked(tmp_path: Path) -> None:
    write(tmp_path / "apple" / "a.png", b"")
    (page,) = contact_sheets(load_probes(tmp_path))
    assert (190, 30, 30) in {colour for _, colour in page.getcolors(100_000) or []}


def test_pages_are_written_and_the_same_each_time(tmp_path: Path) -> None:
    probes = solid_set(tmp_path / "my set", concepts=4, each=2)
    first = write_contact_sheets(probes, tmp_path / "a", page_height_px=300)
    again = write_contact_sheets(probes, tmp_path / "b", page_height_px=300)
    assert [p.name for p in first] == [f"my-set-{i + 1:03d}.png" for i in range(len(first))]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]


def test_long_names_do_not_break_the_page(tmp_path: Path) -> None:
    write(tmp_path / ("w" * 200) / "a.png", encoded(Image.new("RGB", (9, 80)), "PNG"))
    (page,) = contact_sheets(load_probes(tmp_path))
    assert page.width >= 480


def test_what_cannot_be_laid_out(tmp_path: Path) -> None:
    probes = solid_set(tmp_path / "set", concepts=1, each=1)
    with pytest.raises(SynestheteError, match="16 pixels"):
        list(contact_sheets(probes, tile_px=3))
    with pytest.raises(SynestheteError, match="at least one image"):
        list(contact_sheets(probes, per_cell=0))
    with pytest.raises(SynestheteError, match="cannot write into"):
        write_contact_sheets(probes, write(tmp_path / "file", b"x") / "out")
