"""Recording a folder as users have them: good files beside files that cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synesthete.analysis.provenance import own_probes
from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.recording import record
from tests.recording.fakes import FakeModel
from tests.recording.trees import tree


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def fill(folder: Path) -> Path:
    for number in range(12):
        place = folder / f"concept{number % 3}" / ("photo", "word")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02d}.png").write_bytes(png(number))
    bad = folder / "concept0" / "photo"
    (bad / "empty.png").write_bytes(b"")
    (bad / "cut.png").write_bytes(png(99)[:900])
    (bad / "letter.png").write_text("Dear sir, this is no image.")
    return folder


def test_bad_files_are_rows_with_a_reason(tmp_path: Path) -> None:
    probes = load_probes(fill(tmp_path / "images"))
    atlas = open_atlas(record(FakeModel(), probes, None, tmp_path / "x.atlas"))
    bad = {row["key"]: row["reason"] for row in atlas.probes.to_pylist() if row["reason"]}
    assert sorted(Path(key).name for key in bad) == ["cut.png", "empty.png", "letter.png"]
    assert atlas.summary()["images"] == 12
    assert atlas.summary()["quarantined"] == 3
    assert atlas.summary()["modalities"] == {"photo": 6, "word": 6}
    assert atlas.verify() == []


class Stopped(Exception):
    pass


def stop_late(done: int, total: int, *_: object) -> None:
    if 96 <= done < total:
        raise Stopped


def test_drawn_words_are_part_of_the_atlas_and_of_a_resumed_recording(tmp_path: Path) -> None:
    for number in range(24):
        place = tmp_path / "images" / f"concept{number // 2}" / ("photo", "drawing")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(number))
    probes = load_probes(tmp_path / "images", words=True)
    whole = record(FakeModel(), probes, None, tmp_path / "whole.atlas", shard_size=256)
    resumed = tmp_path / "resumed.atlas"
    # Stopped in the second shard of several.
    with pytest.raises(Stopped):
        record(FakeModel(), probes, None, resumed, shard_size=64, progress=stop_late)
    again = load_probes(tmp_path / "images", words=True)
    record(FakeModel(), again, None, resumed, shard_size=64)
    assert tree(resumed) == tree(whole)
    atlas = open_atlas(whole)
    assert atlas.manifest["recipe"]["probes"]["fingerprint"] == probes.fingerprint
    rows = [row for row in atlas.probes.to_pylist() if row["modality"] == "word"]
    assert len(rows) > 72
    assert all(row["licence"] and row["source"] and row["status"] == "ok" for row in rows)
    plain = load_probes(tmp_path / "images")
    with pytest.raises(SynestheteError, match="holds another atlas"):
        record(FakeModel(), plain, None, whole)
    assert own_probes(atlas, tmp_path / "images").fingerprint == probes.fingerprint
    without = open_atlas(record(FakeModel(), plain, None, tmp_path / "plain.atlas"))
    assert own_probes(without, tmp_path / "images").fingerprint == plain.fingerprint


def test_an_image_that_changed_makes_another_atlas(tmp_path: Path) -> None:
    images = fill(tmp_path / "images")
    out = record(FakeModel(), load_probes(images), None, tmp_path / "x.atlas")
    (images / "concept1" / "word" / "01.png").write_bytes(png(1234))
    with pytest.raises(SynestheteError, match=r"holds another atlas: probes\.fingerprint is"):
        record(FakeModel(), load_probes(images), None, out)
