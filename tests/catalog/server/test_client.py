"""The Python client against a real server: the values of a catalogue, lists in pages, patience, and nothing done twice."""

from __future__ import annotations

import json
import math
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from synesthete.catalog import Catalog, Item, Signal
from synesthete.catalog.classify import NewRecord
from synesthete.catalog.client import CatalogClient
from synesthete.catalog.events import Event, EventLog
from synesthete.catalog.keys import SCOPES, Keys
from synesthete.catalog.metrics import compare, summarize
from synesthete.catalog.requests import Search
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.server.connections import LimitedServer
from tests.catalog.server.conftest import png


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    server = LimitedServer(app)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def shop(url: str, path: Path) -> Iterator[CatalogClient]:
    with CatalogClient(url, Keys(path).make("tests", SCOPES)[1]) as client:
        yield client


def test_it_gives_what_a_catalogue_gives(
    shop: CatalogClient, path: Path, model: ImageTextModel
) -> None:
    own = Catalog.open(path, model=model)
    found, expected = (
        shop.search("red mug", png("red"), limit=5),
        own.search("red mug", png("red"), limit=5),
    )
    assert [one.id for one in found] == [one.id for one in expected]
    assert found[0].reasons == expected[0].reasons
    assert [one.id for one in shop.items(at_once=7)] == [one.id for one in own.items()]
    by_price = [one.id for one in shop.items(sort="-price", at_once=7)]
    assert by_price == [f"item-{i:02d}" for i in range(29, -1, -1)]
    request = Search("mug", where={"colour": ["red"]}, sort="price", facets=3, limit=2, cut=0.1)
    assert shop.answer(request) == own.answer(request)
    liked = [Signal(item="item-01"), Signal("dislike", text="cup")]
    assert [one.id for one in shop.recommend(liked, limit=4)] == [
        one.id for one in own.recommend(liked, limit=4)
    ]
    assert shop.align(["a red mug"], [png("red")])[0].verdict in ("match", "mismatch", "unsure")
    suggestion = shop.suggest(png("blue"), "for tea")
    assert suggestion.abstained == (suggestion.ticket is not None)
    assert shop.assignment("x", "ann") == shop.assignment("x", "ann")
    own.close()


def test_changing_and_telling(shop: CatalogClient, path: Path) -> None:
    written = shop.upsert(Item(f"new-{i}", title=f"mug {i}") for i in range(3))
    assert (written.added, shop.health().items) == (3, 33)
    assert shop.delete(["new-0", "never"]).deleted == 1
    events = [
        Event(key=str(i), kind="impression", item="item-01", subject=f"v{i}", list=str(i))
        for i in range(1203)
    ]
    taken = shop.send(
        [
            *events,
            Event(key="x", kind="impression", item="gone"),
            Event(key="", kind="click", item=""),
        ]
    )
    assert (taken.added, taken.unknown, taken.refused[0].index) == (1204, 1, 1204)
    assert shop.send(events[:5]).replayed == 5
    assert shop.metrics().total.impressions == 1203
    assert EventLog(path).counts()["impression"] == 1204


def as_json(value: Any) -> str:
    """Of a dataclass; NaN is equal to NaN here."""
    return json.dumps(asdict(value), sort_keys=True)


def test_numbers_are_those_of_the_library(shop: CatalogClient, path: Path) -> None:
    empty = shop.metrics()
    assert (empty.total.visitors, math.isnan(empty.total.click.value)) == (0, True)
    shop.send(
        Event(
            key=f"{kind}{i}",
            kind=kind,
            item="item-01",
            subject=f"v{i}",
            list=str(i),
            experiment="spring",
            variant="AB"[i % 2],
        )
        for i in range(8)
        for kind in ("impression", *["click"] * (i % 3 == 0))
    )
    log = EventLog(path)
    assert as_json(shop.metrics()) == as_json(summarize(log))
    found, own = shop.experiment("spring", "click"), compare(log, "spring", "click")
    assert (found.name, found.metric) == ("spring", "click")
    # Of infinity JSON has null, too.
    assert as_json(found.lift) == re.sub("-?Infinity", "NaN", as_json(own.lift))
    assert shop.experiment("spring", "conversion", window_hours=1.0).metric == "conversion"


def test_people(shop: CatalogClient, path: Path) -> None:
    from synesthete.reviews.cases import Queue

    tickets = [
        Queue(path).add("suggest", {"proposal": str(i)}, reason="r", confidence=0.1)
        for i in range(3)
    ]
    assert {one.ticket for one in shop.cases(waiting=True)} == set(tickets)
    assert shop.decide(tickets[0], "accept", actor="ann").label == "0"
    assert len(list(shop.cases(waiting=True))) == 2


def test_errors_are_ours(shop: CatalogClient, url: str) -> None:
    with pytest.raises(SynestheteError, match="no experiment"):
        shop.experiment("spring")
    with pytest.raises(SynestheteError, match="no classifier"):
        shop.classify("spots", [NewRecord(png("red"), "a mole")])
    with pytest.raises(SynestheteError, match="authentication required"):
        CatalogClient(url, "wrong").health()


def test_lost_connections_and_full_buckets_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection lost after the work was done: the same key comes again, and the server can tell."""
    seen: list[str] = []
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("idempotency-key", ""))
        if len(seen) == 1:
            raise httpx.ReadError("lost")
        if len(seen) == 2:
            return httpx.Response(429, headers={"Retry-After": "5"}, json={})
        if len(seen) == 3:
            return httpx.Response(503, headers={"Retry-After": "7"}, json={})
        return httpx.Response(
            200, json={"added": 1, "changed": 0, "unchanged": 0, "deleted": 0, "quarantined": []}
        )

    client = CatalogClient("http://shop", "k", transport=httpx.MockTransport(answer))
    assert client.upsert([Item("1", title="x")]).added == 1
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert slept[-2:] == [5.0, 7.0]
    for reply, message in (
        (httpx.Response(500, text="oh"), "answered 500"),
        (httpx.Response(503, text="oh"), "answered 503"),
        (httpx.Response(200, json=[]), "another form"),
    ):
        one = CatalogClient(
            "http://shop", "k", transport=httpx.MockTransport(lambda request, reply=reply: reply)
        )
        with pytest.raises(SynestheteError, match=message):
            one.delete(["1"])

    def never(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(SynestheteError, match="cannot be reached"):
        CatalogClient("http://shop", "k", transport=httpx.MockTransport(never)).health()
