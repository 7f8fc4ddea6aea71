"""Items in and out: what is kept, what is set aside and why, and what happens when work is interrupted."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import synesthete as syn
from synesthete.catalog import Catalog, Item, Quarantined
from synesthete.catalog.encode import cut, pieces_of, unit_length
from synesthete.catalog.store import ingest
from synesthete.catalog.store.table import ItemTable
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.probes.decoding import decode
from tests.catalog.conftest import image, sample_items
from tests.small_atlas import write_model


def test_items_come_back_as_they_were_given(catalog: Catalog) -> None:
    given = {item.id: item for item in sample_items()}
    for item in catalog.items():
        expected = dataclasses.replace(item, images=())
        assert expected == dataclasses.replace(given[item.id], images=())
        assert len(item.images) == len(given[item.id].images)
    assert [item.id for item in catalog.items(["lamp-red", "bowl-blue"])] == [
        "lamp-red",
        "bowl-blue",
    ]
    with pytest.raises(SynestheteError, match=r"no item 'lamp-rot'.*lamp-red"):
        list(catalog.items(["lamp-rot"]))


def test_vectors_are_the_models(catalog: Catalog, model: ImageTextModel) -> None:
    import torch

    snapshot = catalog.snapshot()
    rows = snapshot.rows(["lamp-red"], ("images", "texts"))
    (item,) = [one for one in sample_items() if one.id == "lamp-red"]
    pixels = torch.stack([model.preprocess(decode(item.images[0]))])  # type: ignore[arg-type]
    reading = model.read(pixels, [snapshot.layer], "mean")
    assert np.allclose(rows.array("images"), reading.embeddings, atol=1e-3)
    assert np.allclose(catalog.units(["lamp-red"]), reading.activations[snapshot.layer], atol=2e-3)
    total = np.zeros(model.embedding_dim)
    for text, weight in pieces_of(item):
        total = total + weight * model.encode_texts([text])[0]
    assert np.allclose(rows.array("texts")[0], total / np.linalg.norm(total), atol=1e-3)
    assert np.isnan(catalog.units(["mug-white"])).all()
    assert not snapshot.rows(["mug-white"], ["images"]).array("images").any()


def test_several_images_are_averaged(empty: Catalog, model: ImageTextModel) -> None:
    import torch

    shots = [image("red", 1), image("blue", 9), b"no image"]
    written = empty.upsert([Item("a", images=tuple(shots))])
    assert [(one.id, one.what[:5]) for one in written.quarantined] == [("a", "sent:")]
    pixels = torch.stack([model.preprocess(decode(shot)) for shot in shots[:2]])
    mean = unit_length(model.encode_images(pixels).mean(0, keepdims=True))
    assert np.allclose(empty.snapshot().rows(["a"], ["images"]).array("images"), mean, atol=1e-3)
    assert len(next(empty.items()).images) == 2


def test_thumbnails(catalog: Catalog) -> None:
    assert decode(catalog.thumbnail("lamp-red") or b"").size == (64, 64)
    assert catalog.thumbnail("mug-white") is None


def test_again_changes_nothing_and_changes_are_seen(catalog: Catalog) -> None:
    generation = catalog.snapshot().generation
    again = catalog.upsert(sample_items())
    assert (again.added, again.changed, again.unchanged) == (0, 0, 24)
    assert catalog.snapshot().generation == generation
    items = sample_items()
    items[0] = dataclasses.replace(items[0], price=99.0)
    items[1] = dataclasses.replace(items[1], images=(image("green", 99),))
    written = catalog.upsert(items)
    assert (written.added, written.changed, written.unchanged) == (0, 2, 22)
    assert next(catalog.items([items[0].id])).price == 99.0
    assert catalog.delete(["lamp-red", "lamp-red", "nobody"]).deleted == 1
    assert "lamp-red" not in catalog
    assert len(catalog) == 23


BAD = {
    "no id": (Item(""), "without an id"),
    "blank id": (Item("  "), "without an id"),
    "control characters": (Item("a\nb", title="x"), "control characters"),
    "a long id": (Item("x" * 600, title="x"), "at most 512"),
    "nothing": (Item("x"), "neither an image nor a text"),
    "blank texts": (Item("x", title=" \0 "), "neither an image nor a text"),
    "a price": (Item("x", title="x", price=float("nan")), "not a valid number"),
    "huge text": (Item("x", description="x" * (17 << 20)), "at most 16,777,216"),
    "only a broken image": (
        Item("x", images=(b"broken",)),
        "no image that can be read and no text",
    ),
    "a missing file": (
        Item("x", images=(Path("/none/such.png"),)),
        "no image that can be read",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_items_are_set_aside(empty: Catalog, case: str) -> None:
    item, expected = BAD[case]
    written = empty.upsert([Item("good", title="mug"), item, Item("fine", title="bowl")])
    assert written.added == 2
    assert any(expected in one.reason for one in written.quarantined)
    assert {one.reason for one in empty.quarantine()} == {one.reason for one in written.quarantined}


def test_a_broken_update_leaves_the_item_as_it_was(catalog: Catalog) -> None:
    before = next(catalog.items(["lamp-red"]))
    written = catalog.upsert([Item("lamp-red", images=(b"broken",))])
    assert (written.changed, len(written.quarantined)) == (0, 2)
    assert next(catalog.items(["lamp-red"])) == before


def test_duplicate_ids(empty: Catalog) -> None:
    written = empty.upsert([Item("a", title="one"), Item("b", title="b"), Item(" a ", title="two")])
    assert written.added == 2
    assert [(q.id, q.what) for q in written.quarantined] == [("a", "item 3")]
    assert next(empty.items(["a"])).title == "one"


def test_ten_megabytes_emoji_and_right_to_left(empty: Catalog) -> None:
    long = "A sentence about mugs. " * (10 * 1024 * 1024 // 23)
    items = [
        Item("long", description=long),
        Item("🙂", title="🍎🍏 emoji", description="👩‍👩‍👧‍👦"),
        Item("عربي", title="تفاحة حمراء", description="وصف المنتج بالعربية"),
        Item("lone", title="bad \ud800 surrogate", attributes={"": ("x",), "k": ("", "v")}),
    ]
    assert empty.upsert(items).added == 4
    assert next(empty.items(["long"])).description == long.strip()
    assert next(empty.items(["lone"])).attributes == {"k": ("v",)}
    assert empty.search("تفاحة", limit=1)[0].reasons is not None
    assert len(pieces_of(items[0])) == 24
    assert max(map(len, cut("x" * 5000))) <= 300


def test_committed_batch_by_batch(empty: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BATCH", 4)
    seen: list[int] = []

    def items() -> Iterator[Item]:
        for number in range(20):
            seen.append(number - len(empty))
            yield Item(f"item {number:02d}", title=f"thing {number}")

    empty.upsert(items())
    assert max(seen) < 4, "no more than a batch is held before it is committed"


def test_an_interrupted_upsert_keeps_what_was_committed(
    empty: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "BATCH", 4)

    def breaking() -> Iterator[Item]:
        yield from sample_items()[:10]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        empty.upsert(breaking())
    assert len(empty) == 8
    written = empty.upsert(sample_items())
    assert (written.added, written.unchanged) == (16, 8)


def test_kill_9_while_indexing(empty: Catalog) -> None:
    """A process killed after its first commits; the same work again ends where one run would have."""
    # A process of its own and no fork: LanceDB's threads do not survive one.
    code = f"""
        import torch
        from synesthete.catalog import Catalog, Item
        from synesthete.catalog.store import ingest

        torch.set_num_threads(1)
        ingest.BATCH = 2
        items = (Item(f"item {{n:04d}}", title=f"thing {{n}}") for n in range(9000))
        Catalog.open({str(empty.path)!r}).upsert(items)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        for _ in range(6000):
            if ItemTable(empty.path).count() >= 4 or child.poll() is not None:
                break
            time.sleep(0.02)
    finally:
        child.kill()
        ended = child.wait()
    assert ended == -signal.SIGKILL
    again = Catalog.open(empty.path, model=empty.model)
    kept = len(again)
    assert 4 <= kept < 9000
    assert [item.title for item in again.items()] == [f"thing {n}" for n in range(kept)]
    written = again.upsert(Item(f"item {n:04d}", title=f"thing {n}") for n in range(kept + 6))
    assert (written.added, written.unchanged) == (6, kept)


