"""Labelled photos and the Stroop test, on models whose answers are known, and on the published data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synesthete.audits.typographic import stroop
from synesthete.audits.typographic.protocol import (
    COLOURS,
    SHIPPED,
    audit_photos,
    labelled_photos,
    published,
)
from synesthete.errors import SynestheteError
from tests.audits.fakes import COLOURS as SHADES
from tests.audits.fakes import NAMES, SIDE, STYLE, Blind, Reader

SHARED = Path(__file__).parents[3] / "shared" / "data" / "published" / "typographic"


def write_photos(folder: Path, labels: int = 12) -> Path:
    from synesthete.audits.labels import write_label

    folder.mkdir()
    for thing in NAMES:
        image = Image.new("RGB", (SIDE, SIDE), SHADES[thing])
        image.save(folder / f"{thing}-blank.png")
        for number in range(labels):
            word = NAMES[number % 3]
            labelled = write_label(image, word, STYLE, np.random.default_rng(number))
            # The same label again would be the same name: one space more keeps files apart.
            labelled.save(folder / f"{thing}-{word}{'_' * (number // 3)}.png")
    return folder


@pytest.mark.parametrize(("model", "rate"), [(Reader(), 1.0), (Blind(), 0.0)])
def test_planted_answers_to_photos(tmp_path: Path, model: Any, rate: float) -> None:
    found = audit_photos(model, write_photos(tmp_path / "photos"))
    assert found["photos"] == 39
    assert found["clean"]["rate"] == 1
    assert found["to_word"] == found["to_word"] | {"rate": rate, "n": 24}
    assert found["lost"]["rate"] == rate
    assert found["own_label"]["rate"] == 1
    assert found["classes"] == NAMES
    assert found["published"] is None


def test_a_thing_named_wrong_does_not_count(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    Image.new("RGB", (SIDE, SIDE), SHADES["panda"]).save(folder / "ox-blank.png")
    found = audit_photos(Reader(), folder)
    assert found["clean"]["successes"] == 2
    assert found["excluded"] == 8
    assert found["to_word"]["n"] == 16
    assert set(found["by_object"]) == {"hippopotamus", "panda"}


def test_folders_that_are_none_of_labelled_photos(tmp_path: Path) -> None:
    assert labelled_photos(tmp_path / "nowhere") == []
    folder = write_photos(tmp_path / "photos")
    Image.new("RGB", (8, 8)).save(folder / "something.png")
    assert labelled_photos(folder) == []
    (folder / "something.png").unlink()
    for path in folder.glob("*-blank.png"):
        path.unlink()
    assert labelled_photos(folder) == []
    with pytest.raises(SynestheteError, match="0 labelled photos can be used"):
        audit_photos(Reader(), folder)


def test_an_unreadable_photo_is_reported(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    (folder / "ox-panda.png").write_bytes(b"")
    found = audit_photos(Reader(), folder)
    assert list(found["unreadable"]) == ["ox-panda.png"]
    assert found["photos"] == 38


def test_the_shipped_photos_are_the_published_ones() -> None:
    photos = labelled_photos(SHIPPED)
    assert len(photos) == 171
    assert len({photo.thing for photo in photos}) == 9
    assert sum(photo.label == "blank" for photo in photos) == 9
    rates = published()
    assert (rates["zero_shot"]["successes"], rates["zero_shot"]["n"]) == (25, 34)
    assert (rates["linear_probe"]["successes"], rates["linear_probe"]["n"]) == (0, 34)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published originals are not here")
def test_the_shipped_values_are_those_of_the_published_files() -> None:
    from synesthete.audits.typographic.protocol import published_rows

    original = json.loads((SHARED / "small_attacks.json").read_text())["linear_probes"]["results"]
    ours = {(row.target, row.text): (row.rate, row.share) for row in published_rows()}
    theirs = {
        (target, text): (row["fraction_changed_to"], row["avg_img_l0_norm_diff"])
        for target, texts in original.items()
        for text, row in texts.items()
    }
    assert ours == theirs
    names = {path.stem for path in (SHARED / "in-the-wild-2").glob("*.jpg")}
    assert names == {photo.path.stem for photo in labelled_photos(SHIPPED)}


class Inky(Blind):
    """Sees the colour of what is not white."""

    def encode_images(self, pixels: Any) -> np.ndarray:
        rows = (255 - pixels.numpy()).mean((1, 2))
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def encode_texts(self, texts: Any) -> np.ndarray:
        rows = np.array([255 - np.array(COLOURS[t.split()[-1]], np.float32) for t in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_stroop_sees_the_ink_of_a_model_that_cannot_read() -> None:
    found = stroop(Inky())
    assert found.cells == 56
    assert found.names_the_ink.successes > 50
    assert found.reads_the_word.successes < 6
    assert found.congruent.successes >= 7
    assert found.as_dict()["published_reads_the_word"]["successes"] == 49
