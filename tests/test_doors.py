"""Every door holds: what somebody else may have written is taken, set aside or refused in one line."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.errors import SynestheteError
from tests.doors import DOORS, ITEM, png, spoilt, try_door, whole
from tests.torture import tables

SOURCE = Path(__file__).parents[1] / "src" / "synesthete"

# Where bytes become values, and the one module that may do so: it bounds size, depth and kinds.
READERS = {
    "json.loads": {"_core/json_reader.py", "models/sources.py"},
    "json.load": set(),
    "yaml.safe_load": {"_core/yaml_reader.py"},
    "yaml.load": set(),
    "np.load": set(),
    "sqlite3.connect": {"_core/sqlite.py"},
    "csv.reader": {"_core/row_reader.py"},
    "csv.DictReader": set(),
}  # fmt: skip
# Files that are read without `_core.user_files`, all of them the package's own.
OWN_FILES = {
    "analysis/families/definitions.py",  # data of the package
    "models/sources.py", "catalog/experiments.py",  # the shipped model, a page of the package
    "audits/report/page.py", "server/export.py", "visualization/__init__.py",  # styles, scripts and fonts of the package
}  # fmt: skip


@pytest.mark.parametrize("name", DOORS)
def test_a_sound_file_is_taken(tmp_path: Path, name: str) -> None:
    outcome = try_door(name, whole(DOORS[name]), tmp_path)
    # Four rows of one id; events of a second, about which a pilot has cautions.
    expected = {"catalog index, Parquet", "catalog pilot, CSV", "catalog pilot, JSON lines"}
    assert outcome == ("quarantined" if name in expected else "accepted")


@settings(
    max_examples=150, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)  # fmt: skip
@given(st.sampled_from(list(DOORS)), st.integers(0, 2**32))
def test_a_spoilt_file_is_never_a_traceback(name: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try_door(name, spoilt(DOORS[name], Random(seed)), Path(folder))


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.sampled_from(list(DOORS)), st.binary(max_size=200))
def test_any_bytes_are_never_a_traceback(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try_door(name, data, Path(folder))


def test_the_torture_counts_every_file() -> None:
    found = tables.run(len(DOORS), seed=1)
    outcomes = ("accepted", "refused", "quarantined", "tracebacks")
    assert found["tracebacks"] == 0, found["first"]
    assert sum(found[kind] for kind in outcomes) == found["files"] == len(DOORS)
    assert set(found["doors"]) == set(DOORS)


# Doors whose file is in a folder that the user names, so that it may be somebody else's link.
FOUND = (
    "catalog align, CSV", "catalog pilot, CSV", "catalog.json", "confidence.json", "classifier.json", "atlas.json",
    "atlas images", "fonts", "catalogue keys", "catalogue table", "probes, COCO",
)  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_file_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    door = DOORS[name]
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / door.file).write_bytes(whole(door))
    (folder / "a.png").write_bytes(png())
    (folder / door.file).symlink_to(outside / door.file)
    with pytest.raises(SynestheteError, match="leads out"):
        door.enter(folder / door.file)


@pytest.mark.parametrize("name", FOUND)
def test_a_pipe_in_a_folder_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(png())
    os.mkfifo(tmp_path / DOORS[name].file)
    with pytest.raises(SynestheteError):
        DOORS[name].enter(tmp_path / DOORS[name].file)


@cache
def _calls(path: Path) -> set[str]:
    """Names of what a module calls, with the module it is called of: `json.loads`, `.read_text`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            found |= {f"{owner}.{node.func.attr}", f".{node.func.attr}"}
    return found


def _where(call: str) -> set[str]:
    return {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if call in _calls(path)}


@pytest.mark.parametrize("call", READERS)
def test_one_module_parses(call: str) -> None:
    assert _where(call) <= READERS[call]


@pytest.mark.parametrize("call", [".read_text", ".read_bytes"])
def test_files_of_others_are_opened_by_one_module(call: str) -> None:
    assert _where(call) <= OWN_FILES


def test_the_check_of_calls_sees_them() -> None:
    assert _where("yaml.safe_load") == {"_core/yaml_reader.py"}
    assert "server/export.py" in _where(".read_text")


def _modes(folder: Path) -> dict[str, int]:
    files = [file for file in folder.iterdir() if ".sqlite" in file.name]
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}