def test_searching_while_writing(catalog: Catalog) -> None:
    wrong: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                hits = catalog.search("mug", limit=5, reasons=1)
                if len(hits) != 5:
                    wrong.append(f"{len(hits)} hits")
            except Exception as error:  # noqa: BLE001
                wrong.append(repr(error))

    def write(start: int) -> None:
        for number in range(start, start + 6):
            catalog.upsert([Item(f"new {number}", title=f"mug number {number}")])

    lookers = [threading.Thread(target=look) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 100)]
    for thread in (*lookers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in lookers:
        thread.join()
    assert not wrong
    assert len(catalog) == 36


def test_another_model_is_refused_with_what_differs(catalog: Catalog, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    spec = write_model(tmp_path / "other")
    file = tmp_path / "other" / "open_clip_model.safetensors"
    weights = load_file(file)
    weights["visual.conv1.weight"] = weights["visual.conv1.weight"] + torch.ones(1)
    save_file(weights, file)
    with pytest.raises(SynestheteError, match=r"weights_sha256: .* in the catalogue, .* here"):
        Catalog.open(catalog.path, model=syn.load_model(spec))


def test_what_is_no_catalogue(tmp_path: Path, catalog: Catalog, model: ImageTextModel) -> None:
    with pytest.raises(SynestheteError, match="no catalogue at"):
        Catalog.open(tmp_path / "none.catalog")
    with pytest.raises(SynestheteError, match="there already"):
        Catalog.create(catalog.path, model)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(SynestheteError, match="is no catalogue"):
        Catalog.create(tmp_path / "mine", model)
    (catalog.path / "reference.npz").write_bytes(b"x")
    with pytest.raises(SynestheteError, match="damaged"):
        Catalog.open(catalog.path)
    (catalog.path / "catalog.json").write_text("{")
    with pytest.raises(SynestheteError, match="cannot be read"):
        Catalog.open(catalog.path)


def test_reading_needs_no_model(catalog: Catalog) -> None:
    code = f"""
        import sys
        from synesthete.catalog import Catalog, Signal
        catalog = Catalog.open({str(catalog.path)!r})
        assert len(list(catalog.items())) == 24 and catalog.quarantine() == []
        assert catalog.recommend([Signal(item="lamp-red")], mute=["apple"], where=["price<20"])
        assert catalog.search("apple", limit=3)
        catalog.delete(["lamp-red"])
        assert not {{'torch', 'open_clip', 'transformers', 'sklearn'}} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_quarantined_rows_of_readers_are_kept(empty: Catalog) -> None:
    written = empty.upsert([Quarantined("7", "price", "no number"), Item("7", title="mug")])
    assert written.added == 1
    assert empty.quarantine() == [Quarantined("7", "price", "no number")]


def test_what_a_killed_writer_left_is_tidied_though_nothing_is_new(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its last batch, the same call finds every item unchanged."""

    def die(self: ItemTable) -> None:
        raise KeyboardInterrupt

    more = [Item("new", title="a new mug")]
    with monkeypatch.context() as patch:
        patch.setattr(ItemTable, "tidy", die)
        with pytest.raises(KeyboardInterrupt):
            catalog.upsert(more)
    left = catalog.path / "items-99.lance"
    left.mkdir()
    assert catalog.upsert(more).unchanged == 1
    assert not left.exists()
    left.mkdir()
    assert catalog.delete(["nothing of this name"]).deleted == 0
    assert not left.exists()
