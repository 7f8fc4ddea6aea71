"""Slow, silent and many clients against `synesthete serve`, while a holder of the token goes on asking."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "secret-of-the-torture"
PATIENCE = 30.0
HOST = "Host: 127.0.0.1\r\n"
POST = f"{HOST}Origin: http://127.0.0.1\r\nContent-Length: 100000\r\n\r\n"
# What each kind of client sends at first, then once a second, and how many there are of it: 1,600 together,
# more than the server takes.
KINDS: dict[str, tuple[str, str, int]] = {
    "silent": ("", "", 500),
    "slow header": ("GET / HTTP/1.1\r\n", "X", 300),
    "slow body, refused": (f"POST /try-image HTTP/1.1\r\n{POST}", "x", 200),
    "slow body, entrance": (f"POST /enter HTTP/1.1\r\n{POST}token=", "x", 200),
    "kept alive": (f"GET /enter HTTP/1.1\r\n{HOST}\r\n", "", 300),
    "does not read": (f"GET /static/fonts/Inter-Regular.otf HTTP/1.1\r\n{HOST}\r\n" * 20, "", 100),
}


@dataclass
class _Seen:
    end: float
    opened: int = 0
    now: int = 0
    peak: int = 0
    latencies: list[float] = field(default_factory=list)
    failed: int = 0


def run(seconds: float, atlas: Path | None = None) -> dict[str, float | int]:
    """Serve an atlas, hold slow clients against it for so long, and count what a holder of the token got.

    Parameters
    ----------
    seconds
        How long.
    atlas
        What is served; by default a small one, recorded first.

    Returns
    -------
    counts
        `connections_opened` and `connections_held` (the most at once) of the clients, `answered` and `failed`
        of the requests with the token, `median_ms` and `max_ms` of those, and the server's resident memory
        in MB at the beginning and at the end (Linux; elsewhere 0).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _attack(seconds, atlas or _small(Path(folder)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _small(folder: Path) -> Path:
    from tests.small_atlas import record_small, write_known_analysis

    path = record_small(folder)
    write_known_analysis(path)
    return path


def _attack(seconds: float, atlas: Path) -> dict[str, float | int]:
    command = [
        sys.executable,
        "-m",
        "synesthete",
        "serve",
        str(atlas),
        "--no-browser",
        "--no-preload",
        "--port",
    ]
    server = subprocess.Popen(
        [*command, "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "SYNESTHETE_TOKEN": TOKEN},
    )  # fmt: skip
    try:
        assert server.stdout
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line
        port = int(found[1])
        _ask(port, 60)
        before, seen = _resident(server.pid), _Seen(time.monotonic() + seconds)
        holder = threading.Thread(target=_hold, args=(port, seen))
        holder.start()
        asyncio.run(_clients(port, seen))
        holder.join()
        assert server.poll() is None, "the server ended"
        after = _resident(server.pid)
    finally:
        server.kill()
        server.communicate()
    return {
        "connections_opened": seen.opened,
        "connections_held": seen.peak,
        "answered": len(seen.latencies),
        "failed": seen.failed,
        "median_ms": round(1000 * statistics.median(seen.latencies or [0]), 1),
        "max_ms": round(1000 * max(seen.latencies or [0]), 1),
        "server_mb_before": before,
        "server_mb_after": after,
    }


def _hold(port: int, seen: _Seen) -> None:
    """Ask with the token, ten times a second at most, on a new connection each time."""
    while time.monotonic() < seen.end:
        began = time.monotonic()
        if _ask(port, PATIENCE) == 200:
            seen.latencies.append(time.monotonic() - began)
        else:
            seen.failed += 1
        time.sleep(0.1)


def _ask(port: int, patience: float) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/index.json", headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status
    connection.close()
    return 0


async def _clients(port: int, seen: _Seen) -> None:
    tasks: list[Awaitable[None]] = []
    for name, (first, then, number) in KINDS.items():
        reads = name != "does not read"
        tasks += [_client(port, seen, first, then, reads) for _ in range(number)]
    await asyncio.gather(*tasks)


async def _client(port: int, seen: _Seen, first: str, then: str, reads: bool) -> None:
    """Open a connection, keep it as long as the server lets one, and open the next."""
    while time.monotonic() < seen.end:
        with suppress(OSError, asyncio.TimeoutError):
            own = socket.socket()
            own.setblocking(False)
            if not reads:  # nor does its system: what is sent stays with the server
                own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.sock_connect(own, ("127.0.0.1", port)), PATIENCE)
            reader, writer = await asyncio.open_connection(sock=own, limit=2**12)
            seen.opened += 1
            seen.now += 1
            seen.peak = max(seen.peak, seen.now)
            try:
                writer.write(first.encode())
                await _linger(seen, writer, then, reader.read if reads else None)
            finally:
                seen.now -= 1
                writer.transport.abort()
        await asyncio.sleep(1)  # slow clients are meant, not a race for the processor


async def _linger(
    seen: _Seen,
    writer: asyncio.StreamWriter,
    then: str,
    read: Callable[[int], Awaitable[bytes]] | None,
) -> None:
    while time.monotonic() < seen.end and not writer.transport.is_closing():
        if read is None:
            await asyncio.sleep(1)
            continue
        with suppress(asyncio.TimeoutError):
            if not await asyncio.wait_for(read(2**16), 1):
                return
        writer.write(then.encode())


def _resident(pid: int) -> int:
    with suppress(OSError):
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        return int(text.partition("VmRSS:")[2].split()[0]) // 1024
    return 0
