"""What a page costs in an atlas of many units against one of few: one command.

    python benchmarks/atlas_size.py --units 1000 100000

Makes an atlas of each size (recorded and written by the same code, with values at random) and requests every kind of page of the
server in this process, in turns of the sizes. The processor time of a request is that of the process: it includes the client, and
other work of the machine does not count. The first request of a kind, for which tables are read, counts apart. Other neurons and
concepts are requested each time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
AIM_MS = 30.0


def main() -> None:
    """Measure and print, as text or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--units", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--requests", type=int, default=40, help="for each kind of page")
    parser.add_argument("--atlases", type=Path, help="a folder that keeps what was made")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.atlases or Path(scratch)
        atlases = {units: atlas_of(folder, units) for units in options.units}
        with ExitStack() as stack:
            found = measure(atlases, options.requests, stack)
    print(json.dumps(found, indent=1) if options.json else table(found))


def atlas_of(folder: Path, units: int) -> Path:
    """An atlas of so many units, if it is not there yet."""
    sys.path.insert(0, str(ROOT))
    from synthetic_atlas import make

    path = folder / f"u{units}" / "made.atlas"
    if not (path / "atlas.json").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path.parent, units)
    return path


def measure(
    atlases: dict[int, Path], requests: int, stack: ExitStack
) -> dict[str, dict[int, dict[str, float]]]:
    """Of each kind of page and size: n, ms of processor of the first request, p50 and p95 of the others."""
    from server import HEADERS, TOKEN, addresses
    from starlette.testclient import TestClient

    from synesthete.server import Gate, create_app

    clients = {
        units: stack.enter_context(
            TestClient(
                create_app([path], Gate(TOKEN)), base_url="http://127.0.0.1", headers=HEADERS
            )
        )
        for units, path in atlases.items()
    }
    paths = {units: addresses(client, requests + 1) for units, client in clients.items()}
    found: dict[str, dict[int, dict[str, float]]] = {}
    for kind in next(iter(paths.values())):
        times: dict[int, list[float]] = {units: [] for units in clients}
        for number in range(requests + 1):
            for units, client in clients.items():
                address = paths[units][kind][number]
                start = time.process_time()
                answer = client.get(address, headers={"accept": "text/html"})
                times[units].append((time.process_time() - start) * 1000)
                answer.raise_for_status()
        found[kind] = {
            units: {
                "n": len(many) - 1,
                "first_ms": many[0],
                "p50_ms": float(np.percentile(many[1:], 50)),
                "p95_ms": float(np.percentile(many[1:], 95)),
            }
            for units, many in times.items()
        }
    return found


def table(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """The result as Markdown: p50 (p95) of each size, the first request, and the last size over the first."""
    sizes = list(next(iter(found.values())))
    heads = [f"{units:,} units: p50 (p95) ms | first ms" for units in sizes]
    lines = [f"| page | n | {' | '.join(heads)} | ratio of p50 | p95 ≤ {AIM_MS:.0f} ms |"]
    lines.append("| --- " * (len(sizes) * 2 + 4) + "|")
    for kind, by_size in found.items():
        cells = [
            f"{one['p50_ms']:.1f} ({one['p95_ms']:.1f}) | {one['first_ms']:.0f}"
            for one in by_size.values()
        ]
        few, many = by_size[sizes[0]], by_size[sizes[-1]]
        met = "yes" if many["p95_ms"] <= AIM_MS else "no"
        lines.append(
            f"| {kind} | {few['n']} | {' | '.join(cells)} | {many['p50_ms'] / few['p50_ms']:.2f} | {met} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
