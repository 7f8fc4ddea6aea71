"""A folder of somebody's photos, however they lie in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.probes.photos import load_photos, unlabelled
from synesthete.probes.probe_set import UnreadableImage


def _photo(path: Path, colour: str = "#c33") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), colour).save(path)


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """Folders by concept, one of drawings, nested ones, a loose image, and what else is in such folders."""
    root = tmp_path / "my photos"
    for number in range(3):
        _photo(root / "apple" / f"{number}.JPG")
    _photo(root / "apple" / "drawings" / "d.png")
    _photo(root / "2024" / "りんご" / "写真.jpg")
    _photo(root / "top.webp")
    (root / "apple" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99)
    (root / "apple" / "movie.mov").write_bytes(b"x")
    (root / "notes.txt").write_text("x")
    return root


def test_folders_are_concepts_and_other_files_are_left_out(pile: Path) -> None:
    photos = load_photos(pile)
    rows = {row["key"]: row for row in photos.labels.to_pylist()}
    assert rows["apple/0.JPG"]["concept"] == rows["apple/drawings/d.png"]["concept"] == "apple"
    assert rows["apple/drawings/d.png"]["modality"] == "drawing"
    assert rows["2024/りんご/写真.jpg"]["concept"] == "りんご"
    assert rows["top.webp"]["concept"] == ""
    assert rows["apple/0.JPG"]["family"]
    assert photos.notes == ("left out, not images: 2 (apple/movie.mov, notes.txt)",)
    assert [rows_of["key"] for rows_of in photos.labels.take(unlabelled(photos)).to_pylist()] == [
        "top.webp"
    ]
    with pytest.raises(UnreadableImage, match="HEIC"):
        photos.image(list(rows).index("apple/x.heic"))


def test_symbols_of_the_concepts_are_added_and_drawings_only_where_there_are_none(
    pile: Path,
) -> None:
    photos = load_photos(pile)
    apple = [row for row in photos.labels.to_pylist() if row["concept"] == "apple"]
    assert sum(row["modality"] == "symbol" for row in apple) >= 3
    assert [row["key"] for row in apple if row["modality"] == "drawing"] == ["apple/drawings/d.png"]
    assert sum(row["modality"] == "word" for row in apple) >= 6
    for row, label in enumerate(photos.labels.to_pylist()):
        if label["modality"] in ("symbol", "word") and label["concept"] == "apple":
            assert photos.image(row).size[0] > 0
            assert len(photos.table["sha256"][row].as_py()) == 64


def test_a_guess_is_marked_and_drawn_without_the_mark(pile: Path) -> None:
    photos = load_photos(pile, {"top.webp": ("hat (zero-shot)", "why")})
    assert not unlabelled(photos)
    rows = [row for row in photos.labels.to_pylist() if row["concept"].startswith("hat")]
    assert {row["concept"] for row in rows} == {"hat (zero-shot)"}
    assert {row["modality"] for row in rows} == {"photo", "drawing", "symbol", "word"}
    assert {row["caption"].lower() for row in rows if row["modality"] == "word"} == {"hat"}
    assert next(row for row in rows if row["key"] == "top.webp")["caption"] == "why"
    named = load_photos(pile, {"apple/0.JPG": ("hat (zero-shot)", "")})
    assert named.labels.to_pylist()[1]["concept"] != "hat (zero-shot)", (
        "a folder's name comes first"
    )


def test_what_is_no_folder_of_photos(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    _photo(tmp_path / "deep" / "a.jpg")
    for place, expected in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "a.txt", "is a file"),
    ):
        with pytest.raises(SynestheteError, match=expected):
            load_photos(place)
    (tmp_path / "deep" / "a.jpg").unlink()
    with pytest.raises(SynestheteError, match="1 files, none of them an image"):
        load_photos(tmp_path)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(SynestheteError, match="holds no file"):
        load_photos(tmp_path)


def test_a_described_folder_is_read_by_its_table(tmp_path: Path) -> None:
    _photo(tmp_path / "apple" / "a.jpg")
    (tmp_path / "metadata.csv").write_text("file_name,concept\napple/a.jpg,hat\n")
    photos = load_photos(tmp_path)
    assert photos.labels.to_pylist()[0]["concept"] == "hat"
    assert "symbol" in photos.modalities


def test_a_folder_of_what_cannot_be_read_is_refused_before_the_work(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(SynestheteError, match=r"of 2 images in .* none can be read: not an image"):
        load_photos(tmp_path)
    _photo(tmp_path / "c.png")
    assert "c.png" in load_photos(tmp_path).labels["key"].to_pylist()
