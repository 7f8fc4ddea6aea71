"""A soak: both servers under a steady stream of requests, with what they use before and after."""

from __future__ import annotations

import base64
import io
import json
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from tests.torture.stages import ATLAS, CATALOG, Bases

TOKEN = "of-the-soak"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PAGES = 400
WORKERS = 12
GROWTH = 1.2
# Every thread that answers keeps a connection to the database, of three files.
DESCRIPTORS = 3 * WORKERS + 4
WRITES = 0.1  # share of requests that send something


@dataclass(frozen=True)
class Request:
    """One request of the mix."""

    server: str
    method: str
    path: str
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What a process holds."""

    mib: float
    descriptors: int

    @classmethod
    def of(cls, process: int) -> Usage:
        """Read from /proc."""
        status = Path(f"/proc/{process}/status").read_text()
        (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
        return cls(int(kib) / 1024, sum(1 for _ in Path(f"/proc/{process}/fd").iterdir()))


def run(
    minutes: float = 10.0, rate: float = 100.0, seed: int = 0, pages: int = PAGES
) -> dict[str, Any]:
    """Send `rate` requests a second to a microscope and a catalogue, over all their pages, their JSON and their API.

    Parameters
    ----------
    pages
        Addresses of a server that are asked for, at most.

    Returns
    -------
    dict
        `tried`, `held`, `broken` (answers of 500 and above, none at all, memory that grows beyond 1.2 times, files that
        stay open), the statuses, the latencies in milliseconds, and `before` and `after` for each server.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))).resolve()
        folders = prepare(place)
        servers = {name: stack.enter_context(served(folder)) for name, folder in folders.items()}
        mix = {name: addresses(name, base, pages) for name, (base, _) in servers.items()}
        sent = sender(servers, mix, seed)
        # Twice over everything first: caches are filled, the model is loaded.
        warm = Traffic(servers, 1000.0)
        for _ in range(2):
            warm.send([one for name in mix for one in (*mix[name], *writes(name))])
        before = {name: Usage.of(process) for name, (_, process) in servers.items()}
        traffic = Traffic(servers, rate)
        started = time.monotonic()
        traffic.send(next(sent) for _ in range(round(minutes * 60 * rate)))
        seconds = time.monotonic() - started
        time.sleep(1)
        after = {name: Usage.of(process) for name, (_, process) in servers.items()}
    return summary(traffic, before, after, seconds, {name: len(one) for name, one in mix.items()})


def prepare(place: Path) -> dict[str, Path]:
    """A small atlas, analysed, named and laid out, and a small catalogue with events."""
    from synesthete.analysis.layout import lay_out

    here = Path.cwd()
    bases = Bases(place)
    try:
        bases.write_shared()
        named, indexed = bases.make("named"), bases.make("indexed")
        lay_out(named / ATLAS)
    finally:
        os.chdir(here)
    return {"microscope": named / ATLAS, "catalogue": indexed / CATALOG}


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """A server of a folder in a process of its own; its address and process."""
    command = [sys.executable, "-m", "synesthete", "serve", str(folder), "--port", "0", "--token", TOKEN, "--no-browser", "--no-preload"]  # fmt: skip
    errors = folder.with_suffix(".errors")
    with errors.open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found is None:
            raise RuntimeError(f"no server: {line} {errors.read_text()[-500:]}")
        yield found.group(), process.pid
    finally:
        process.terminate()
        process.wait(300)


def addresses(name: str, base: str, pages: int) -> list[Request]:
    """Everything that links lead to from the first page, and all of the API that takes no parameter."""
    with httpx.Client(base_url=base, headers=BEARER, timeout=120) as client:
        described = client.get("/openapi.json").json()["paths"]
        wanted = [
            "/",
            *(path for path, of in described.items() if "get" in of and not needed(of["get"])),
        ]
        found: dict[str, None] = {}
        while wanted and len(found) < pages:
            path = wanted.pop(0)
            if path in found:
                continue
            answer = client.get(path)
            if answer.status_code >= 500:
                raise RuntimeError(f"{name}{path}: {answer.status_code}")
            found[path] = None
            if answer.headers.get("content-type", "").startswith("text/html"):
                for link in re.findall(r'\b(?:href|src)="([^"#]+)"', answer.text):
                    whole = urlsplit(urljoin(f"{base}{path}", unescape(link)))
                    if whole.netloc == urlsplit(base).netloc and not whole.path.startswith(
                        "/enter"
                    ):
                        wanted.append(whole.path + (f"?{whole.query}" if whole.query else ""))
    return [Request(name, "GET", path) for path in found]


def needed(operation: dict[str, Any]) -> bool:
    """Whether a request of an operation needs a parameter."""
    return any(one.get("required") for one in operation.get("parameters", ()))


