"""A catalogue of the format before, written by the code of then, comes to today's with all that is in it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from synesthete.catalog import Catalog
from synesthete.catalog.events import EventLog
from synesthete.catalog.keys import Keys
from synesthete.catalog.store import migration
from synesthete.catalog.store.migration import migrate_catalog
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.probes.decoding import decode
from synesthete.reviews.cases import Queue
from tests.catalog.conftest import sample_items


@pytest.fixture
def old(tmp_path: Path, empty_path: Path) -> Path:
    """14 items in two segments, of which one was replaced and one deleted; what was set aside, events, a key, a decided case."""
    with tarfile.open(Path(__file__).parent / "format_1.tar.xz") as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "old.catalog"
    # The reference is the same in both formats; this one is of the tests' own model.
    shutil.copy(empty_path / "reference.npz", path)
    facts = json.loads((path / "catalog.json").read_text())
    data = (path / "reference.npz").read_bytes()
    facts["reference"]["sha256"] = hashlib.sha256(data).hexdigest()
    (path / "catalog.json").write_text(json.dumps(facts))
    return path


def test_everything_moves(old: Path, model: ImageTextModel) -> None:
    with pytest.raises(SynestheteError, match="synesthete catalog migrate"):
        Catalog.open(old)
    others = {f: f.read_bytes() for f in old.glob("*.sqlite") if f.name != "catalog.sqlite"}
    assert migrate_catalog(old) == (1, 2)
    assert migrate_catalog(old) == (2, 2)
    assert {f: f.read_bytes() for f in others} == others
    assert not (old / "segments").exists()
    assert not (old / "catalog.sqlite").exists()
    catalog = Catalog(old)
    given = {item.id: item for item in sample_items()[:14] if item.id != "mug-red"}
    found = {item.id: item for item in catalog.items()}
    assert found.keys() == given.keys()
    for key, item in given.items():
        facts = {**found[key].as_dict(), "images": len(found[key].images)}
        assert facts == {**item.as_dict(), "images": len(item.images)}
    assert {one.id for one in catalog.quarantine()} == {"bad"}
    assert decode(catalog.thumbnail("lamp-red") or b"").size == (64, 64)
    assert catalog.thumbnail("mug-white") is None
    rows = catalog.snapshot().rows(["mug-blue", "plate-white"], ("images", "texts", "units"))
    assert np.allclose(np.linalg.norm(rows.array("images"), axis=1), 1, atol=1e-3)
    assert np.linalg.norm(rows.array("texts"), axis=1) == pytest.approx([1, 0], abs=1e-3)
    assert catalog.snapshot().centres.items == 13
    # The same items again are known to be the same: nothing is encoded.
    catalog._opened._model = model
    again = catalog.upsert(given.values())
    assert (again.added, again.changed, again.unchanged) == (0, 0, 13)
    assert len(catalog.search("blue mug", limit=3)) == 3
    log = EventLog(old)
    assert (len(list(log.read())), log.experiments()) == (8, ["pilot"])
    assert [key.name for key in Keys(old).every()] == ["a program"]
    (case,) = Queue(old).cases(waiting=False)
    assert case.verdicts == {"ann": ("accept", "")}


def test_an_interrupted_migration_is_done_again(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PIECE", 3)
    with monkeypatch.context() as patch:
        patch.setattr(migration.ItemTable, "tidy", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            migrate_catalog(old)
    assert migrate_catalog(old) == (1, 2)
    assert len(Catalog(old)) == 13


def test_damage_is_reported(old: Path) -> None:
    (file, *_) = (old / "segments").glob("*/units.npy")
    file.write_bytes(b"x")
    with pytest.raises(SynestheteError, match=r"units\.npy"):
        migrate_catalog(old)
    assert (old / "catalog.sqlite").exists()
