"""Another model for a catalogue: all of it or nothing, at once, while others serve, write and are killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import synesthete as syn
from synesthete.atlas.files import claim_draft
from synesthete.catalog import Catalog, Item, Quarantined
from synesthete.catalog import reembed as module
from synesthete.catalog.backup import back_up, restore
from synesthete.catalog.events import Event, EventLog
from synesthete.catalog.reembed import Reembedded, reembed
from synesthete.catalog.store import shards
from synesthete.catalog.store import table as tables
from synesthete.catalog.store.location import BUILDING
from synesthete.catalog.store.table import ItemTable
from synesthete.cli.app import main
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.reviews.cases import Queue
from tests.catalog.conftest import image, sample_items
from tests.small_atlas import write_model


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> ImageTextModel:
    """A model with other weights and a space of another size."""
    folder = tmp_path_factory.mktemp("others") / "other"
    return syn.load_model(write_model(folder, seed=1, dim=24))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """The sample items with their images in files."""
    folder = tmp_path_factory.mktemp("images")
    items = []
    for item in sample_items():
        for data in item.images:
            assert isinstance(data, bytes)
            (folder / f"{item.id}.png").write_bytes(data)
        names = tuple(folder / f"{item.id}.png" for _ in item.images)
        items.append(replace(item, images=names))
    return items


@pytest.fixture(scope="module")
def before_path(
    tmp_path_factory: pytest.TempPathFactory,
    model: ImageTextModel,
    empty_path: Path,
    files: list[Item],
) -> Path:
    path = tmp_path_factory.mktemp("before") / "my.catalog"
    shutil.copytree(empty_path, path)
    Catalog.open(path, model=model).upsert([*files, Quarantined("bad", "item", "no")])
    return path


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, other: ImageTextModel, files: list[Item]
) -> Catalog:
    """The same items in a new catalogue of the other model."""
    created = Catalog.create(tmp_path_factory.mktemp("expected") / "new.catalog", other)
    created.upsert(files)
    return created


@pytest.fixture
def place(tmp_path: Path, before_path: Path) -> Path:
    shutil.copytree(before_path, tmp_path / "my.catalog")
    return tmp_path / "my.catalog"


def answers(catalog: Catalog) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in catalog.search("red mug", limit=24)]


def same(path: Path, expected: Catalog, model: ImageTextModel) -> None:
    """Whether a catalogue is what indexing its items with the model would have given."""
    found = Catalog.open(path, model=model)
    assert list(found.items()) == list(expected.items())
    assert np.array_equal(found.vectors(), expected.vectors())
    assert np.array_equal(found.units(), expected.units(), equal_nan=True)
    assert answers(found) == answers(expected)
    assert [found.thumbnail(item.id) for item in found.items()] == [
        expected.thumbnail(item.id) for item in expected.items()
    ]


def test_it_is_as_if_it_had_been_indexed_with_the_other_model(
    place: Path, expected: Catalog, other: ImageTextModel, model: ImageTextModel, files: list[Item]
) -> None:
    Catalog.open(place, model=model).adapt(files[0].images)
    EventLog(place).take([Event(key="1", kind="impression", item="mug-red", subject="anna")])
    Queue(place).add("suggest", {"n": 1}, reason="r", confidence=0.1)
    log = (place / "events.sqlite").read_bytes()
    seen: list[tuple[int, int]] = []
    done = reembed(place, other, progress=lambda *counts: seen.append(counts))
    assert done == Reembedded(items=24, embedded=24, by_thumbnail=0, lost=0)
    assert seen[-1] == (24, 24)
    same(place, expected, other)
    found = Catalog.open(place, model=other)
    assert [one.id for one in found.quarantine()] == ["bad"]
    assert found.snapshot().space.query_image_centre.shape == (24,)
    assert (place / "events.sqlite").read_bytes() == log
    assert len(Queue(place).cases()) == 1
    assert found.upsert(files).unchanged == 24
    with pytest.raises(SynestheteError, match="was built with"):
        Catalog.open(place, model=model)
    back_up(place, place.parent / "b.zip")
    restore(place.parent / "b.zip", place.parent / "r.catalog")
    same(place.parent / "r.catalog", expected, other)
    again = reembed(place, model)
    assert (again.items, again.embedded) == (24, 24)
    assert json.loads((place / "catalog.json").read_text())["folder"] == "model-3"


def test_old_vectors_go_when_nobody_reads_them(
    place: Path,
    expected: Catalog,
    other: ImageTextModel,
    files: list[Item],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reembed(place, other)
    assert (place / "reference.npz").exists(), "a reader may have them open"
    monkeypatch.setattr(tables, "KEPT_SECONDS", 0)
    Catalog.open(place, model=other).upsert(files)
    assert {one.name for one in place.iterdir() if not one.name.startswith(".")} == {
        "catalog.json",
        "model-2",
        "write.lock",
    }
    same(place, expected, other)


@pytest.mark.parametrize("swept", [False, True], ids=["by the switch", "by the next writer"])
def test_what_a_killed_builder_left_goes(
    place: Path,
    other: ImageTextModel,
    files: list[Item],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    swept: bool,
) -> None:
    if swept:  # it was killed after the switch
        reembed(place, other)
    left = place / BUILDING / "items-2.lance"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x" * 100)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("kept")
    (place / BUILDING / "link").symlink_to(outside)
    if swept:
        Catalog.open(place, model=other).upsert(files)
    else:
        reembed(place, other)
    assert not (place / BUILDING).exists()
    assert (outside / "mine").exists()


def test_who_builds_at_the_switch_and_a_link_are_left_alone(
    place: Path, other: ImageTextModel, files: list[Item], tmp_path: Path
) -> None:
    with claim_draft(place / BUILDING) as building:
        (building / "half").write_bytes(b"x")
        reembed(place, other)
        Catalog.open(place, model=other).upsert(files)
        assert (building / "half").exists()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("kept")
    (place / BUILDING).symlink_to(outside)
    Catalog.open(place, model=other).tidy()
    assert (outside / "mine").exists()
    assert (place / BUILDING).is_symlink()


def test_who_would_build_for_the_old_vectors_hears_of_it_first(
    place: Path, other: ImageTextModel, model: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ItemTable(place)
    reembed(place, other)
    monkeypatch.setattr(tables.ItemTable, "_recenter", lambda *_: pytest.fail("it was built"))
    with pytest.raises(SynestheteError, match="embedded again with another model"):
        old.recenter()
    assert not (place / BUILDING).exists()


def test_a_reader_sees_the_old_or_the_new_and_never_both(
    place: Path, expected: Catalog, other: ImageTextModel, model: ImageTextModel
) -> None:
    reader = Catalog.open(place, model=model)
    old, new = answers(reader), answers(expected)
    assert old != new
    seen: list[Any] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(None)  # stays where an answer is an error
            seen[-1] = answers(reader)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        reembed(place, other)
        at = len(seen)
        while len(seen) < at + 3 and thread.is_alive():
            stop.wait(0.01)
    finally:
        stop.set()
        thread.join()
    assert [one for one in seen if one not in (old, new)] == []
    assert seen[0] == old
    assert seen[-1] == new
    assert seen == sorted(seen, key=lambda one: one == new), "never back to the old"


def test_what_changes_meanwhile_is_not_lost(
    place: Path,
    other: ImageTextModel,
    model: ImageTextModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = Catalog.open(place, model=model)
    late = writer._embedding().table
    one_pass, passes = module._Work.one_pass, list[int]()
    monkeypatch.setattr(module, "FEW", 0)  # pass after pass, until nothing is new

    def with_changes(work: module._Work, executor: Any = None) -> int:
        if len(passes) == 1:
            writer.upsert([Item("new", title="a new one"), Item("mug-white", title="changed")])
            writer.delete(["mug-red", "bad"])
        passes.append(one_pass(work, executor))
        return passes[-1]

    monkeypatch.setattr(module._Work, "one_pass", with_changes)
    done = reembed(place, other)
    assert passes == [24, 3, 0, 0]
    assert done.items == 24
    found = Catalog.open(place, model=other)
    titles = {item.id: item.title for item in found.items()}
    assert "mug-red" not in titles
    assert (titles["new"], titles["mug-white"]) == ("a new one", "changed")
    with pytest.raises(SynestheteError, match="embedded again with another model"):
        late.delete(["new"])
    writer.upsert([Item("newer", title="newer")])  # with the model that the catalogue has now
    assert {"new", "newer"} <= {item.id for item in Catalog.open(place, model=other).items()}


KILLED = """
    import os, signal, sys
    from synesthete.catalog import reembed as module
    module.BATCH = 5
    write, done = module._Work._write, []
    def killing(work, *batch):
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(write(work, *batch))
    module._Work._write = killing
    module.reembed(sys.argv[1], sys.argv[2])
