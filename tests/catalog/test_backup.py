"""Backups: complete though others write, verified, private, and nothing that a kill leaves looks like one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from synesthete.catalog import Catalog, Item
from synesthete.catalog import backup as module
from synesthete.catalog.backup import back_up, restore
from synesthete.catalog.keys import Keys
from synesthete.catalog.store.location import ObjectStore
from synesthete.catalog.webhooks import Webhooks
from synesthete.cli import main
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.reviews.cases import Queue

KINDS = ("my.backup", "backup.zip")


@pytest.fixture
def whole(catalog: Catalog) -> Catalog:
    """A catalogue with a key, a settled case and a webhook."""
    queue = Queue(catalog.path)
    ticket = queue.add(
        "suggest", {"reference": "r", "proposal": "mug"}, reason="unsure", confidence=0.1
    )
    queue.decide(ticket, "accept", actor="ann")
    Keys(catalog.path).make("web site", ["read"])
    Webhooks(catalog.path).add("https://shop.example/x")
    (catalog.path / "classifiers").mkdir()
    (catalog.path / "classifiers" / "note.txt").write_text("of a classifier")
    (catalog.path / ".draft").mkdir()
    (catalog.path / ".draft" / "half").write_text("what somebody prepares")
    return catalog


@pytest.mark.parametrize("name", KINDS)
def test_what_is_restored_is_what_was_there(
    whole: Catalog, tmp_path: Path, model: ImageTextModel, name: str
) -> None:
    backup, restored = tmp_path / name, tmp_path / "restored.catalog"
    found = back_up(whole.path, backup)
    assert found.items == 24
    assert restore(backup, restored) == found
    again = Catalog.open(restored, model=model)
    assert [(one.id, one.title, one.price) for one in again.items()] == [
        (one.id, one.title, one.price) for one in whole.items()
    ]
    before, after = whole.search("a red mug"), again.search("a red mug")
    assert [(hit.id, hit.score) for hit in before] == [(hit.id, hit.score) for hit in after]
    assert Queue(restored).trail.entries() == Queue(whole.path).trail.entries()
    assert Keys(restored).every() == Keys(whole.path).every()
    assert Webhooks(restored).every() == Webhooks(whole.path).every()
    assert (restored / "classifiers" / "note.txt").read_text() == "of a classifier"
    assert not (restored / ".draft").exists()
    again.upsert([Item("new", title="a new one")])
    assert len(again) == 25
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        ["my.catalog", name, "restored.catalog"]
    )


@pytest.mark.parametrize("name", KINDS)
def test_only_the_owner_may_read_it(whole: Catalog, tmp_path: Path, name: str) -> None:
    before = os.umask(0)
    try:
        back_up(whole.path, tmp_path / name)
        restore(tmp_path / name, tmp_path / "restored.catalog")
    finally:
        os.umask(before)
    top = [tmp_path / name, tmp_path / "restored.catalog"]
    for path in [*top, *(file for folder in top for file in folder.rglob("*"))]:
        assert not path.stat().st_mode & 0o077, path


def test_it_is_whole_while_others_write(
    whole: Catalog, tmp_path: Path, model: ImageTextModel
) -> None:
    """Items come and go and cases are decided all the while; every backup is of some moment."""
    stop, written = threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.is_set():
            whole.upsert([Item(f"extra-{number}", title=f"extra {number}")])
            Queue(whole.path).add("suggest", {"n": number}, reason="r", confidence=0.1)
            written.append(number)
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        sizes = []
        for number in range(3):
            at_least = len(written)
            found = back_up(whole.path, tmp_path / f"{number}.backup")
            assert 24 + at_least <= found.items
            sizes.append(found.items)
    finally:
        stop.set()
        thread.join()
    assert sizes == sorted(sizes)
    restore(tmp_path / "2.backup", tmp_path / "r.catalog")
    again = Catalog.open(tmp_path / "r.catalog", model=model)
    ids = {one.id for one in again.items()}
    assert ids >= {f"extra-{n}" for n in range(len(ids) - 24)}, "no item without those before it"
    assert Queue(tmp_path / "r.catalog").trail.verify() >= 2
    assert not (whole.path / ".backup").exists()


def test_responses_are_never_newer_than_their_items() -> None:
    """A repeated request is answered from its note, so the note is copied before what it is about."""
    assert module.FIRST[0] == "requests.sqlite"
    names = sorted(["events.sqlite", "requests.sqlite", "people.sqlite", "webhooks.sqlite"],
                   key=lambda name: (name not in module.FIRST, name))  # fmt: skip
    assert names[:2] == ["requests.sqlite", "webhooks.sqlite"]


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_overwritten(whole: Catalog, tmp_path: Path, name: str) -> None:
    backup = tmp_path / name
    back_up(whole.path, backup)
    with pytest.raises(SynestheteError, match="there already"):
        back_up(whole.path, backup)
    with pytest.raises(SynestheteError, match="there already"):
        restore(backup, whole.path)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in (tmp_path / "link", tmp_path):
        with pytest.raises(SynestheteError, match="there already"):
            restore(backup, place)
        with pytest.raises(SynestheteError, match="there already"):
            back_up(whole.path, place)
    with pytest.raises(SynestheteError, match="inside the catalogue"):
        back_up(whole.path, whole.path / "own.backup")


def test_a_catalogue_with_a_link_or_damage_is_not_backed_up(whole: Catalog, tmp_path: Path) -> None:
    link = whole.path / "classifiers" / "link"
    link.symlink_to("/etc/passwd")
    with pytest.raises(SynestheteError, match="is a link"):
        back_up(whole.path, tmp_path / "x.backup")
    link.unlink()
    (whole.path / "people.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(SynestheteError, match="people"):
        back_up(whole.path, tmp_path / "x.backup")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["my.catalog"]


def change_content(folder: Path) -> None:
    file = next(folder.glob("items-*.lance/data/*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def lengthen(folder: Path) -> None:
    with (folder / "people.sqlite").open("ab") as file:
        file.write(b"x")


def remove(folder: Path) -> None:
    (folder / "catalog.json").unlink()


def link(folder: Path) -> None:
    content = (folder / "catalog.json").rename(folder.parent / "elsewhere.json")
    (folder / "catalog.json").symlink_to(content)


def link_inside(folder: Path) -> None:
    (folder / "catalog.json").rename(folder / "other.json")
    (folder / "catalog.json").symlink_to("other.json")


def pipe(folder: Path) -> None:
    (folder / "catalog.json").unlink()
    os.mkfifo(folder / "catalog.json")


def relist(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "backup.json").read_text()
        assert old in text
        (folder / "backup.json").write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_content, "other content"),
        (lengthen, "other content"),
        (remove, "no such file"),
        (link, "is a link"),
        (link_inside, "is a link"),
        (pipe, "not a regular file"),
        (relist('"catalog.json"', '"../catalog.json"'), "leads out"),
        (relist('"catalog.json"', '"/tmp/catalog.json"'), "leads out"),
        (relist('"catalog.json"', '"a/../catalog.json"'), "leads out"),
        (relist('"catalog.json"', '".hidden/catalog.json"'), "wrongly"),
        (relist('"catalog.json"', '"people.sqlite/catalog.json"'), "catalog.json"),
        (relist('"version": 1', '"version": 2'), "format 2"),
        (relist('"synesthete-backup"', '"other"'), "not a backup"),
        (relist('"bytes"', '"size"'), "wrongly"),
        (relist('"files"', '"none"'), "lists no files"),
        (relist("{", "["), "backup.json"),
        (lambda folder: (folder / "backup.json").unlink(), "not a backup"),
    ],
)
def test_a_backup_that_was_changed_is_refused(
    whole: Catalog, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    backup = tmp_path / "my.backup"
    back_up(whole.path, backup)
    spoil(backup)
    with pytest.raises(SynestheteError, match=message):
        restore(backup, tmp_path / "r.catalog")
    assert not (tmp_path / "r.catalog").exists()
    assert not (tmp_path / ".r.catalog.draft").exists()


def test_archives_that_are_refused(whole: Catalog, tmp_path: Path) -> None:
    sound = tmp_path / "sound.zip"
    back_up(whole.path, sound)
    (tmp_path / "text.zip").write_text("not an archive")
    data = sound.read_bytes()
    (tmp_path / "short.zip").write_bytes(data[: len(data) // 2])
    with zipfile.ZipFile(sound) as given:
        contents = {name: given.read(name) for name in given.namelist()}
    with zipfile.ZipFile(tmp_path / "few.zip", "w") as archive:
        archive.writestr("backup.json", contents["backup.json"])
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content + b"\0" * 10_000_000 * (name == "catalog.json"))
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, b"/etc/passwd" if name == "catalog.json" else content)
    for name, message in (
        ("text.zip", "not a sound archive"),
        ("short.zip", "not a sound archive"),
        ("few.zip", "not a complete backup"),
        ("bomb.zip", "other content"),
        ("link.zip", "other content"),
        ("none.zip", "no such backup"),
    ):
        with pytest.raises(SynestheteError, match=message):
            restore(tmp_path / name, tmp_path / "r.catalog")
    assert not (tmp_path / "r.catalog").exists()


@pytest.mark.parametrize(("method", "where"), [(zipfile.ZIP_DEFLATED, 0), (zipfile.ZIP_LZMA, 9)])
def test_a_damaged_compressed_archive_ends_in_one_line(
    whole: Catalog, tmp_path: Path, method: int, where: int
) -> None:
    """A backup may be packed by another program, which compresses."""
    back_up(whole.path, tmp_path / "stored.zip")
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(tmp_path / "stored.zip") as given, zipfile.ZipFile(packed, "w") as to:
        for name in given.namelist():
            to.writestr(name, given.read(name), method)
    restore(packed, tmp_path / "r.catalog")
    for name in ("catalog.json", "backup.json"):
        with zipfile.ZipFile(packed) as archive:
            start = archive.getinfo(name).header_offset + 30 + len(name)
        data = bytearray(packed.read_bytes())
        data[start + where] = 0xFF
        (tmp_path / "damaged.zip").write_bytes(data)
        with pytest.raises(SynestheteError, match="not a sound archive"):
            restore(tmp_path / "damaged.zip", tmp_path / "other.catalog")
    assert not (tmp_path / "other.catalog").exists()


def test_what_is_being_prepared_or_goes_meanwhile_is_left_out(
    whole: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("requests.claims/1.claim", "images/ab/1.part", "images/ab/1.json", "images/ab/2"):
        (whole.path / name).parent.mkdir(parents=True, exist_ok=True)
        (whole.path / name).write_text("x")
    files = module._files

    def going(gone: str) -> None:
        def listed(source: Path) -> Iterator[str]:
            for name in files(source):
                if name.endswith(gone):
                    (source / name).unlink()
                yield name

        monkeypatch.setattr(module, "_files", listed)

    going("1.json")
    back_up(whole.path, tmp_path / "my.backup")
    assert not (tmp_path / "my.backup" / "requests.claims").exists()
    left = [path.name for path in (tmp_path / "my.backup" / "images").rglob("*") if path.is_file()]
    assert left == ["2"]
    restore(tmp_path / "my.backup", tmp_path / "r.catalog")
    going(".lance")  # a file with items: without it the copy would be none
    with pytest.raises(SynestheteError, match="No such file"):
        back_up(whole.path, tmp_path / "other.backup")
    assert not (tmp_path / "other.backup").exists()


def test_items_in_a_store_stay_there(
    whole: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the store was opened")

    monkeypatch.setattr(ObjectStore, "connect", refuse)
    file = whole.path / "catalog.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "store": "s3://shop/items"}))
    backup, restored = tmp_path / "my.zip", tmp_path / "r.catalog"
    found = back_up(whole.path, backup)
    assert (found.items, found.store) == (0, "s3://shop/items")
    with pytest.raises(SynestheteError, match="items are in s3://shop/items") as refused:
        restore(backup, restored)
    assert "--same-store" in str(refused.value.hint)
    assert not restored.exists()
    words = ["synesthete", "catalog", "restore", str(backup), str(restored), "--same-store"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "items stay in s3://shop/items" in " ".join(capsys.readouterr().out.split())
    assert json.loads((restored / "catalog.json").read_text())["store"] == "s3://shop/items"


KILLED = """
import os, sys
from synesthete.catalog import backup
steps = iter(range(10**6))
def killing(name):
    done = getattr(backup, name)
    def step(*args, **given):
        if next(steps) == int(sys.argv[4]):
            os.kill(os.getpid(), 9)
        return done(*args, **given)
    setattr(backup, name, step)
