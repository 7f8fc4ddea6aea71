"""An atlas written by an earlier format's code is refused in one line, and migrated with all that people said."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from synesthete import reviews
from synesthete.atlas import migrate_atlas, open_atlas
from synesthete.atlas.manifest import VERSION, sealed
from synesthete.errors import SynestheteError

FIXTURE = Path(__file__).parent / "data" / "format-1.zip"  # written by the last code of format 1
LAYER = "visual.layer4.0"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(FIXTURE) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "small.atlas"


def bytes_of(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_an_old_atlas_is_refused_with_what_to_do(old: Path) -> None:
    with pytest.raises(SynestheteError) as caught:
        open_atlas(old)
    assert "atlas format 1, older than the 2" in caught.value.message
    assert caught.value.hint == f"run: synesthete migrate {old}"


def test_reviews_images_and_recorded_bytes_are_carried(old: Path) -> None:
    before = bytes_of(old)
    fingerprint = json.loads(before["atlas.json"])["fingerprint"]
    assert migrate_atlas(old) == (1, VERSION)
    atlas = open_atlas(old)
    assert atlas.verify() == []
    assert atlas.fingerprint == fingerprint

    acts = reviews.read(old)
    assert [(act.kind, act.rater, act.value) for act in acts] == [
        ("accept", "ada", ""), ("rename", "ben", "kitten"), ("reject", "ada", ""),
        ("note", "ada", "only an edge\nof the <frame>"), ("flag", "ada", "odd"), ("unflag", "ben", ""),
        ("label", "ben", "yes"), ("request", "machine", "near the threshold"),
    ]  # fmt: skip
    assert reviews.foreign(atlas) == []
    images = atlas.visualizations(LAYER)
    assert [(image.unit, image.goal) for image in images] == [
        (0, "least"),
        (0, "most"),
        (1, "most"),
    ]
    assert all(atlas.visualization(image).startswith(b"RIFF") for image in images)
    assert not atlas.analysed
    names = atlas.unit_table(LAYER, "names")
    assert names is not None
    assert names["name"].to_pylist() == ["apple", "cat"]

    after = bytes_of(old)
    renamed = {
        name.replace("pictures.parquet", "images.parquet"): data for name, data in before.items()
    }
    changed = {name for name in renamed | after if renamed.get(name) != after.get(name)}
    gone = {f"layers/{LAYER}/neurons.parquet", f"layers/{LAYER}/selectivity.parquet"}
    assert changed - {"reviews.sqlite-wal", "reviews.sqlite-shm"} == {"atlas.json", *gone}


def test_migrating_again_changes_nothing(old: Path) -> None:
    migrate_atlas(old)
    before = bytes_of(old)
    assert migrate_atlas(old) == (VERSION, VERSION)
    assert bytes_of(old) == before


def test_killed_before_the_manifest_it_finishes_the_next_time(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("synesthete.atlas.migration.write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            migrate_atlas(old)
    with pytest.raises(SynestheteError, match="atlas format 1"):
        open_atlas(old)
    assert migrate_atlas(old) == (1, VERSION)
    assert len(open_atlas(old).visualizations(LAYER)) == 3


def test_a_damaged_or_foreign_manifest_is_not_migrated(old: Path, tmp_path: Path) -> None:
    manifest = json.loads((old / "atlas.json").read_text())
    (old / "atlas.json").write_text(json.dumps({**manifest, "reduction": "mean"}))
    with pytest.raises(SynestheteError, match="altered"):
        migrate_atlas(old)
    (old / "atlas.json").write_bytes(sealed({**manifest, "version": 99}))
    with pytest.raises(SynestheteError, match="newer"):
        migrate_atlas(old)
    with pytest.raises(SynestheteError, match="there is no atlas"):
        migrate_atlas(tmp_path / "nowhere")
    assert (old / "visualizations" / LAYER / "pictures.parquet").is_file()


def test_a_link_that_leads_out_is_left_alone(old: Path, tmp_path: Path) -> None:
    table = old / "visualizations" / LAYER / "pictures.parquet"
    outside = table.rename(tmp_path / "outside.parquet")
    table.symlink_to(outside)
    with pytest.raises(SynestheteError, match="leads out"):
        migrate_atlas(old)
    assert outside.is_file()
