"""The ledger: like a dict after any sequence of acts, whole after any kill, right with several writers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.catalog import Item, Quarantined
from synesthete.catalog.encode import Batch
from synesthete.catalog.store import ledger, segments
from synesthete.catalog.store.ledger import DRAFT, FILE, FOLDER, Ledger
from synesthete.errors import SynestheteError

DIM, UNITS = 4, 6


def batch(items: dict[str, str]) -> Batch:
    """Items with their title as the value; vectors tell the title's length."""
    count = len(items)
    return Batch(
        items=[Item(key, title=value) for key, value in items.items()],
        digests=[f"digest {value}" for value in items.values()],
        images=np.zeros((count, DIM), np.float16),
        texts=np.array([[len(value)] * DIM for value in items.values()], np.float16),
        units=np.full((count, UNITS), np.nan, np.float16),
        thumbnails=[value.encode() for value in items.values()],
    )


def content(path: Path) -> dict[str, str]:
    """Everything live, read again, with a check that vectors and thumbnails belong to their items."""
    opened = Ledger(path)
    moment = opened.snapshot()
    parts, live = moment.segments, moment.live
    by_name = {part.name: part for part in parts}
    found = {}
    for key, name, row in live:
        (item,) = by_name[name].rows([row])
        assert item.id == key
        assert by_name[name].array("texts")[row].tolist() == [len(item.title)] * DIM
        assert by_name[name].thumbnail(row) == item.title.encode()
        found[key] = item.title
    assert opened.count() == len(found)
    opened.close()
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir()
    return tmp_path


KEYS = st.sampled_from(["a", "b", "c", "d", "ü", "مرحبا", "🙂"])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.dictionaries(KEYS, st.text("xyz", max_size=5), min_size=1)),
        st.tuples(st.just("delete"), st.lists(KEYS, max_size=3)),
        st.tuples(st.just("tidy"), st.just(None)),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(acts=ACTS)
