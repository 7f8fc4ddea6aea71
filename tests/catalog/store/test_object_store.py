"""A catalogue whose items are in an object store: everything works as in a folder, and two machines never double an item."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import synesthete as syn
from synesthete.catalog import Catalog, Item, Quarantined
from synesthete.catalog import reembed as reembedding
from synesthete.catalog.backup import back_up, restore
from synesthete.catalog.reembed import reembed
from synesthete.catalog.store import location as locations
from synesthete.catalog.store import table as tables
from synesthete.catalog.store.centres import Centres, array_of
from synesthete.catalog.store.location import ObjectStore, check_url
from synesthete.catalog.store.manifest import store_of
from synesthete.catalog.store.table import ItemTable
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from tests.catalog.conftest import sample_items
from tests.catalog.store.small import DIM, UNITS, batch
from tests.s3 import SECRET
from tests.small_atlas import write_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("moto") is None,
    reason="needs an S3 server: pip install 'moto[server]'",
)


def create(folder: Path, url: str) -> ItemTable:
    folder.mkdir()
    zeros = dict.fromkeys(
        ("images", "texts", "ground_images", "ground_texts"), np.zeros(DIM, np.float32)
    )
    units = dict.fromkeys(("units", "ground_units"), np.zeros(UNITS, np.float32))
    return ItemTable.create(ObjectStore(folder, url, "one"), DIM, UNITS, Centres(**zeros, **units))


def content(table: ItemTable) -> dict[str, str]:
    """Everything in it, each id once, with a check that vectors belong to their items."""
    found = table.pinned().search().to_arrow()
    ids, titles = found["id"].to_pylist(), found["title"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert array_of(found, "texts")[:, 0].tolist() == [1 + len(title) for title in titles]
    return dict(zip(ids, titles, strict=True))


def test_a_catalogue_works_as_in_its_folder(
    tmp_path: Path, bucket: str, model: ImageTextModel, shop_path: Path
) -> None:
    local = Catalog.open(shop_path, model=model)
    catalog = Catalog.create(tmp_path / "s.catalog", model, store=f"{bucket}/")
    assert catalog.upsert(sample_items()).added == 24
    assert catalog.upsert(sample_items()).unchanged == 24
    files = {file.name for file in catalog.path.iterdir()}
    assert files == {"catalog.json", "reference.npz", "write.lock"}
    assert json.loads((catalog.path / "catalog.json").read_text())["store"] == bucket
    assert all(SECRET.encode() not in file.read_bytes() for file in catalog.path.iterdir())
    for query in ({"text": "red mug"}, {"text": "lanp", "where": ["price<15", "colour=red|blue"]}):
        here, there = catalog.search(**query), local.search(**query)
        assert [hit.id for hit in here] == [hit.id for hit in there] != []
        assert [hit.score for hit in here] == [hit.score for hit in there]
        assert [hit.reasons for hit in here] == [hit.reasons for hit in there]
    assert catalog.thumbnail("mug-red") == local.thumbnail("mug-red")
    assert catalog.delete(["mug-red", "none"]).deleted == 1
    assert catalog.search("red mug")[0].id != "mug-red"
    before = catalog.snapshot().centres.version
    assert catalog.recenter() == before + 1
    other = tmp_path / "other machine"
    other.mkdir()
    for name in ("catalog.json", "reference.npz"):
        (other / name).write_bytes((catalog.path / name).read_bytes())
    again = Catalog.open(other, model=model)
    assert sorted(item.id for item in again.items()) == sorted(
        {item.id for item in sample_items()} - {"mug-red"}
    )
    again.upsert([Item("new", title="turquoise teapot"), Quarantined("bad", "item", "no")])
    assert catalog.search("turquoise teapot")[0].id == "new"
    assert [one.id for one in catalog.quarantine()] == ["bad"]


WRITER = """
    from contextlib import nullcontext
    from pathlib import Path
    from types import SimpleNamespace
    from synesthete.catalog.store import location as locations
    from synesthete.catalog.store.location import ObjectStore
    from synesthete.catalog.store.table import ItemTable
    from tests.catalog.store.small import batch
    locations.uuid = SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=str(NAME)))
    if not TURNS:
        ObjectStore.writing = lambda self: nullcontext()
    table = ItemTable(ObjectStore(Path(FOLDER), URL, "one"))
    for number in range(ROUNDS):
        table.commit(batch({f"{n}": f"{NAME}{number}" for n in range(number % 7, 60, 3)}))
        if TURNS and number % 4 == 0:
            table.tidy()