def writes(name: str) -> list[Request]:
    """What is sent to a server: images, searches, items, events, and requests that are refused."""
    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "PNG")
    nobody = {"headers": {"Authorization": "Bearer nobody"}}
    if name == "microscope":
        shown = {"files": {"file": ("x.png", stream.getvalue(), "image/png")}}
        return [
            Request(name, "POST", "/try-image.json", shown), Request(name, "POST", "/edit.json", shown),
            Request(name, "GET", "/search.json?q=apple"),
            Request(name, "GET", "/nowhere"), Request(name, "GET", "/", nobody),
            Request(name, "GET", "/neuron/none:1.json"), Request(name, "HEAD", "/concepts"),
        ]  # fmt: skip
    encoded = base64.b64encode(stream.getvalue()).decode()
    event = {"key": "k", "kind": "click", "item": "i1"}
    bodies: dict[str, Any] = {
        "search": {"text": "red mug"}, "recommend": {"signals": [{"item": "i1"}]},
        "items": {"items": [{"id": "new", "title": "a new mug"}]}, "events": {"events": [event, {**event, "kind": "?"}]},
        "align": {"copies": ["a red mug"], "images": [encoded]}, "suggest": {"brief": "a mug", "image": encoded},
    }  # fmt: skip
    sent = [
        Request(name, "POST", f"/api/v1/{path}", {"json": body}) for path, body in bodies.items()
    ]
    read = ("item?id=i1", "item/image?id=i1", "item?id=nothing", "items?limit=5&after=i1")
    sent += [Request(name, "GET", f"/api/v1/{path}") for path in read]
    sent.append(Request(name, "POST", "/api/v1/search", {"json": {"image": encoded}}))
    return [*sent, Request(name, "GET", "/api/v1/items", nobody), Request(name, "GET", "/nowhere")]


def sender(servers: dict[str, Any], mix: dict[str, list[Request]], seed: int) -> Iterator[Request]:
    """Each of the writes once, then requests without end, drawn at random."""
    chance = random.Random(seed)
    sent = {name: writes(name) for name in servers}
    yield from (request for each in sent.values() for request in each)
    while True:
        name = chance.choice(list(servers))
        yield chance.choice(sent[name] if chance.random() < WRITES else mix[name])


class Traffic:
    """Requests at a steady rate, and what became of them.

    Parameters
    ----------
    servers
        Name → address and process.
    rate
        Requests a second; less where the answers do not keep up.
    """

    def __init__(self, servers: dict[str, tuple[str, int]], rate: float) -> None:
        self._servers = servers
        self._rate = rate
        self._lock = threading.Lock()
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.milliseconds: list[float] = []

    def send(self, requests: Any) -> None:
        """Send all of them, and wait for the answers."""
        waiting: queue.Queue[Request | None] = queue.Queue(WORKERS)
        workers = [threading.Thread(target=self._work, args=(waiting,)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        next_at = time.monotonic()
        for request in requests:
            time.sleep(max(0.0, next_at - time.monotonic()))
            # Late ones are not caught up with: the rate is a bound.
            next_at = max(next_at, time.monotonic() - 1) + 1 / self._rate
            waiting.put(request)
        for _ in workers:
            waiting.put(None)
        for worker in workers:
            worker.join()

    def _work(self, waiting: queue.Queue[Request | None]) -> None:
        with ExitStack() as stack:
            clients = {
                name: stack.enter_context(httpx.Client(base_url=base, headers=BEARER, timeout=120))
                for name, (base, _) in self._servers.items()
            }
            while (one := waiting.get()) is not None:
                started = time.monotonic()
                try:
                    status = (
                        clients[one.server].request(one.method, one.path, **one.more).status_code
                    )
                except httpx.HTTPError as error:
                    status, failure = (
                        0,
                        f"{one.server} {one.method} {one.path}: {type(error).__name__}",
                    )
                else:
                    failure = f"{one.server} {one.method} {one.path}: {status}"
                with self._lock:
                    self.milliseconds.append(1000 * (time.monotonic() - started))
                    self.statuses[str(status)] += 1
                    if status == 0 or status >= 500:
                        self.failures[failure] += 1


def summary(
    traffic: Traffic,
    before: dict[str, Usage],
    after: dict[str, Usage],
    seconds: float,
    addresses: dict[str, int],
) -> dict[str, Any]:
    """What the soak came to."""
    ordered = sorted(traffic.milliseconds)
    failed = sum(traffic.failures.values())
    wrong = [f"{failure} ({times})" for failure, times in traffic.failures.most_common(5)]
    usage = {}
    for name, now in after.items():
        was = before[name]
        growth = now.mib / was.mib
        usage[name] = {
            "mib_before": round(was.mib, 1), "mib_after": round(now.mib, 1), "growth": round(growth, 3),
            "descriptors_before": was.descriptors, "descriptors_after": now.descriptors,
        }  # fmt: skip
        if growth > GROWTH:
            wrong.append(f"{name}: memory grew to {growth:.2f} times")
        if now.descriptors > was.descriptors + DESCRIPTORS:
            wrong.append(f"{name}: {now.descriptors} open files, {was.descriptors} before")
    broken = failed + sum(": memory" in one or "open files" in one for one in wrong)
    median, late = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    memory = "; ".join(
        f"{name} {one['mib_before']} → {one['mib_after']} MiB, {one['descriptors_before']} → {one['descriptors_after']} files"
        for name, one in usage.items()
    )
    return {
        "tried": len(ordered), "held": len(ordered) - failed, "broken": broken, "wrong": wrong,
        "seconds": round(seconds, 1), "per_second": round(len(ordered) / seconds, 1), "addresses": addresses,
        "statuses": dict(sorted(traffic.statuses.items())), "median_ms": round(median, 1), "p99_ms": round(late, 1),
        "usage": usage,
        "details": f"{len(ordered) / seconds:.0f} a second for {seconds:.0f} s, median {median:.0f} ms, p99 {late:.0f} ms; {memory}",
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(run(float(sys.argv[1]), float(sys.argv[2])), indent=1))
