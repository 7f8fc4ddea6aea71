"""`make torture`: every trial in a process of its own, and one table of what held.

A trial is a module of this package with a function `run` that returns what it counted; `JUDGES` says what of that held.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_MINUTES = 19.0
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
CODE = """
import importlib, json, sys
module, arguments, out = sys.argv[1:]
found = importlib.import_module(f"tests.torture.{module}").run(**json.loads(arguments))
open(out, "w").write(json.dumps(found))
"""


Found = dict[str, Any]
MOST_MEMORY = 1.5  # peak of a server under bombs, over its idle memory


def judged(found: Found) -> tuple[int, int, int, str]:
    """Tried, held, broken and a line of details, of a trial that judges itself."""
    return found["tried"], found["held"], found["broken"], str(found.get("details", ""))


def judge_images(found: Found) -> tuple[int, int, int, str]:
    """An image holds when it is decoded or quarantined with the reason."""
    details = f"{found['decoded']:,} decoded, {found['quarantined']:,} quarantined, slowest {found['slowest']} s"
    tried, broken = found["images"], found["crashes"]
    return tried, tried - broken, broken, "; ".join([details, *found["crashed"][:1]])


def judge_tables(found: Found) -> tuple[int, int, int, str]:
    """A file holds when it is accepted, refused in one line, or its rows are quarantined."""
    tried, broken = found["files"], found["tracebacks"]
    kinds = ", ".join(f"{found[kind]:,} {kind}" for kind in ("accepted", "refused", "quarantined"))
    details = f"{len(found['doors'])} doors: {kinds}"
    return tried, tried - broken, broken, "; ".join([details, *found["first"][:1]])


def judge_bombs(found: Found) -> tuple[int, int, int, str]:
    """A request holds when it is answered; all of a server's are broken when its memory is, or it dies."""
    tried = broken = 0
    details = []
    for kind, one in found.items():
        count = sum(one["statuses"].values())
        bad = sum(
            n for status, n in one["statuses"].items() if int(status) not in (200, 409, 413, 503)
        )
        tried += count
        broken += count if one["ratio"] > MOST_MEMORY or not one["alive"] else bad
        answers = ", ".join(f"{n} × {status}" for status, n in one["statuses"].items())
        details.append(
            f"{kind}: {one['idle']:.0f} → {one['peak']:.0f} MB (× {one['ratio']:.2f}), {answers}"
        )
    return tried, tried - broken, broken, "; ".join(details)


def judge_slow_clients(found: Found) -> tuple[int, int, int, str]:
    """A request with the token holds when it is answered."""
    held, broken = int(found["answered"]), int(found["failed"])
    details = (
        f"requests with the token beside {found['connections_held']:,} slow connections ({found['connections_opened']:,} opened); "
        f"median {found['median_ms']:.0f} ms, longest {found['max_ms']:.0f} ms"
    )
    return held + broken, held, broken, details


def judge_contracts(found: Found) -> tuple[int, int, int, str]:
    """A generated case holds when its answer is as the API's description says."""
    tried = sum(one["cases"] for one in found.values())
    broken = sum(sum(one["failures"].values()) for one in found.values())
    details = ", ".join(f"{name}: {one['operations']} operations" for name, one in found.items())
    return tried, tried - broken, broken, details


