"""How many searches a second a served catalogue answers: different queries, none repeated, over HTTP.

    python benchmarks/catalog_speed.py --part scale --items 100000 --folder big      # builds big/big.catalog
    python benchmarks/catalog_requests.py big/big.catalog --workers 2

Queries are a brand and one or two concepts, as in `--part scale`. They come from a process of its own, over kept connections. It prints
what they took by the clock, and the processor time of the server's processes for each, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import catalog_scale
import httpx
import numpy as np
from server import HEADERS, served

from synesthete.catalog import Catalog

WARM = 50


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, nargs="*", default=[4])
    parser.add_argument("--send", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        print(json.dumps(sent(options.send, sys.stdin.read().splitlines(), options.connections[0])))
        return
    opened = Catalog.open(options.catalog)
    rounds = len(options.connections)
    texts = distinct(opened.reference.concepts, WARM + rounds * options.queries)
    found: dict[str, Any] = {"items": len(opened), "workers": options.workers, "load": []}
    workers = ["--workers", str(options.workers)]
    with served(options.catalog, *workers, ready="/readyz") as (base, process):
        sender(base, texts[:WARM], 4)
        for at, connections in enumerate(options.connections):
            start = WARM + at * options.queries
            before = processor_seconds(process)
            row = sender(base, texts[start : start + options.queries], connections)
            spent = processor_seconds(process) - before
            row["processor ms a request"] = round(1000 * spent / options.queries, 1)
            found["load"].append(row)
    print(json.dumps(found, indent=1))


def distinct(concepts: list[str], count: int) -> list[str]:
    """Different texts: a brand with one concept or two."""
    rng = np.random.default_rng(2)
    found: dict[str, None] = {}
    while len(found) < count:
        brand = catalog_scale.brand_of(int(rng.integers(0, catalog_scale.BRANDS)))
        some = rng.choice(len(concepts), int(rng.integers(1, 3)), replace=False)
        found[" ".join([brand, *(concepts[int(one)] for one in some)])] = None
    return list(found)


def sender(base: str, texts: list[str], connections: int) -> dict[str, Any]:
    """Send them from another process, so that it waits for no lock of this one."""
    command = [sys.executable, __file__, "none", "--send", base, "--connections", str(connections)]
    done = subprocess.run(
        command, input="\n".join(texts), capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def sent(base: str, texts: list[str], connections: int) -> dict[str, Any]:
    """Each text once, so many at a time."""
    waiting, times, lock = iter(texts), [], threading.Lock()

    def send() -> None:
        with httpx.Client(base_url=base, headers=HEADERS, timeout=60) as client:
            while True:
                with lock:
                    text = next(waiting, None)
                if text is None:
                    return
                started = time.perf_counter()
                answer = client.post("/api/v1/search", json={"text": text})
                times.append(1000 * (time.perf_counter() - started))
                answer.raise_for_status()
                assert len(answer.json()["hits"]) == 10

    threads = [threading.Thread(target=send) for _ in range(connections)]
    started = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    seconds = time.perf_counter() - started
    if len(times) != len(texts):
        raise SystemExit(f"{len(times)} of {len(texts)} were answered")
    p50, p95 = np.quantile(times, [0.5, 0.95])
    return {
        "connections": connections,
        "queries": len(texts),
        "requests a second": round(len(texts) / seconds, 1),
        "p50 ms": round(p50, 1),
        "p95 ms": round(p95, 1),
    }


def processor_seconds(process: int) -> float:
    """Of a process and all that it started and that still run."""
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
        for thread in Path(f"/proc/{one}/task").iterdir():
            waiting += [int(child) for child in (thread / "children").read_text().split()]
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