"""


def writer(
    folder: Path, url: str, name: int, rounds: int, *, turns: bool = True
) -> subprocess.Popen[bytes]:
    """Another machine: a process with a folder of its own."""
    folder.mkdir()
    facts = {"FOLDER": str(folder), "URL": url, "NAME": name, "ROUNDS": rounds, "TURNS": turns}
    given = "".join(f"{key} = {value!r}\n" for key, value in facts.items())
    code = given + textwrap.dedent(WRITER)
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])


def test_two_machines_and_one_killed_double_nothing(tmp_path: Path, bucket: str) -> None:
    table = create(tmp_path / "first", bucket)
    steady = writer(tmp_path / "a", bucket, 1, 5)
    killed = writer(tmp_path / "b", bucket, 2, 1000)
    seen: set[str] = set()
    while not {"1", "2"} <= seen:  # both have written
        assert killed.poll() is None
        seen |= {title[0] for title in content(table).values()}
        time.sleep(1)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    # Its turn, if it was its, would end by itself within a minute.
    state = ObjectStore(tmp_path / "first", bucket, "one")._state()
    state.update(where="holder = '2'", values={"until": time.time() + 1})
    assert steady.wait() == 0
    assert set(content(table)) == {str(n) for n in range(60)}
    table.commit(batch(dict.fromkeys(content(table), "last")))
    assert set(content(table).values()) == {"last"}


def test_without_turns_the_primary_key_doubles_nothing(tmp_path: Path, bucket: str) -> None:
    """As for machines whose clocks differ by more than a lease: of two inserts of an id, LanceDB refuses the later and tries again."""
    table = create(tmp_path / "first", bucket)
    writers = [writer(tmp_path / name, bucket, 1, 6, turns=False) for name in ("a", "b")]
    assert [one.wait() for one in writers] == [0, 0]
    assert set(content(table)) == {str(n) for n in range(60)}


def test_a_turn_that_was_lost_changes_nothing(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that sleeps longer than its lease finds another table in use, and does not put its own in its place."""
    table = create(tmp_path / "first", bucket)
    table.commit(batch({"a": "x"}))
    (tmp_path / "second").mkdir()
    slow = ItemTable(ObjectStore(tmp_path / "second", bucket, "one"))
    built = tables.ItemTable._index

    def stalled(self: ItemTable, new: object = None) -> None:
        if self is slow:
            monkeypatch.setattr(tables.ItemTable, "_index", built)
            table.commit(batch({"b": "y"}))
        built(self, new)  # type: ignore[arg-type]

    monkeypatch.setattr(tables.ItemTable, "_index", stalled)
    monkeypatch.setattr(locations, "LEASE", -1.0)  # over as soon as it is given
    with pytest.raises(SynestheteError, match="another one took its turn"):
        slow.recenter()
    assert content(table) == {"a": "x", "b": "y"}
    assert table.version()[0] == "items-1"
    monkeypatch.setattr(locations, "LEASE", 60.0)
    table.tidy()
    names = table._lance().list_tables().tables
    assert [name for name in names if name.startswith("items-")] == ["items-1", table.version()[0]]


def test_what_is_wrong_is_one_line(tmp_path: Path, bucket: str, empty_path: Path) -> None:
    for url in ("file:///etc", "https://a/b", "s3://", "/tmp", "s3://[", "memory://"):
        with pytest.raises(SynestheteError, match="not the URL of an object store"):
            check_url(url)
    for url in (f"s3://key:{SECRET}@bucket/a", f"az://a/b?sig={SECRET}"):
        with pytest.raises(SynestheteError, match="more than a bucket") as caught:
            check_url(url)
        assert SECRET not in str(caught.value)
    create(tmp_path / "one", bucket).commit(batch({"a": "x"}))
    with pytest.raises(SynestheteError, match="has the items of a catalogue already"):
        create(tmp_path / "two", bucket)
    with pytest.raises(SynestheteError, match="s3://no-such-bucket/x: ") as caught:
        create(tmp_path / "three", "s3://no-such-bucket/x")
    assert "AWS_REGION" in str(caught.value.hint)
    other = ItemTable(ObjectStore(tmp_path, bucket, "another"))
    with pytest.raises(SynestheteError, match="the items of another catalogue"):
        other.count()
    shutil.copytree(empty_path, tmp_path / "four")
    manifest = tmp_path / "four" / "catalog.json"
    facts = json.loads(manifest.read_text())
    for wrong, message in ((7, "damaged"), ("file:///tmp", "not the URL")):
        manifest.write_text(json.dumps({**facts, "store": wrong}))
        with pytest.raises(SynestheteError, match=message):
            Catalog.open(manifest.parent)