def test_databases_of_a_catalogue_are_their_owners_alone(tmp_path: Path) -> None:
    from synesthete.catalog.events import EventLog
    from synesthete.catalog.keys import Keys

    before = os.umask(0o022)
    try:
        keys = Keys(tmp_path)
        keys.make("shop", ["read"])
        EventLog(tmp_path).take([])
        with keys._file.writing():
            assert {"events.sqlite", "keys.sqlite-wal"} <= set(_modes(tmp_path))
            assert set(_modes(tmp_path).values()) == {0o600}
        # An older version left them to the umask.
        for file in tmp_path.glob("*.sqlite*"):
            file.chmod(0o644)
        keys.every(), EventLog(tmp_path).counts()
        assert set(_modes(tmp_path).values()) == {0o600}
    finally:
        os.umask(before)


def test_reviews_are_not_read_or_written_through_a_link(tmp_path: Path) -> None:
    from synesthete.reviews import import_reviews
    from synesthete.reviews.acts import read

    atlas, other = tmp_path / "some.atlas", tmp_path / "other.atlas"
    atlas.mkdir()
    other.mkdir()
    (tmp_path / "in.jsonl").write_bytes(whole(DOORS["reviews import"]))
    assert import_reviews(other, tmp_path / "in.jsonl").added == 4
    (atlas / "reviews.sqlite").symlink_to(other / "reviews.sqlite")
    for enter in (lambda: read(atlas), lambda: import_reviews(atlas, tmp_path / "in.jsonl")):
        with pytest.raises(SynestheteError, match="leads out"):
            enter()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    from synesthete.atlas.files import write_file
    from synesthete.atlas.visualizations import claim_visualizations
    from synesthete.recording.session import claim

    (tmp_path / "mine").write_text("mine")
    atlas = tmp_path / "some.atlas"
    for name in (".atlas.json.tmp", ".recording/lock", "visualizations/.lock"):
        (atlas / name).parent.mkdir(parents=True, exist_ok=True)
        (atlas / name).symlink_to(tmp_path / "mine")
    with pytest.raises(SynestheteError, match="cannot write"):
        write_file(atlas / "atlas.json", b"{}")
    for hold in (claim, claim_visualizations):
        with pytest.raises(SynestheteError, match="cannot write"), hold(atlas):
            pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_links_in_a_folder_of_items_are_set_aside(tmp_path: Path) -> None:
    from synesthete.catalog import Item, Quarantined
    from synesthete.catalog.sources import images_under, read_items

    secret = tmp_path / "secret"
    secret.write_bytes(b'{"title": "secret"}')
    (tmp_path / "secret.png").write_bytes(png())
    mug = tmp_path / "shop" / "mugs" / "blue"
    mug.mkdir(parents=True)
    (mug / "a.png").write_bytes(png())
    for name in ("desc.txt", "more.json"):
        (mug / name).symlink_to(secret)
    (mug / "b.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(mug / "pipe.txt")
    (tmp_path / "shop" / "out").symlink_to(tmp_path)
    found = list(read_items(tmp_path / "shop"))
    (item,) = [one for one in found if isinstance(one, Item)]
    assert item == Item("mugs/blue", title="blue", category="mugs", images=(mug / "a.png",))
    aside = {one.what: one.reason for one in found if isinstance(one, Quarantined)}
    assert set(aside) == {"desc.txt", "more.json", "b.png"}
    assert all("leads out" in reason for reason in aside.values())
    assert images_under(tmp_path / "shop") == [mug / "a.png"]


def test_an_image_exchanged_for_a_link_after_it_was_listed_is_set_aside(tmp_path: Path) -> None:
    from synesthete.catalog import Item
    from synesthete.catalog.encode import load
    from synesthete.catalog.sources import read_items

    (tmp_path / "secret.png").write_bytes(png())
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "items.csv").write_text("id,title,image\n1,mug,a.png\n")
    (shop / "a.png").write_bytes(png())
    (item,) = read_items(shop)
    assert isinstance(item, Item)
    assert load(item).data == (png(),)
    (shop / "a.png").unlink()
    (shop / "a.png").symlink_to(tmp_path / "secret.png")
    loaded = load(item)
    assert loaded.data == (None,)
    assert "leads out" in loaded.quarantined[0].reason


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "a.parquet"])
def test_a_table_of_probes_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    from synesthete.probes import load_probes

    door = DOORS[
        {"metadata.csv": "probes, CSV", "metadata.jsonl": "probes, JSON lines"}.get(
            name, "probes, Parquet"
        )
    ]
    (tmp_path / name).write_bytes(whole(door))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(SynestheteError, match="leads out"):
        load_probes(folder)


