"""Images from outside, at every endpoint that takes one: limits, the gate, and a budget for large bodies."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from synesthete.errors import SynestheteError
from synesthete.probes import request_images
from synesthete.probes.request_images import Gate
from synesthete.server import middleware
from synesthete.server.errors import status_of
from synesthete.server.middleware import HELD_AT_ONCE, UPLOAD_LIMIT, ImageLimits
from tests.torture import bombs


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, "PNG")
    return stream.getvalue()


BOMB = png(4001, 4000)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both places at the gate are taken, and nobody may wait."""
    gate = Gate(most_waiting=0)
    monkeypatch.setattr(request_images, "GATE", gate)
    with gate.enter(2):
        yield


@pytest.mark.parametrize("path", ["/try-image.json", "/edit.json"])
def test_the_microscope_names_the_limit(shared: TestClient, path: str) -> None:
    answer = shared.post(path, files={"file": ("a.png", BOMB)})
    assert answer.status_code == 413
    assert "limit of 16,000,000" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/try-image.json", "/edit.json"])
def test_the_microscope_says_when_to_come_again(shared: TestClient, path: str, full: None) -> None:
    answer = shared.post(path, files={"file": ("a.png", png(40, 30))})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert shared.get("/").status_code == 200  # others are served


def test_the_edit_page_keeps_no_image_in_full(shared: TestClient) -> None:
    from synesthete.server.pages.edit import HELD

    answer = shared.post("/edit.json", files={"file": ("a.png", png(2000, 1500))})
    assert answer.status_code == 200, answer.text
    held = HELD.get(answer.json()["held"], lambda: None)
    assert max(held.size) <= 64  # as the small model sees it


def sent(app: ImageLimits, size: int | None, log: list[str], name: str) -> Any:
    headers = [] if size is None else [(b"content-length", str(size).encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            log.append(f"{name} {message['status']}")

    return app(scope, receive, send)  # type: ignore[arg-type]


def refuse(request: Request, error: SynestheteError) -> Response:
    return PlainTextResponse(error.message, status_of(error))


def test_large_bodies_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the largest are held; small ones and others' pages never wait."""
    monkeypatch.setattr(middleware, "MOST_WAITING", 2)
    monkeypatch.setattr(middleware, "LONGEST_WAIT", 3600.0)

    async def scene() -> None:
        log: list[str] = []
        go = asyncio.Event()
        loop = asyncio.get_running_loop()
        clock, ahead = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: clock() + ahead)

        async def inner(scope: Any, receive: Any, send: Any) -> None:
            log.append("in")
            if scope["headers"] != [(b"content-length", b"10")]:
                await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        app = ImageLimits(inner, refuse)
        tasks = []
        for name, size in (("a", UPLOAD_LIMIT), ("b", None), ("c", UPLOAD_LIMIT), ("d", 10**6)):
            tasks.append(asyncio.create_task(sent(app, size, log, name)))
            await asyncio.sleep(0)
        assert log == ["in", "in"]
        await sent(app, 10, log, "small")
        await sent(app, UPLOAD_LIMIT, log, "e")  # the queue is full
        assert log == ["in", "in", "in", "small 200", "e 503"]
        tasks[3].cancel()  # a client that went away leaves its place in the queue
        ahead = 3601.0
        await tasks[2]
        assert log[5:] == ["c 503"]  # waited too long
        tasks.append(asyncio.create_task(sent(app, UPLOAD_LIMIT, log, "f")))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(log[6:]) == ["a 200", "b 200", "f 200", "in"]
        assert (app._held, len(app._queue)) == (0, 0)

    asyncio.run(scene())
    assert HELD_AT_ONCE == 2 * UPLOAD_LIMIT


def test_threads_of_one_request_share_its_limits() -> None:
    with request_images.request_limits():
        mine = request_images._REQUEST.get()
    assert mine is not None
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(request_images._REQUEST.get()))
    thread.start()
    thread.join()
    assert found == [None]  # a thread of its own is no request


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
def test_bombs_at_once_do_not_fill_the_memory() -> None:
    found = bombs.run(12, ["catalog"])["catalog"]
    assert found["ratio"] <= 1.5, found
    assert set(found["statuses"]) <= {200, 413, 503}, found
    assert found["statuses"].get(413, 0) >= 1, found
    assert found["alive"]