for name in ("_write", "_copy_database", "_verify", "_move", "_archive", "_link"):
    killing(name)
getattr(backup, sys.argv[1])(sys.argv[2], sys.argv[3])
"""


def kill_at(step: int, what: str, source: Path, to: Path) -> int:
    words = [sys.executable, "-c", KILLED, what, str(source), str(to), str(step)]
    return subprocess.run(words, check=False, capture_output=True).returncode


def test_what_a_kill_leaves_is_no_backup_and_does_not_stand_in_the_way(
    whole: Catalog, tmp_path: Path
) -> None:
    backup = tmp_path / "my.backup"
    assert kill_at(9, "back_up", whole.path, backup) == -9
    left = [path for path in tmp_path.iterdir() if path.name != "my.catalog"]
    assert [path.name for path in left] == [".my.backup.draft"]
    for place in (left[0], left[0] / "content"):
        with pytest.raises(SynestheteError, match="not a backup"):
            restore(place, tmp_path / "r.catalog")
    back_up(whole.path, backup)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["my.backup", "my.catalog"]
    assert not (whole.path / ".backup").exists()
    assert kill_at(5, "restore", backup, tmp_path / "r.catalog") == -9
    assert not (tmp_path / "r.catalog").exists()
    restore(backup, tmp_path / "r.catalog")
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "my.backup",
        "my.catalog",
        "r.catalog",
    ]


def test_a_database_is_copied_with_what_is_in_its_log(whole: Catalog, tmp_path: Path) -> None:
    with closing(sqlite3.connect(whole.path / "people.sqlite")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM acts").fetchall()
        Queue(whole.path).add("suggest", {"n": 1}, reason="r", confidence=0.1)
        back_up(whole.path, tmp_path / "my.backup")
    assert len(Queue(tmp_path / "my.backup").cases()) == 2
    assert not list((tmp_path / "my.backup").glob("*.sqlite-*"))


def test_backup_and_restore_from_the_command_line(
    whole: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["synesthete", "catalog", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(str(end.value.code or 0)), *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    code, printed, _ = run("backup", "my.catalog", "b.zip", "--json")
    assert (code, json.loads(printed)["items"]) == (0, 24)
    shutil.rmtree(whole.path)
    code, printed, _ = run("restore", "b.zip", "my.catalog")
    assert (code, "24 items" in printed) == (0, True)
    code, _, error = run("restore", "b.zip", "my.catalog")
    assert (code, "there already" in " ".join(error.split())) == (2, True)