JUDGES = {
    "images": judge_images,
    "tables": judge_tables,
    "bombs": judge_bombs,
    "slow_clients": judge_slow_clients,
    "contracts": judge_contracts,
}


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes
    ----------
    name
        For `--only`, and the name of its module.
    what
        In the table.
    arguments
        Of its `run`.
    beside
        Whether it runs beside the others: it takes long, and little of the machine.
    """

    name: str
    what: str
    arguments: dict[str, Any] = field(default_factory=dict)
    beside: bool = False


def trials(minutes: float) -> list[Trial]:
    """All of them; `minutes` is how long the soak takes."""
    return [
        Trial("soak", f"soak of {minutes:g} minutes, 100 requests a second", {"minutes": minutes, "rate": 100.0}, True),
        Trial("kills", "kill -9 and the same command again", {"count": 100, "seed": 0}),
        Trial("images", "mutated images", {"count": 10_000, "seed": 0}),
        Trial("tables", "malformed tables and JSON files", {"count": 2_000, "seed": 0}),
        Trial("bombs", "images that unpack to gigabytes"),
        Trial("slow_clients", "clients that say nothing, or little", {"seconds": 60}),
        Trial("contracts", "requests against the API's contract", {"examples": 20, "seed": 0}),
    ]  # fmt: skip


@dataclass
class Row:
    """What a trial came to."""

    trial: Trial
    tried: int = 0
    held: int = 0
    broken: int = 1
    details: str = ""
    seconds: float = 0.0
    found: dict[str, Any] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Its row of the table."""
        details = self.details.replace("|", "\\|").replace("\n", " ")
        return [self.trial.what, f"{self.tried:,}", f"{self.held:,}", f"{self.broken:,}", details]


def run_trial(trial: Trial, seconds: float) -> Row:
    """Run one in a process of its own, for so long at most: what ends it ends nothing else."""
    started = time.monotonic()
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {
        **os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        out = Path(place, "found.json")
        command = [sys.executable, "-c", CODE, trial.name, json.dumps(trial.arguments), str(out)]
        with Path(place, "log").open("w+") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                code = process.wait(max(1.0, seconds))
                why = f"ended with {code}"
            except subprocess.TimeoutExpired:
                why = "did not end in time"
            finally:
                # With the servers and children that it started.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(0)
            last = log.read().strip().splitlines()[-1:]
        row = Row(trial, details=f"{why}: {''.join(last)[:300]}")
        if out.is_file():
            row = row_of(trial, json.loads(out.read_text()))
    row.seconds = round(time.monotonic() - started, 1)
    return row


def row_of(trial: Trial, found: dict[str, Any]) -> Row:
    """A row out of what a trial returned; without its numbers it is broken."""
    try:
        *counts, details = (judged if "tried" in found else JUDGES[trial.name])(found)
        tried, held, broken = map(int, counts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Row(trial, details=f"no numbers: {error!r}", found=found)
    if not tried:
        return Row(trial, details="nothing was tried", found=found)
    return Row(trial, tried, held, broken, str(details), found=found)


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [["trial", "tried", "held", "broken", "details"], ["---", "--:", "--:", "--:", "---"]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *(row.cells() for row in rows)])  # fmt: skip


def write_into(path: Path, markdown: str) -> None:
    """Replace what stands between the marks of a file."""
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path} has no marks {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n{markdown}\n{END}{tail}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the trials; 0 where everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="this trial (repeat for more)"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the soak takes (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found there")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the table between its marks"
    )
    given = parser.parse_args(arguments)
    every = trials(given.minutes)
    names = [one.name for one in every]
    if unknown := set(given.only or ()) - set(names):
        parser.error(f"no trial {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = [one for one in every if not given.only or one.name in given.only]
    deadline = time.monotonic() + 60 * max(LIMIT_MINUTES, given.minutes + 3)
    rows: dict[str, Row] = {}

    def go(some: list[Trial]) -> None:
        for one in some:
            rows[one.name] = run_trial(one, deadline - time.monotonic())
            print(f"{one.name}: {rows[one.name].seconds:.0f} s", file=sys.stderr, flush=True)

    lanes = [[one for one in chosen if one.beside], [one for one in chosen if not one.beside]]
    threads = [threading.Thread(target=go, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = [rows[one.name] for one in chosen]
    markdown = table(ordered)
    print(markdown)
    if given.json:
        results = {row.trial.name: {"seconds": row.seconds, **row.found} for row in ordered}
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if given.write:
        write_into(given.write, markdown)
    return int(any(row.broken for row in ordered))


if __name__ == "__main__":
    sys.exit(main())
