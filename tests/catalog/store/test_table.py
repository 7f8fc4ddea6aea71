"""The table of items: like a dict after any sequence of acts, whole after any kill, right with several writers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.atlas.files import DraftInUse
from synesthete.catalog import Quarantined
from synesthete.catalog.store import table as tables
from synesthete.catalog.store.centres import Centres, array_of
from synesthete.catalog.store.location import BUILDING, LOCK, POINTER
from synesthete.catalog.store.table import ItemTable, indexed_to, probes_of
from synesthete.errors import SynestheteError
from tests.catalog.store.small import DIM, UNITS, batch


def make(path: Path) -> ItemTable:
    path.mkdir(exist_ok=True)
    zeros = dict.fromkeys(
        ("images", "texts", "ground_images", "ground_texts"), np.zeros(DIM, np.float32)
    )
    units = dict.fromkeys(("units", "ground_units"), np.zeros(UNITS, np.float32))
    return ItemTable.create(path, DIM, UNITS, Centres(**zeros, **units))


def content(path: Path) -> dict[str, str]:
    """Everything in it, read again, each id once, with a check that vectors and thumbnails belong to their items."""
    opened = ItemTable(path)
    with opened.errors():
        found = opened.pinned().search().to_arrow()
    ids, titles = found["id"].to_pylist(), found["title"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert array_of(found, "texts")[:, 0].tolist() == [1 + len(title) for title in titles]
    assert found["thumbnail"].to_pylist() == [title.encode() for title in titles]
    assert opened.count() == len(ids)
    opened.close()
    return dict(zip(ids, titles, strict=True))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bare") / "table"
    make(path).close()
    return path


@pytest.fixture
def place(bare: Path, tmp_path: Path) -> Path:
    shutil.copytree(bare, tmp_path / "table")
    return tmp_path / "table"


KEYS = st.sampled_from(["a", "b'; DROP", "ü", "مرحبا", "🙂"])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.dictionaries(KEYS, st.text("xyz", max_size=5), min_size=1)),
        st.tuples(st.just("delete"), st.lists(KEYS, max_size=3)),
        st.tuples(st.just("tidy"), st.just(None)),
    ),
    max_size=10,
)


@settings(max_examples=8, deadline=None)
@given(acts=ACTS)
def test_like_a_dict(
    acts: list[tuple[str, Any]], bare: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("dict") / "table"
    shutil.copytree(bare, place)
    opened, truth = ItemTable(place), dict[str, str]()
    for act, what in acts:
        if act == "upsert":
            opened.commit(batch(what))
            truth |= what
        elif act == "delete":
            there = set(what) & set(truth)
            assert opened.delete(what) == len(there)
            truth = {key: value for key, value in truth.items() if key not in there}
        else:
            opened.tidy()
    assert content(place) == truth
    opened.tidy()
    assert content(place) == truth
    assert opened.digests([*truth, "none"]) == {k: f"digest {v}" for k, v in truth.items()}


def child(place: Path, work: str, *, patch: str = "") -> subprocess.Popen[bytes]:
    """A process of its own that works on the table `opened`."""
    code = f"""
        import os, signal
        from pathlib import Path
        from tests.catalog.store.small import batch
        from synesthete.catalog.store import location, table as tables
        die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        opened = tables.ItemTable(Path({str(place)!r}))
        opened.count()
    """
    code = textwrap.dedent(code) + textwrap.dedent(patch) + "\n" + textwrap.dedent(work)
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])


MOMENTS = {
    "before writing": "tables._rows = die",
    "after writing": (
        "import lancedb.merge as m\n"
        "real = m.LanceMergeInsertBuilder.execute\n"
        "m.LanceMergeInsertBuilder.execute = lambda *a, **k: (real(*a, **k), die())"
    ),
    "centred again, not in use": "location.write_file = die",
    "a table half made": "tables.ItemTable._index = die",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_writers_leave_all_or_nothing(place: Path, moment: str) -> None:
    first = ItemTable(place)
    first.commit(batch({"a": "old", "b": "kept"}))
    died = child(
        place,
        "opened.commit(batch({'a': 'new', 'c': 'new'})); opened.tidy()",
        patch=MOMENTS[moment],
    )
    assert died.wait(300) == -signal.SIGKILL
    new = {"a": "new", "b": "kept", "c": "new"}
    before = {"a": "old", "b": "kept"} if moment == "before writing" else new
    assert content(place) == before
    again = ItemTable(place)
    again.commit(batch({"a": "new", "c": "new"}))
    again.tidy()
    assert content(place) == new
    in_use = json.loads((place / POINTER).read_text())["table"]
    left = {f.stem for f in place.glob("items-*.lance")} - {"items-1", in_use}
    assert not left, "what the killed writer left is swept away"
    assert not (place / BUILDING).exists()


def test_two_writers_and_one_killed_double_nothing(place: Path) -> None:
    """Three processes write the same ids; one is killed in the midst of it."""
    work = """
        for number in range(400):
            opened.commit(batch({f"{n}": f"{WRITER}{number}" for n in range(number % 7, 60, 3)}))
            if number % 5 == 0:
                opened.tidy()
            if number == LAST:
                break
    """
    writers = [
        child(place, work.replace("WRITER", w).replace("LAST", n))
        for w, n in (("1", "14"), ("2", "399"), ("3", "14"))
    ]
    started = time.monotonic()
    while ItemTable(place).version()[1] < 15 and time.monotonic() - started < 300:
        time.sleep(0.05)
    writers[1].kill()
    assert [one.wait(300) for one in writers] == [0, -signal.SIGKILL, 0]
    found = content(place)
    assert set(found) == {str(n) for n in range(60)}
    opened = ItemTable(place)
    opened.commit(batch(dict.fromkeys(found, "last")))
    assert set(content(place).values()) == {"last"}


def test_reading_while_writing(place: Path) -> None:
    opened, wrong = ItemTable(place), list[str]()
    opened.commit(batch({"a": "x", "b": "x"}))
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                found = opened.pinned().search().select(["id", "title"]).to_arrow()
            except SynestheteError as error:
                wrong.append(str(error))
                continue
            if len(set(found["title"].to_pylist())) != 1 or len(found) != 2:
                wrong.append(str(found.to_pylist()))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(15):
        opened.commit(batch({"a": "x" * number, "b": "x" * number}))
        opened.tidy()
    opened.recenter()
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong, "a reader saw half of a commit"


def test_a_reader_keeps_what_it_opened(place: Path) -> None:
    opened = ItemTable(place)
    for number in range(12):
        opened.commit(batch({f"{number:02d}": "x" * number}))
    before = opened.pinned()
    opened.delete([f"{number:02d}" for number in range(9)])
    opened.tidy()
    opened.recenter()
    assert sorted(before.search().to_arrow()["id"].to_pylist()) == [f"{n:02d}" for n in range(12)]
    assert sorted(content(place)) == ["09", "10", "11"]


def test_tables_that_nobody_reads_any_more_go(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = ItemTable(place)
    opened.commit(batch({"a": "x"}))
    opened.tidy()
    assert len(list(place.glob("items-*.lance"))) == 2
    monkeypatch.setattr(tables, "KEPT_SECONDS", -1)
    opened.tidy()
    assert [f.name for f in place.glob("items-*.lance")] == ["items-2.lance"]


def test_one_more_item_rewrites_nobody(place: Path) -> None:
    opened = ItemTable(place)
    opened.commit(batch({f"{n}": "x" * n for n in range(8)}))
    opened.tidy()
    fused = lambda: {r["id"]: r["fused"] for r in opened.pinned().search().to_list()}  # noqa: E731
    before, centres = fused(), Centres.of(opened.pinned().schema)
    assert (centres.items, centres.version) == (8, 1)
    opened.commit(batch({"new": "xxxx"}))
    opened.tidy()
    after = fused()
    assert {key: after[key] for key in before} == before
    opened.commit(batch({f"more {n}": "y" for n in range(7)}))
    opened.tidy()
    assert (Centres.of(opened.pinned().schema).items, opened.version()[0]) == (16, "items-3")
    assert fused()["0"] != before["0"]
    assert opened.recenter() == 3
    # Versions begin again in a new table; what comes next is newer than all that was copied.
    version = opened.version()[1]
    opened.commit(batch({"newest": "z"}))
    newer = opened.pinned().search().where(f"revision > {version}").to_list()
    assert [row["id"] for row in newer] == ["newest"]


@pytest.mark.parametrize("indexed", [True, False])
def test_writers_go_on_while_the_table_is_recentered(
    place: Path, monkeypatch: pytest.MonkeyPatch, indexed: bool
) -> None:
    """What they add, change and delete is in the table that takes the place of theirs, about the new centres."""
    monkeypatch.setattr(tables, "VECTOR_INDEX_ABOVE", 500 if indexed else 10_000)
    rng = np.random.default_rng(0)
    truth = {f"{n}": "x" * int(rng.integers(40)) for n in range(800)}
    opened, other = ItemTable(place), ItemTable(place)
    opened.commit(batch(truth))
    real_fill, real_index = ItemTable._fill, ItemTable._index
    built = 0

    def write() -> None:
        other.commit(batch({"3": "changed", "new": "yy", **{f"more {n}": "z" for n in range(300)}}))
        other.delete(["5", "7"])
        with pytest.raises(DraftInUse):
            other.recenter()
        other.tidy()
        other.commit(batch({"7": "there again"}))

    def fill(self: ItemTable, new: Any, batches: Any) -> None:
        real_fill(self, new, batches)
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(60)
        assert not writer.is_alive(), "a writer waits"

    def index(self: ItemTable, new: Any = None) -> None:
        nonlocal built
        real_index(self, new)
        built += new is not None
        if built == 2:  # the last before the turn to write
            other.commit(batch({"late": "zz"}))

    monkeypatch.setattr(ItemTable, "_fill", fill)
    monkeypatch.setattr(ItemTable, "_index", index)
    assert opened.recenter() == 1
    monkeypatch.undo()
    truth |= {"3": "changed", "new": "yy", "7": "there again", "late": "zz"} | {
        f"more {n}": "z" for n in range(300)
    }
    del truth["5"]
    assert content(place) == truth
    found = ItemTable(place).pinned()
    assert (found.name, other.version()[0]) == ("items-2", "items-2")
    rows, centres = found.search().to_arrow(), Centres.of(found.schema)
    assert centres.items == 800
    fused = centres.space.fuse(array_of(rows, "images"), array_of(rows, "texts"))
    assert np.allclose(array_of(rows, "fused"), fused, atol=1e-3)
    # A search compares what is newer than the index.
    newer = found.search().where(f"revision > {indexed_to(found.schema)}").to_list()
    assert [row["id"] for row in newer] == ["late"] or not indexed
    assert bool(indexed_to(found.schema)) == indexed
    assert [one.name for one in place.glob(".*")] == []


def test_centres_are_those_of_the_items(place: Path) -> None:
    opened = ItemTable(place)
    opened.commit(batch({f"{n}": "x" * n for n in range(8)}))
    opened.recenter()
    found = opened.pinned()
    texts = array_of(found.search().to_arrow(), "texts").astype(np.float64)
    centres = Centres.of(found.schema)
    assert np.allclose(centres.texts, texts.sum(0) / (8 + 64), atol=1e-6)
    assert not centres.images.any(), "no item has an image"
    again = found.search().to_arrow()
    space = centres.space
    expected = space.fuse(array_of(again, "images"), array_of(again, "texts"))
    assert np.allclose(array_of(again, "fused"), expected, atol=1e-3)


def test_above_a_size_an_index_finds_nearly_all(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "VECTOR_INDEX_ABOVE", 500)
    rng = np.random.default_rng(0)
    some = batch({f"{n}": "x" for n in range(800)})
    object.__setattr__(some, "texts", rng.normal(size=(800, DIM)).astype(np.float16))
    opened = ItemTable(place)
    opened.commit(some)
    opened.tidy()
    schema = opened.pinned().schema
    assert float(schema.field("fused").metadata[b"recall"]) >= 0.98
    assert probes_of(schema) >= 1
    for name in ("fused_idx", "revision_idx", "price_idx"):
        assert opened.pinned().index_stats(name).num_unindexed_rows == 0
    # A catalogue of an earlier version has none, is ready without, and gets it when it is tidied next.
    opened._table().drop_index("price_idx")
    assert ItemTable(place).missing_indexes() == []
    opened.tidy()
    assert opened.pinned().index_stats("price_idx") is not None
    before = opened.version()[1]
    opened.commit(batch({"new": "y", "7": "y"}))
    fresh = opened.pinned().search().where(f"revision > {before}").select(["id"]).to_arrow()
    assert sorted(fresh["id"].to_pylist()) == ["7", "new"]


def test_quarantine_goes_when_the_item_comes(place: Path) -> None:
    opened = ItemTable(place)
    opened.note([Quarantined("a", "item", "no"), Quarantined("b", "x.png", "broken")])
    opened.note([Quarantined("b", "x.png", "still broken"), Quarantined("b'", "\ud800", "\0")])
    assert [(one.id, one.reason) for one in opened.quarantine()] == [
        ("a", "no"),
        ("b", "still broken"),
        ("b'", " "),
    ]
    opened.commit(batch({"a": "x"}), [Quarantined("a", "y.png", "broken, too")])
    assert [(one.id, one.what) for one in opened.quarantine()][:2] == [
        ("a", "y.png"),
        ("b", "x.png"),
    ]


@pytest.mark.parametrize("what", ["pointer", "name", "data", "manifest", "centres"])
def test_damage_is_an_error(place: Path, what: str) -> None:
    opened = ItemTable(place)
    opened.commit(batch({"a": "x"}))
    opened.close()
    if what == "pointer":
        (place / POINTER).write_text("{")
    elif what == "name":
        (place / POINTER).write_text('{"table": "../x"}')
    elif what == "data":
        for file in (place / "items-1.lance/data").iterdir():
            file.write_bytes(b"x" * 100)
    elif what == "manifest":
        for file in (place / "items-1.lance/_versions").iterdir():
            file.write_bytes(b"x" * 100)
    else:
        with pytest.raises(SynestheteError, match="centres"):
            Centres.of(opened.pinned().schema.remove_metadata())
        return
    with pytest.raises(SynestheteError, match=r"damaged|cannot be read|table"):
        content(place)


def test_the_lock_is_the_owners(place: Path) -> None:
    ItemTable(place).note([Quarantined("a", "b", "c")])
    assert (place / LOCK).stat().st_uid == os.getuid()
