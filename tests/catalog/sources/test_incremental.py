"""Reading only what changed: which rows, what is kept for the next run, and that a failure keeps nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from synesthete.catalog import Catalog, Item
from synesthete.catalog.sources import LeftOut, Watermark, read_items
from synesthete.catalog.sources.watermark import FILE, keep_mark, read_mark, time_of
from synesthete.errors import SynestheteError
from tests.catalog.sources.conftest import Run

TABLE = "id,title,updated_at\n1,mug,2026-03-01T10:00:00Z\n2,cup,2026-03-02 10:00:00\n3,jug,\n"


def test_rows_at_or_after_a_time_are_read(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(TABLE)

    def ids(since: str, **options: Any) -> list[str]:
        found = list(read_items(path, since=Watermark(since), **options))
        return [one.id for one in found]

    assert ids("2026-03-01T10:00:00Z") == ["1", "2", "3"]
    assert ids("2026-03-01T10:00:01Z") == ["2", "3"], "a row without a time is read"
    assert ids("2026-03-02T12:00:00+02:00") == ["2", "3"]
    assert ids("2026-03-03") == ["3"]
    left_out = LeftOut()
    assert ids("2026-03-03", left_out=left_out) == ["3"]
    assert left_out.unchanged == 2
    # The time is not an attribute, which would change the item.
    (first, *_) = read_items(path)
    assert isinstance(first, Item)
    assert first.attributes == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Date modified", "2026-03-01 10:00:00"), ("Modified", "2026-03-01T10:00:00+00:00"), ("Last Updated", "1772359200"),
        ("updated", "1772359200000"),
    ],
)  # fmt: skip
def test_columns_and_ways_to_write_a_time(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "items.csv"
    path.write_text(f"id,title,{name}\n1,mug,{value}\n")
    for since, count in (("2026-03-01 10:00", 1), ("2026-03-01 10:01", 0)):
        mark = Watermark(since)
        assert len(list(read_items(path, since=mark))) == count
        assert mark.highest == value


def test_times_of_every_kind() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for cell in (
        noon,
        noon.replace(tzinfo=None),
        noon.timestamp(),
        noon.timestamp() * 1000,
        str(noon),
    ):
        assert time_of(cell) == noon
    assert time_of(date(2026, 3, 1)) == datetime(2026, 3, 1, tzinfo=UTC)
    for cell in ("yesterday", "", None, True, "1 March 2026", float("nan"), 1e300, [], "9" * 400):
        assert time_of(cell) is None


def test_a_time_in_the_future_does_not_become_the_mark() -> None:
    mark = Watermark()
    assert mark.admits("2026-03-01")
    assert mark.admits("2999-01-01")
    assert mark.highest == "2026-03-01"


def test_since_last(run: Run) -> None:
    Path("items.csv").write_text(TABLE)
    code, first, _ = run("items.csv", "--since", "last")
    assert (code, first["added"], first["left_out"]["unchanged"]) == (0, 3, 0), "at first all rows"
    assert first["changed_until"] == "2026-03-02 10:00:00"
    Path("items.csv").write_text(TABLE.replace("2,cup", "2,teacup") + "4,bowl,2026-03-05\n")
    _, second, _ = run("items.csv", "--since", "last")
    assert (second["added"], second["changed"], second["unchanged"]) == (1, 1, 1)
    assert second["left_out"]["unchanged"] == 1
    assert second["changed_until"] == "2026-03-05"
    # Another source has a mark of its own.
    Path("others.csv").write_text("id,title,updated_at\n9,old,2026-01-01\n")
    _, other, _ = run("others.csv", "--since", "last")
    assert (other["added"], other["changed_until"]) == (1, "2026-01-01")
    # An earlier time reads more, and the mark stays.
    _, again, _ = run("items.csv", "--since", "2026-03-01")
    assert (again["left_out"]["unchanged"], again["changed_until"]) == (0, "2026-03-05")


def test_a_run_that_began_after_the_mark_does_not_move_it(run: Run) -> None:
    """What changed between the two was not read, and `last` still finds it."""
    table = "id,title,updated_at\n1,mug,2026-01-10\n"
    Path("items.csv").write_text(table)
    for since in ("2026-01-01", "last"):
        _, found, _ = run("items.csv", "--since", since)
        assert found["changed_until"] == (None if since != "last" else "2026-01-10")
    Path("items.csv").write_text(table + "2,cup,2026-01-20\n3,jug,2026-02-03\n")
    _, found, _ = run("items.csv", "--since", "2026-02-01")
    assert (found["added"], found["changed_until"]) == (1, "2026-01-10")
    _, found, _ = run("items.csv", "--since", "last")
    assert (found["added"], found["changed_until"]) == (1, "2026-02-03")
    # One that began at the mark moves it.
    Path("items.csv").write_text(table + "4,bowl,2026-02-05\n")
    assert run("items.csv", "--since", "2026-02-03")[1]["changed_until"] == "2026-02-05"


def test_a_run_that_fails_keeps_no_mark(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("items.csv").write_text(TABLE)
    run("items.csv")
    Path("items.csv").write_text(TABLE + "4,bowl,2026-03-05\n")
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "upsert", _failing)
        code, _, error = run("items.csv", "--since", "last")
    assert (code, "the disk is full" in error) == (2, True)
    assert list(json.loads(Path("my.catalog", FILE).read_text())["sources"].values()) == [
        "2026-03-02 10:00:00"
    ]
    assert run("items.csv", "--since", "last")[1]["added"] == 1


def _failing(catalog: Catalog, items: Any, **options: Any) -> None:
    list(items)
    raise SynestheteError("the disk is full")


def test_images_that_may_come_later_keep_the_mark(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("items.csv").write_text(
        "id,title,image,updated_at\n1,mug,https://no.invalid/a,2026-03-01\n"
    )
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    fetching = ["--fetch-images", "--image-hosts", "no.invalid"]
    _, found, _ = run("items.csv", "--since", "last", *fetching)
    assert (found["added"], found["changed_until"], len(found["quarantined"])) == (1, None, 1)
    _, found, _ = run("items.csv", "--since", "last")
    assert (found["changed_until"], found["left_out"]["image_urls"]) == (
        "2026-03-01",
        {"no.invalid": 1},
    )


def _no_network(*args: Any, **kwargs: Any) -> Any:
    raise OSError(-3, "Temporary failure in name resolution")


def test_sql(run: Run) -> None:
    with closing(sqlite3.connect("shop.sqlite")) as connection:
        connection.execute("CREATE TABLE p (id, title, changed)")
        connection.executemany(
            "INSERT INTO p VALUES (?, ?, ?)", [(1, "mug", "2026-03-01"), (2, "cup", "2026-03-02")]
        )
        connection.commit()
        query = "SELECT * FROM p WHERE changed >= :since"
        options = [
            "sqlite:///shop.sqlite",
            "--sql",
            query,
            "--column",
            "updated=changed",
            "--since",
            "last",
        ]
        assert run(*options)[1]["added"] == 2
        connection.execute("UPDATE p SET title = 'beaker', changed = '2026-03-09' WHERE id = 1")
        connection.commit()
        _, found, _ = run(*options)
    assert (found["changed"], found["unchanged"], found["changed_until"]) == (1, 1, "2026-03-09")


def test_a_damaged_mark_is_one_line(tmp_path: Path) -> None:
    for content in ("[]", '{"sources": {"x": "soon"}}', '{"sources": {"x": 1}}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(SynestheteError, match="is damaged"):
            read_mark(tmp_path, "x")
    (tmp_path / FILE).unlink()
    assert keep_mark(tmp_path, "x", Watermark()) is None
    assert not (tmp_path / FILE).exists()
