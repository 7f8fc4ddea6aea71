"""Whoever embeds the items, and whoever is killed meanwhile: the table is that of one process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import synesthete as syn
from synesthete.atlas.manifest import WORK
from synesthete.catalog import Catalog, Item, Quarantined
from synesthete.catalog.reembed import reembed
from synesthete.catalog.store.table import ItemTable
from synesthete.cli.workers import Workers
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.recording.executors import Executor
from synesthete.recording.pieces import PieceJob
from tests.catalog.conftest import sample_items
from tests.small_atlas import write_model

Empty = Callable[[str], Catalog]


class Backwards:
    """An executor that computes the last batch first, all but some."""

    kind = "processes"

    def __init__(self, *lost: int) -> None:
        self.lost = lost

    def run(
        self, job: PieceJob, missing: Iterable[int], model: ImageTextModel, seen: Any
    ) -> Iterator[int]:
        for number in reversed(list(missing)):
            if number not in self.lost:
                yield from job.start(model).run([number], seen)
        if self.lost:
            raise SynestheteError(f"the worker of the {job.title(self.lost[0])} ended")


def given() -> list[Item | Quarantined]:
    """Items in batches of four, what cannot be used among them; the second batch has nothing new."""
    items: list[Item | Quarantined] = list(sample_items())
    unreadable = Item("broken", title="a broken image", images=(b"none", items[0].images[0]))
    items[8:8] = [Quarantined("row 5", "item", "no id"), Item("nothing", images=(b"none",))]
    return [*items[:10], unreadable, *items[10:], Item("mug-red", title="again")]


def table(catalog: Catalog) -> pa.Table:
    return ItemTable(catalog.path).pinned().search().to_arrow()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synesthete.catalog.store.ingest.BATCH", 4)
    monkeypatch.setattr("synesthete.catalog.reembed.BATCH", 4)


@pytest.fixture
def created(tmp_path: Path, model: ImageTextModel, empty_path: Path) -> Empty:
    def create(name: str) -> Catalog:
        shutil.copytree(empty_path, tmp_path / name)
        found = Catalog.open(tmp_path / name, model=model)
        found.upsert(sample_items()[4:8])
        return found

    return create


def test_workers_that_are_killed(created: Empty) -> None:
    alone, other = created("alone.catalog"), created("other.catalog")
    killed: list[int | None] = []
    before = set(multiprocessing.active_children())

    def kill(done: int, total: int) -> None:
        if not killed:
            victim = next(one for one in multiprocessing.active_children() if one not in before)
            os.kill(victim.pid or 0, signal.SIGKILL)
            killed.append(victim.pid)

    expected = alone.upsert(given())
    assert (expected.added, expected.unchanged, len(expected.quarantined)) == (21, 4, 5)
    executor = Executor(kind="processes", workers=2)
    assert other.upsert(given(), executor=executor, progress=kill) == expected
    assert killed
    assert table(other).equals(table(alone))
    assert other.quarantine() == alone.quarantine()
    assert set(multiprocessing.active_children()) <= before
    assert list(other.path.glob(f"{WORK}*")) == []


def test_batches_in_any_order_and_one_that_is_lost(created: Empty) -> None:
    alone, other, some = (created(f"{name}.catalog") for name in ("alone", "other", "some"))
    expected, done = alone.upsert(given()), list[int]()
    found = other.upsert(given(), executor=Backwards(), progress=lambda n, _: done.append(n))  # type: ignore[arg-type]
    assert found == expected
    assert done == sorted(done)
    assert table(other).equals(table(alone))
    with pytest.raises(SynestheteError, match="of the items 'chair-green' to 'bowl-blue' ended"):
        some.upsert(given(), executor=Backwards(4))  # type: ignore[arg-type]
    lost = {"chair-green", "chair-white", "bowl-red", "bowl-blue"}
    assert set(alone.snapshot().ids) - set(some.snapshot().ids) == lost
    assert some.upsert(given()).added == 4
    assert some.snapshot().ids == alone.snapshot().ids


def test_another_model_by_other_processes(created: Empty, tmp_path: Path) -> None:
    new = syn.load_model(write_model(tmp_path / "new", seed=1, dim=24))
    alone, other = created("alone.catalog"), created("other.catalog")
    for catalog, executor in ((alone, None), (other, Backwards())):
        catalog.upsert(given())
        catalog.close()
        assert reembed(catalog.path, new, executor=executor).embedded == 25  # type: ignore[arg-type]
    columns = ["id", "images", "texts", "units", "fused", "thumbnail", "digest"]
    tables = [
        ItemTable(path / "model-2").pinned().search().select(columns).to_arrow()
        for path in (alone.path, other.path)
    ]
    assert tables[0].equals(tables[1])


def test_an_array_job_embeds_no_items(created: Empty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SynestheteError, match="only recordings have an executor 'array'"):
        created("x.catalog").upsert(given(), executor=Executor(kind="array"))


@pytest.mark.parametrize("kind", ["array", "proceses"])
def test_the_command_says_who_embeds_items(kind: str) -> None:
    """In whatever environment: it need not be a task of an array job to be refused."""
    with pytest.raises(SynestheteError, match=f"executor {kind!r}; there are local, proc"):
        Workers(executor=kind).opened()