def test_a_backup_holds_the_items_and_restores_them_into_a_folder_or_a_store(
    tmp_path: Path, bucket: str, model: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog.create(tmp_path / "s.catalog", model, store=bucket)
    catalog.upsert([*sample_items(), Quarantined("bad", "item", "no")])
    found = back_up(catalog.path, tmp_path / "b.zip")
    assert found.items == 24
    items, hits = list(catalog.items()), catalog.search("red mug")
    catalog.delete([item.id for item in items])  # nothing of what follows reads it there
    with monkeypatch.context() as patched:
        patched.delenv("AWS_ENDPOINT_URL")
        restore(tmp_path / "b.zip", tmp_path / "local.catalog")
        for path in (tmp_path / "local.catalog").rglob("*"):
            assert not path.stat().st_mode & 0o077, path
        local = Catalog.open(tmp_path / "local.catalog", model=model)
        assert list(local.items()) == items
        assert local.search("red mug") == hits
        assert [one.id for one in local.quarantine()] == ["bad"]
        assert local.upsert(sample_items()).unchanged == 24
    catalog.upsert(sample_items()[:1])
    with pytest.raises(SynestheteError, match="items of a catalogue already"):
        restore(tmp_path / "b.zip", tmp_path / "r.catalog", store=bucket)
    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "start", stopped)  # as a kill before the copy is complete
        with pytest.raises(SynestheteError, match="stopped"):
            restore(tmp_path / "b.zip", tmp_path / "r.catalog", store=f"{bucket}-2")
    assert not (tmp_path / "r.catalog").exists()
    restore(tmp_path / "b.zip", tmp_path / "r.catalog", store=f"{bucket}-2/")
    again = Catalog.open(tmp_path / "r.catalog", model=model)
    assert again.manifest["store"] == f"{bucket}-2"
    assert not [path for path in again.path.iterdir() if path.suffix == ".lance"]
    assert list(again.items()) == items
    again.upsert([Item("new", title="turquoise teapot")])
    assert again.search("turquoise teapot")[0].id == "new"


def stopped(*_: object) -> None:
    raise SynestheteError("stopped")


def test_another_model_in_a_store(
    tmp_path: Path, bucket: str, model: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second machine goes on with what it has, and may not write it, until it has the new manifest."""
    other = syn.load_model(write_model(tmp_path / "other", seed=1, dim=24))
    catalog = Catalog.create(tmp_path / "s.catalog", model, store=bucket)
    catalog.upsert(sample_items())
    shutil.copytree(catalog.path, tmp_path / "second")
    second = Catalog.open(tmp_path / "second", model=model)
    before = [(hit.id, hit.score) for hit in second.search("red mug")]
    with monkeypatch.context() as patched:
        patched.setattr(reembedding, "_switch", stopped)  # as a kill after the row says so
        with pytest.raises(SynestheteError, match="stopped"):
            reembed(catalog.path, other)
    with pytest.raises(SynestheteError, match="embedded again with another model"):
        second.upsert([Item("lost", title="lost")])
    done = reembed(catalog.path, other)
    assert (done.items, done.embedded) == (24, 0)
    assert [(hit.id, hit.score) for hit in second.search("red mug")] == before
    with pytest.raises(SynestheteError, match="embedded again with another model"):
        second.delete(["mug-red"])
    assert catalog.manifest["store"] == f"{bucket}/model-2"
    assert store_of(catalog.manifest) == bucket
    shutil.rmtree(tmp_path / "second")
    shutil.copytree(catalog.path, tmp_path / "second")
    second = Catalog.open(tmp_path / "second", model=other)
    second.upsert([Item("new", title="turquoise teapot")])
    assert catalog.search("turquoise teapot")[0].id == "new"
    assert catalog.vectors().shape == (25, 24)