"""


def test_a_kill_leaves_the_old_one_serving_and_a_rerun_goes_on(
    place: Path, expected: Catalog, other: ImageTextModel, model: ImageTextModel
) -> None:
    before = answers(Catalog.open(place, model=model))
    words = [sys.executable, "-c", textwrap.dedent(KILLED), str(place), other.name]
    died = subprocess.run(words, check=False, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert answers(Catalog.open(place, model=model)) == before
    back_up(place, place.parent / "b.zip")  # without the half that is there
    restore(place.parent / "b.zip", place.parent / "r.catalog")
    assert not (place.parent / "r.catalog" / ".model-2").exists()
    assert reembed(place, other).embedded == 14
    same(place, expected, other)


class Stopped(BaseException):
    """As a kill, where nothing is tidied up."""


@pytest.mark.parametrize("moment", ["before the rename", "before the manifest", "after it"])
def test_stopped_in_the_moment_of_the_switch(
    place: Path,
    expected: Catalog,
    other: ImageTextModel,
    model: ImageTextModel,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    with monkeypatch.context() as patched:
        if moment == "before the rename":
            patched.setattr(module, "_switch", stop)
        else:
            write = stopping(place, written=moment == "after it")
            patched.setattr(module.manifests, "write_manifest", write)
        with pytest.raises(Stopped):
            reembed(place, other)
    if moment != "after it":
        assert Catalog.open(place, model=model).vectors().shape == (24, 16)
        assert reembed(place, other).embedded == 0
    same(place, expected, other)


def stop(*_: object) -> None:
    raise Stopped


def stopping(place: Path, *, written: bool) -> Any:
    """Stops where the catalogue's own manifest is written, before or after it; that of the new vectors is written."""
    write = module.manifests.write_manifest

    def write_or_stop(path: Path, facts: Any) -> None:
        if path != place or written:
            write(path, facts)
        if path == place:
            raise Stopped

    return write_or_stop


