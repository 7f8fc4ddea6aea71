"""A small guarded application on a real server with limits of one's choice, in a thread or as a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from synesthete.server import Gate
from synesthete.server.connections import ConnectionLimits, LimitedServer
from synesthete.server.errors import Refused
from synesthete.server.middleware import Guard

TOKEN = "secret-of-the-tests"
BIG = 24 * 2**20
HELD = threading.Event()
PATIENCE = 300.0  # bounds what would never end; nothing rests on it
ROOT = Path(__file__).parents[2]


async def _short(request: Request) -> Response:
    return PlainTextResponse("short")


async def _echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _big(request: Request) -> Response:
    return Response(b"x" * BIG)


async def _wait(request: Request) -> Response:
    while not HELD.is_set():
        await asyncio.sleep(0.02)
    return PlainTextResponse("waited")


def make_app(limits: ConnectionLimits) -> Guard:
    routes = [
        Route("/", _short, methods=["GET", "POST"]),
        Route("/static/short", _short),
        Route("/enter", _echo, methods=["POST"]),
        Route("/echo", _echo, methods=["POST"]),
        Route("/big", _big),
        Route("/wait", _wait),
    ]

    def refuse(request: Request, error: Refused) -> Response:
        return PlainTextResponse(error.message, error.status)

    return Guard(Starlette(routes=routes), Gate(TOKEN), refuse, limits)


@contextmanager
def in_thread(**limits: Any) -> Iterator[LimitedServer]:
    """A server that runs in a thread; `server.port` says where."""
    HELD.clear()
    given = ConnectionLimits(**limits)
    server = LimitedServer(make_app(given), given)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield server
        finally:
            HELD.set()
            server.should_exit = server.force_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


@contextmanager
def as_process(**limits: Any) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server that is a process of its own, and its port."""
    command = [sys.executable, "-m", "tests.server.limited", json.dumps(limits)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        until(lambda: ask(port)[0] == 200)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def until(true: Any, seconds: float = PATIENCE) -> None:
    """Wait for it; `seconds` only bounds the wait."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "that did not happen"
        time.sleep(0.02)


def head(
    path: str = "/", method: str = "GET", *, token: bool = True, length: int | None = None
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: Bearer {TOKEN}"] if token else ["Origin: http://127.0.0.1"]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join([*lines, "", ""]).encode()


def opened(port: int, sent: bytes = b"", address: str | None = None) -> socket.socket:
    """A connection on which something was sent."""
    source = (address, 0) if address else None
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE, source)
    with suppress(OSError):  # it may be closed already
        connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer; status 0 where the connection is closed instead."""
    data = b""
    with suppress(ConnectionError):
        while b"\r\n\r\n" not in data:
            more = connection.recv(1)
            if not more:
                break
            data += more
    if b"\r\n\r\n" not in data:
        return 0, {}, data
    first, *lines = data.decode().strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body, left = b"", int(headers.get("content-length", "0"))
    while len(body) < left and (more := connection.recv(min(2**20, left - len(body)))):
        body += more
    return int(first.split()[1]), headers, body


def ask(
    port: int, path: str = "/", *, token: bool = True, address: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own; sent again where that was closed for others."""
    with suppress(OSError), opened(port, head(path, token=token), address) as connection:
        return answer(connection)
    return 0, {}, b""


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closed it; what it sent before is thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(2**20):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def drip(connection: socket.socket, data: bytes = b"x") -> bool:
    """Send a little; whether the connection is closed."""
    try:
        connection.setblocking(True)
        connection.settimeout(PATIENCE)
        connection.sendall(data)
    except ConnectionError:
        return True
    return is_closed(connection)


def _main() -> None:
    limits = ConnectionLimits(**json.loads(sys.argv[1]))
    server = LimitedServer(make_app(limits), limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server.run(sockets=[listener])


if __name__ == "__main__":
    _main()
