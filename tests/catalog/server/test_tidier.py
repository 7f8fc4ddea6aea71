"""Requests that write do not wait until the catalogue is tidied; that goes on in the background, and ends in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from synesthete.catalog import Catalog, Item
from synesthete.catalog.server.folder import CatalogFolder, Tidier
from synesthete.catalog.store.table import ItemTable
from synesthete.errors import SynestheteError

V1 = "/api/v1"


class Slow:
    """In the place of `ItemTable.tidy`: waits until it may go on."""

    def __init__(self) -> None:
        self.started, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.errors: list[Exception] = []
        self.done = 0

    def __call__(self) -> None:
        self.started.release()
        assert self.go.acquire(timeout=60)
        if self.errors:
            raise self.errors.pop()
        self.done += 1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    found = Slow()
    monkeypatch.setattr(ItemTable, "tidy", lambda self: found())
    yield found
    found.go.release(100)


def tidier(client: TestClient) -> Tidier:
    found: Tidier = client.app.state.folder.tidier  # type: ignore[attr-defined]
    return found


def write(client: TestClient, name: str) -> None:
    answer = client.post(f"{V1}/items", json={"items": [{"id": name, "title": f"a {name}"}]})
    assert (answer.status_code, answer.json()["added"]) == (200, 1)


def test_writes_do_not_wait_for_it(client: TestClient, slow: Slow) -> None:
    write(client, "quokka")
    assert slow.started.acquire(timeout=60)
    for name in ("wombat", "numbat", "potoroo"):  # while the first round is under way
        write(client, name)
    assert client.post(f"{V1}/items/delete", json={"ids": ["wombat"]}).json()["deleted"] == 1
    assert client.post(f"{V1}/search", json={"text": "numbat"}).json()["hits"][0]["id"] == "numbat"
    assert not tidier(client).wait(0.0)
    slow.go.release(100)
    assert tidier(client).wait(60)
    assert slow.done == 2, "what came meanwhile is tidied together"


def test_a_round_that_fails_is_not_the_last(
    client: TestClient, slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    slow.errors.append(SynestheteError("the disk is full"))
    slow.go.release(100)
    with caplog.at_level(logging.ERROR):
        write(client, "quokka")
        assert tidier(client).wait(60)
    assert "the disk is full" in caplog.text
    write(client, "wombat")
    assert tidier(client).wait(60)
    assert slow.done == 1


def test_the_end_waits_for_the_present_round_only(client: TestClient, slow: Slow) -> None:
    write(client, "quokka")
    assert slow.started.acquire(timeout=60)
    write(client, "wombat")
    assert not tidier(client).close(0.0), "not longer than it may"
    slow.go.release(100)
    assert tidier(client).close(60)
    write(client, "numbat")
    assert tidier(client).wait(60)
    assert slow.done == 1


def test_the_catalogue_is_tidy_then(path: Path) -> None:
    """Two servers of one folder write at once, and all is indexed in the end."""
    folders = [CatalogFolder(path) for _ in range(2)]

    def upsert(folder: CatalogFolder, name: str) -> None:
        for number in range(3):
            folder.upsert([Item(f"{name}-{number}", title=f"{name} {number}")])

    threads = [
        threading.Thread(target=upsert, args=(folder, name))
        for folder, name in zip(folders, ("quokka", "wombat"), strict=True)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    # Not `close`, which begins nothing more: the last writes may be waiting for their round.
    assert all(folder.tidier.wait(300) for folder in folders)
    table = Catalog.open(path)._embedding().table.pinned()
    assert len(table) == 36
    assert table.index_stats("words_idx").num_unindexed_rows == 0