def test_what_another_model_left_is_not_gone_on_with(
    place: Path, expected: Catalog, other: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "_switch", fail)
        with pytest.raises(SynestheteError, match="stopped"):
            reembed(place, other, seed=7)
    assert reembed(place, other).embedded == 24
    same(place, expected, other)


def fail(*_: object) -> None:
    raise SynestheteError("stopped")


def test_images_that_are_elsewhere_are_embedded_by_their_thumbnails(
    tmp_path: Path, place: Path, other: ImageTextModel, files: list[Item]
) -> None:
    changed = tmp_path / "images"
    moved = []
    for item in files[:3]:
        (folder := changed / item.id).mkdir(parents=True)
        with Image.open(item.images[0]) as image:  # type: ignore[arg-type]
            image.save(folder / "1.png", compress_level=1)  # other bytes: the item is changed
        moved.append(replace(item, images=(folder / "1.png",)))
    model = Catalog.open(place).model
    Catalog.open(place, model=model).upsert([*moved, Item("late", title="late", images=())])
    (changed / "mug-red" / "1.png").unlink()
    (changed / "mug-blue" / "1.png").write_bytes(moved[2].images[0].read_bytes())  # type: ignore[union-attr]
    done = reembed(place, other)
    assert done == Reembedded(items=25, embedded=25, by_thumbnail=2, lost=0)
    found = Catalog.open(place, model=other)
    assert np.isfinite(found.units(["mug-red"])).all(), "an image was embedded"
    assert [item.images for item in found.items(["mug-red"])] == [moved[0].images]
    written = found.upsert([*files[:3]])  # with the images there again
    assert (written.changed, written.unchanged) == (3, 0)