def test_like_a_dict(
    acts: list[tuple[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("ledger")
    (place / FOLDER).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "ROW_GROUP", 2)
        patch.setattr(ledger, "MERGE_AT", 2)
        opened, truth = Ledger(place), dict[str, str]()
        for act, what in acts:
            if act == "upsert":
                assert isinstance(what, dict)
                opened.commit(batch(what))
                truth |= what
            elif act == "delete":
                assert isinstance(what, list)
                there = set(what) & set(truth)
                assert opened.delete(what) == len(there)
                truth = {key: value for key, value in truth.items() if key not in there}
            else:
                opened.tidy()
        assert content(place) == truth
        opened.tidy()
        assert content(place) == truth
        opened.close()


def test_merging_keeps_few_segments(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "ROW_GROUP", 4)
    opened = Ledger(place)
    for number in range(40):
        opened.commit(batch({f"item {number:02d}": "x" * (number % 7)}))
        opened.tidy()
    assert len(list((place / FOLDER).iterdir())) <= 2 * ledger.MERGE_AT
    assert content(place) == {f"item {n:02d}": "x" * (n % 7) for n in range(40)}
    reader = Ledger(place)
    moment = reader.snapshot()
    parts, live = moment.segments, moment.live
    opened.delete([f"item {n:02d}" for n in range(30)])
    opened.tidy()
    # What was opened before stays readable, though its folder is gone.
    by_name = {part.name: part for part in parts}
    assert [by_name[name].rows([row])[0].id for _, name, row in live] == [key for key, _, _ in live]
    assert sorted(content(place)) == [f"item {n:02d}" for n in range(30, 40)]


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; returns the signal it died of."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(7)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "moment",
    ["before writing", "after writing", "before placing", "after placing", "after listing"],
)
def test_killed_writers_leave_all_or_nothing(place: Path, moment: str) -> None:
    first = Ledger(place)
    first.commit(batch({"a": "old", "b": "kept"}))
    first.close()

    def work() -> None:
        with pytest.MonkeyPatch.context() as patch:
            real = Ledger._place
            if moment == "before writing":
                patch.setattr(ledger, "write_segment", die)
            elif moment == "after writing":
                patch.setattr(Ledger, "_writing", die)
            elif moment == "before placing":
                patch.setattr(Ledger, "_place", die)
            elif moment == "after placing":
                patch.setattr(Ledger, "_place", lambda self, name: (real(self, name), die()))
            else:
                patch.setattr(ledger, "_note", die)
            Ledger(place).commit(batch({"a": "new", "c": "new"}))

    assert in_child(work) == signal.SIGKILL
    assert content(place) == {"a": "old", "b": "kept"}
    again = Ledger(place)
    again.tidy()
    listed = [one.name for one in (place / FOLDER).iterdir()]
    assert len(listed) == 1, "what the killed writer left is swept away"
    again.commit(batch({"a": "new", "c": "new"}))
    assert content(place) == {"a": "new", "b": "kept", "c": "new"}


def test_a_kill_while_merging(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Ledger(place)
    truth = {f"{n}": "x" * n for n in range(ledger.MERGE_AT)}
    for key, value in truth.items():
        opened.commit(batch({key: value}))
    opened.close()

    def work() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ledger.shutil, "rmtree", die)
            Ledger(place).tidy()

    assert in_child(work) == signal.SIGKILL
    assert content(place) == truth
    again = Ledger(place)
    again.tidy()
    assert content(place) == truth
    assert len(list((place / FOLDER).iterdir())) == 1


def test_a_living_draft_is_left_alone(place: Path) -> None:
    opened = Ledger(place)
    with opened._draft(lambda folder: None) as name:
        Ledger(place).tidy()
        assert (place / FOLDER / f"{DRAFT}{name}").exists()
    assert not list((place / FOLDER).iterdir())


def test_several_processes_write(place: Path) -> None:
    Ledger(place).count()
    children = []
    for writer in range(3):
        child = os.fork()
        if not child:
            code = 1
            try:
                mine = Ledger(place)
                for number in range(8):
                    mine.commit(batch({f"{writer}-{number}": "x", "shared": f"w{writer}"}))
                    mine.tidy()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    found = content(place)
    assert set(found) == {f"{w}-{n}" for w in range(3) for n in range(8)} | {"shared"}


def test_reading_while_writing(place: Path) -> None:
    opened, wrong = Ledger(place), list[str]()
    opened.commit(batch({"a": "x", "b": "x"}))
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                moment = opened.snapshot()
            except SynestheteError as error:
                wrong.append(str(error))
                continue
            parts, live = moment.segments, moment.live
            by_name = {part.name: part for part in parts}
            titles = {by_name[name].rows([row])[0].title for _, name, row in live}
            if len(titles) != 1 or len(live) != 2:
                wrong.append(f"{live} {titles}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(30):
        opened.commit(batch({"a": "x" * number, "b": "x" * number}))
        opened.tidy()
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong, "a reader saw half of a commit"


def test_connections_of_threads_that_ended_are_closed(place: Path) -> None:
    opened = Ledger(place)
    opened.snapshot()
    held = []
    for _ in range(20):
        thread = threading.Thread(target=opened.snapshot)
        thread.start()
        thread.join()
        held.append(
            sum("catalog.sqlite" in str(one.resolve()) for one in Path("/proc/self/fd").iterdir())
        )
    assert held[-1] <= held[0] + 2, held
    opened.close()


def test_quarantine_goes_when_the_item_comes(place: Path) -> None:
    opened = Ledger(place)
    opened.note([Quarantined("a", "item", "no"), Quarantined("b", "x.png", "broken")])
    assert [one.id for one in opened.quarantine()] == ["a", "b"]
    opened.commit(batch({"a": "x"}), [Quarantined("a", "y.png", "broken, too")])
    assert [(one.id, one.what) for one in opened.quarantine()] == [("a", "y.png"), ("b", "x.png")]


def test_a_missing_segment_is_an_error(place: Path) -> None:
    opened = Ledger(place)
    opened.commit(batch({"a": "x"}))
    (folder,) = (place / FOLDER).iterdir()
    folder.rename(place / "elsewhere")
    with pytest.raises(SynestheteError, match="damaged"):
        opened.snapshot()


def test_a_newer_format_is_refused(place: Path) -> None:
    import sqlite3

    with sqlite3.connect(place / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    ledger = Ledger(place)
    for _ in range(2):
        with pytest.raises(SynestheteError, match="newer than this program"):
            ledger.count()
        with pytest.raises(SynestheteError, match="newer than this program"):
            ledger.commit(batch({"a": "x"}))
