"""Items out of databases: SQLite always, and a PostgreSQL server that the test starts, where one is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from synesthete.catalog import Item, Quarantined
from synesthete.catalog.sources import LeftOut, Watermark, read_items, source_name
from synesthete.errors import SynestheteError
from tests.postgres import free_port

ROWS = [
    (1, "Blue mug", 12.5, "2026-03-01 10:00:00"),
    (2, "Plate, 1.299 kg", 1.299, "2026-03-02 10:00:00"),
    (3, None, None, "2026-03-03 10:00:00"),
]
PASSWORD = "s3cret/of:the@shop"


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE products (id, name, price, updated_at)")
        connection.executemany("INSERT INTO products VALUES (?, ?, ?, ?)", ROWS)
        connection.commit()
    return f"sqlite:///{path}"


def read(url: str, query: str, **options: object) -> list[Item]:
    found = list(read_items(url, sql=query, **options))  # type: ignore[arg-type]
    assert not any(isinstance(one, Quarantined) for one in found), found
    return [one for one in found if isinstance(one, Item)]


def test_rows_are_items(sqlite: str) -> None:
    query = "SELECT id, name, price, 'kitchen' AS room, updated_at FROM products ORDER BY id"
    items = read(sqlite, query)
    assert [one.id for one in items] == ["1", "2", "3"]
    assert items[0] == Item("1", title="Blue mug", price=12.5, attributes={"room": ("kitchen",)})
    assert items[1].price == 1.299, "a number is taken as it is"
    found = read(sqlite, "SELECT id AS nr, name FROM products", columns={"id": "nr"})
    assert found[0].id == "1"


def test_a_query_changes_nothing(sqlite: str) -> None:
    for query in (
        "DELETE FROM products", "WITH x AS (SELECT 1) DELETE FROM products", "PRAGMA query_only = OFF",
        "SELECT 1; DELETE FROM products", "/* SELECT */ DROP TABLE products",
    ):  # fmt: skip
        with pytest.raises(SynestheteError):
            read(sqlite, query)
    assert len(read(sqlite, "-- all\nSELECT * FROM products")) == 3


def test_since_is_filled_in(sqlite: str) -> None:
    query = "SELECT id, name, updated_at FROM products WHERE updated_at >= :since"
    mark = Watermark("2026-03-02 10:00:00")
    assert [one.id for one in read(sqlite, query, since=mark)] == ["2", "3"]
    assert mark.highest == "2026-03-03 10:00:00"
    assert len(read(sqlite, query)) == 3, "without a time, from the beginning"
    # Where the query does not ask for it, rows are left out as they come.
    left_out = LeftOut()
    since = Watermark("2026-03-03")
    items = read(sqlite, "SELECT * FROM products", since=since, left_out=left_out)
    assert ([one.id for one in items], left_out.unchanged) == (["3"], 2)
    with pytest.raises(SynestheteError, match="only :since is filled in"):
        read(sqlite, "SELECT * FROM products WHERE id = :id")


def test_mistakes_are_one_line(sqlite: str, tmp_path: Path) -> None:
    for url, query, message in (
        (sqlite, "SELECT * FROM product", "no such table: product"),
        (sqlite, "SELECT id, id FROM products", "two columns 'id'"),
        (sqlite, "SELECT name FROM products", "no column id"),
        (f"sqlite:///{tmp_path}/none.sqlite", "SELECT 1", "no such database"),
        ("items.csv", "SELECT 1", "needs the URL of a database"),
        ("$NO_SUCH_VARIABLE", "SELECT 1", "NO_SUCH_VARIABLE is not set"),
        ("nosuch://x/y", "SELECT 1", "nosuch"),
        ("postgresql://u:p@host:port/db", "SELECT 1", "not valid"),
    ):
        with pytest.raises(SynestheteError, match=message) as caught:
            read(url, query)
        assert "\n" not in str(caught.value)
        assert "sqlalche.me" not in str(caught.value)
    with pytest.raises(SynestheteError, match="needs a query"):
        read_items("postgresql://db/shop")


def test_the_url_may_be_in_the_environment(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", sqlite)
    assert len(read("$SHOP_URL", "SELECT * FROM products")) == 3
    assert source_name("${SHOP_URL}", "SELECT 1") == source_name(sqlite, "SELECT 1")


def test_a_password_is_never_shown() -> None:
    quoted = "s3cret%2Fof%3Athe%40shop"
    for url in (
        f"postgresql://anna:{quoted}@127.0.0.1:1/shop", f"postgresql://anna:{PASSWORD}@127.0.0.1:1/shop",
        f"postgresql://127.0.0.1:1/shop?user=anna&password={quoted}", f"nosuch://anna:{quoted}@db/shop",
        f"postgresql://anna:{quoted}@[127.0.0.1:1/shop",
    ):  # fmt: skip
        with pytest.raises(SynestheteError) as caught:
            read(url, "SELECT 1 AS id")
        shown = repr(caught.value) + str(caught.value)
        assert not any(part in shown for part in ("s3cret", "of:the", "%40shop", "the@shop"))
    for url in (f"postgresql://anna:{quoted}@db/shop", f"postgresql://db/shop?password={quoted}"):
        assert source_name(url, "SELECT 1").startswith("postgresql://db/shop ")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server of this test's own, which asks for a password."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (str(programs[-1]) if programs else "")
    if not found:
        pytest.skip("PostgreSQL is not installed")
    try:  # which root may not run
        user = pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None
    except KeyError:
        pytest.skip("this is root, and there is no user nobody")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    (folder / "password").write_text(PASSWORD)
    port = free_port()
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(Path(found).with_name(program)), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, user=user, check=True, capture_output=True, cwd=folder, timeout=600)

    try:
        run(
            "initdb",
            "-U",
            "anna",
            "-A",
            "scram-sha-256",
            "--pwfile",
            str(folder / "password"),
            "--no-sync",
        )
        options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
        # Without pipes: the server would keep them open.
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield f"127.0.0.1:{port}/postgres"
        run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server with a table of products; its password is in the environment."""
    import psycopg

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    host, port = postgresql.partition("/")[0].split(":")
    login = f"host={host} port={port} user=anna dbname=postgres"
    with psycopg.connect(login, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS products")
        connection.execute(
            "CREATE TABLE products (id int, title text, price numeric(10, 3), tags text[], facts jsonb, photo bytea,"
            " updated_at timestamptz, day timestamp)"
        )
        connection.execute(
            "INSERT INTO products SELECT n, 'mug ' || n, 1.250, ARRAY['x', 'y'], '{\"a\": 1}', 'abc',"
            " timestamptz '2026-03-01 00:00+00' + n * interval '1 hour', timestamp '2026-03-01' + n * interval '1 hour'"
            " FROM generate_series(1, 1000) n"
        )
        # Times of this zone would be compared wrongly.
        connection.execute("ALTER ROLE anna SET TimeZone = 'Asia/Tokyo'")
    return f"postgresql+psycopg://anna@{postgresql}"


def test_postgresql(shop: str) -> None:
    query = "SELECT id, title, price, tags, photo AS image, updated_at FROM products WHERE title LIKE 'mug%' ORDER BY id"
    items = read(shop, query)
    assert len(items) == 1000
    assert items[0] == Item(
        "1", title="mug 1", price=1.25, attributes={"tags": ("x", "y")}, images=(b"abc",)
    )
    assert len(read(shop.replace("+psycopg", ""), query)) == 1000, "its usual URL"
    assert read(shop, "SELECT id, title::text, facts AS attributes FROM products")[
        0
    ].attributes == {"a": ("1",)}


def test_postgresql_streams_rows(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    fetched: list[int] = []
    fetch = psycopg.ServerCursor.fetchmany

    def noting(cursor: psycopg.ServerCursor, size: int = 0) -> list[object]:
        rows = fetch(cursor, size)
        fetched.append(len(rows))
        return rows

    monkeypatch.setattr(psycopg.ServerCursor, "fetchmany", noting)
    rows = read_items(shop, sql="SELECT id, title FROM products")
    next(iter(rows))
    assert 0 < sum(fetched) < 1000


def test_postgresql_refuses_changes(shop: str) -> None:
    for query in (
        "WITH gone AS (DELETE FROM products RETURNING *) SELECT * FROM gone",
        "SELECT 1 AS id; COMMIT; DELETE FROM products",
        "SELECT set_config('transaction_read_only', 'off', true) AS id",
    ):
        with pytest.raises(SynestheteError) as caught:
            read(shop, query)
        assert "\n" not in str(caught.value)
    assert len(read(shop, "SELECT id, title FROM products")) == 1000


@pytest.mark.parametrize("column", ["updated_at", "day"])
def test_postgresql_since(shop: str, column: str) -> None:
    query = f"SELECT id, title, {column} FROM products WHERE {column} >= :since"
    for since in ("2026-03-01T12:00:00Z", "2026-03-01 12:00", "2026-03-01T21:00:00+09:00"):
        mark = Watermark(since)
        items = read(shop, query, since=mark, columns={"updated": column})
        assert min(int(one.id) for one in items) == 12
        highest = mark.highest
        assert highest is not None
        again = read(shop, query, since=Watermark(highest), columns={"updated": column})
        assert [one.id for one in again] == ["1000"], "from the latest on, itself included"
    assert len(read(shop, query)) == 1000
    assert datetime.fromisoformat(highest).replace(tzinfo=UTC) == datetime(
        2026, 4, 11, 16, tzinfo=UTC
    )


def test_postgresql_with_a_wrong_password(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD")
    wrong = "wr0ng-p4ss"
    with pytest.raises(SynestheteError, match="authentication failed") as caught:
        read(shop.replace("anna@", f"anna:{wrong}@"), "SELECT 1 AS id")
    assert wrong not in str(caught.value)
    with pytest.raises(SynestheteError, match="no password supplied"):
        read(shop, "SELECT 1 AS id")