@pytest.mark.parametrize("later", ["corrupt still", "gone since"])
def test_images_beside_one_that_was_set_aside_are_embedded(
    tmp_path: Path,
    place: Path,
    other: ImageTextModel,
    model: ImageTextModel,
    monkeypatch: pytest.MonkeyPatch,
    later: str,
) -> None:
    """The digest is of all images that were given; one cannot be decoded, another is not there."""
    names = [tmp_path / f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        name.write_bytes(image("red", number))
    names[2].write_bytes(b"no image")
    if later == "gone since":
        names[2].unlink()
    item = Item("five", title="five", images=tuple(names))
    writer = Catalog.open(place, model=model)
    assert len(writer.upsert([item]).quarantined) == 1
    monkeypatch.setattr(module, "BATCH_BYTES", 20_000)
    assert reembed(place, other) == Reembedded(items=25, embedded=25, by_thumbnail=0, lost=0)
    found = Catalog.open(place, model=other)
    fresh = Catalog.create(tmp_path / "fresh.catalog", other)
    fresh.upsert([item])
    assert np.array_equal(found.units(["five"]), fresh.units(["five"]))
    assert found.upsert([item]).unchanged == 1


def test_a_draft_that_was_removed_after_the_old_items_were_closed(
    place: Path, expected: Catalog, other: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a store, where a kill between the two leaves them closed."""
    monkeypatch.setattr(tables.ItemTable, "retired", lambda _: True)
    assert reembed(place, other) == Reembedded(items=24, embedded=24, by_thumbnail=0, lost=0)
    same(place, expected, other)


def test_an_id_that_a_feed_repeats_a_thousand_times(place: Path, other: ImageTextModel) -> None:
    embedding = module.Embedding(place)
    embedding.table.note(
        [Quarantined("mug-red", f"item {n}", "there are several") for n in range(1200)]
        + [Quarantined("mug-red", f"{n}.png", "there is no such file") for n in range(40)]
    )
    embedding.close()
    assert reembed(place, other).embedded == 24


def test_fetched_images_of_a_catalogue_that_was_moved(
    tmp_path: Path, place: Path, other: ImageTextModel
) -> None:
    fetched = place / "images" / "shop.example" / "1.png"
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(image("red", 1))
    Catalog.open(place).upsert([Item("fetched", title="cup", images=(fetched,))])
    moved = tmp_path / "moved.catalog"
    place.rename(moved)
    assert reembed(moved, other).by_thumbnail == 0


def test_images_held_at_once_are_bounded(
    place: Path, other: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def noting(embedder: Any, layer: str, units: int, loaded: Any) -> Any:
        sizes.append(len(loaded))
        return encode(embedder, layer, units, loaded)

    encode = shards.encode
    monkeypatch.setattr(shards, "encode", noting)
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    assert reembed(place, other).embedded == 24
    assert sum(sizes) == 24
    assert max(sizes) == 2, "an item without an image waits for the next one"


@pytest.mark.parametrize(("number", "stays"), [(1, False), (2, True), (3, True), (10, True)])
def test_vectors_that_wait_for_their_manifest_are_not_swept(
    tmp_path: Path, number: int, stays: bool
) -> None:
    for name in ("model-2", f"model-{number}"):
        (tmp_path / name).mkdir(exist_ok=True)
    module.manifests.remove_other_homes(tmp_path, tmp_path / "model-2")
    assert (tmp_path / f"model-{number}").exists() == stays
    assert (tmp_path / "model-2").exists()


def test_what_is_refused_in_one_line(
    place: Path, model: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SynestheteError, match="already"):
        reembed(place, model)
    with pytest.raises(SynestheteError, match="no-such-model"):
        reembed(place, "no-such-model")
    with pytest.raises(SynestheteError, match="no catalogue"):
        reembed(place.parent, model)
    with module._alone(place), pytest.raises(SynestheteError, match="embedded again already"):
        reembed(place, "mini")
    assert not list(place.glob(".model*"))
    facts = json.loads((place / "catalog.json").read_text())
    for wrong in ("../model-2", "model-0", "items-1.lance", 7, "model-2/../.."):
        (place / "catalog.json").write_text(json.dumps({**facts, "folder": wrong}))
        with pytest.raises(SynestheteError, match="no valid folder"):
            Catalog.open(place, model=model)


def test_mini_from_the_command_line(
    tmp_path: Path,
    shop_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Items that were sent, without files: their thumbnails are all that is left of the images."""
    shutil.copytree(shop_path, tmp_path / "my.catalog")
    monkeypatch.chdir(tmp_path)
    words = ["synesthete", "catalog", "reembed", "my.catalog", "--model", "mini", "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert json.loads(capsys.readouterr().out) == {
        "items": 24,
        "embedded": 24,
        "by_thumbnail": 23,
        "lost": 0,
    }
    found = Catalog.open("my.catalog")
    assert found.model.name == "mini"
    assert found.search("red mug")[0].id == "mug-red"


@pytest.mark.parametrize("size", ["another", "the same"])
def test_a_table_that_another_model_wrote_is_refused_in_one_line(
    tmp_path: Path, place: Path, model: ImageTextModel, expected: Catalog, size: str
) -> None:
    stranger = expected.path
    if size == "the same":
        other = syn.load_model(write_model(tmp_path / "other", seed=2))
        stranger = Catalog.create(tmp_path / "other.catalog", other).path
    for table in place.glob("*.lance"):
        shutil.rmtree(table)
    for table in stranger.glob("*.lance"):
        shutil.copytree(table, place / table.name)
    shutil.copy(stranger / "table.json", place / "table.json")
    opened = Catalog.open(place, model=model)
    with pytest.raises(SynestheteError, match="written with another model") as caught:
        opened.search("red mug")
    assert "\n" not in str(caught.value)