def test_a_table_of_items_that_leads_out_is_refused(tmp_path: Path) -> None:
    from synesthete.catalog.sources import read_items

    (tmp_path / "x.csv").write_text("id,title\n1,mug\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "items.csv").symlink_to(tmp_path / "x.csv")
    with pytest.raises(SynestheteError, match="leads out"):
        list(read_items(folder))


def test_one_bad_row_is_set_aside_and_the_others_are_taken(tmp_path: Path) -> None:
    from synesthete.catalog import Item, Quarantined
    from synesthete.catalog.sources import read_items

    lines = {
        "items.jsonl": [b'{"id": 1, "title": "mug"}', b"[" * 5000, b'{"id": "\\ud800"}', b'{"id": "\xff"}', b"[]", b"{",
                        b'{"id": 2, "title": "bowl"}'],
        "items.csv": [b"id,title", b"1,mug", b"x,y,z", b'x,"a"b', b"x,\xff", b"2,bowl"],
    }  # fmt: skip
    for name, rows in lines.items():
        (tmp_path / name).write_bytes(b"\n".join(rows))
        found = list(read_items(tmp_path / name))
        assert [one.id for one in found if isinstance(one, Item)] == ["1", "2"]
        aside = [one.id for one in found if isinstance(one, Quarantined)]
        start = 2 if name == "items.jsonl" else 3
        assert aside == [f"{name}, line {line}" for line in range(start, len(rows))]


def test_rows_of_parquet_that_python_cannot_hold_are_set_aside(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from synesthete.catalog import Item, Quarantined
    from synesthete.catalog.sources import read_items

    days = pa.array([2**30, 0], pa.int32()).cast(pa.date32())
    pq.write_table(
        pa.table({"id": ["1", "2"], "title": ["mug", "bowl"], "day": days}), tmp_path / "t.parquet"
    )
    bad, good = read_items(tmp_path / "t.parquet")
    assert isinstance(bad, Quarantined)
    assert bad.id == "t.parquet, line 1"
    assert "'day'" in bad.reason
    assert isinstance(good, Item)
    assert good.id == "2"


def test_a_price_beyond_all_numbers_costs_the_price_alone(tmp_path: Path) -> None:
    from synesthete.catalog import Item
    from synesthete.catalog.sources import read_items

    (tmp_path / "t.csv").write_text(f"id,title,price\n1,mug,{'9' * 400}\n")
    aside, item = read_items(tmp_path / "t.csv")
    assert getattr(aside, "what", "") == "price"
    assert isinstance(item, Item)
    assert (item.title, item.price) == ("mug", None)


def test_every_part_of_the_sound_item_is_read() -> None:
    from synesthete.catalog.sources import item_rows
    from synesthete.catalog.store.ingest import cleaned

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.jsonl"
        path.write_bytes(whole(DOORS["catalog index, JSON lines"]))
        first = next(item_rows(path))
        item = cleaned(first)  # type: ignore[arg-type]
    assert (item.price, item.category, item.reviews) == (
        ITEM["price"],
        ITEM["category"],
        ("good", "fine"),
    )
    assert item.attributes == {"colour": ("blue",), "size": ("L",), "weight": ("2",)}


def test_tests_of_bias_that_are_no_list_are_refused() -> None:
    from synesthete.audits.bias.lists import parse_lists

    with pytest.raises(SynestheteError, match="tests must be a list"):
        parse_lists({**DOORS["bias lists"].sound(), "tests": 1.5}, "x")


def test_a_table_that_leads_out_of_its_catalogue_is_refused(tmp_path: Path) -> None:
    from synesthete.catalog.store.table import ItemTable
    from tests.doors import _empty_table

    shutil.copytree(_empty_table(), tmp_path / "catalog")
    inside, outside = tmp_path / "catalog" / "items-1.lance", tmp_path / "elsewhere"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(SynestheteError, match="leads out"):
        ItemTable(tmp_path / "catalog").count()
    inside.unlink()
    outside.rename(inside)
    (inside / "_versions").rename(outside)
    (inside / "_versions").symlink_to(outside)
    with pytest.raises(SynestheteError, match="leads out"):
        ItemTable(tmp_path / "catalog").pinned()
