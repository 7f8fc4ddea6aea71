"""How long the commands that a newcomer tries take, quick as they are by default against all that they can do: one command.

    python benchmarks/commands.py demo.atlas --before ../earlier/src

Each command runs as a process of its own on a copy of the atlas, in turns, and its processor time (start-up included) is compared;
with `--before` also the same command of an earlier version, by the folder of its source. What is computed once for an atlas (the
probes of facets) is there from a first run, which does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

UNIT = "visual.layer4.1:12"
THREE = ["--strengths", "1,3,10"]
# Name -> the command, and what makes it thorough.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "words": (["words", UNIT, "--vocabulary", "concepts"], ["--renderings", "6"]),
    "visualize": (["visualize", UNIT], ["--facets", "all", *THREE]),
    "visualize --facets all": (["visualize", UNIT, "--facets", "all"], THREE),
}


def main() -> None:
    """Measure and print, as text or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=COMMANDS, nargs="+")
    parser.add_argument("--before", type=Path, help="the source of an earlier version")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        atlas = Path(shutil.copytree(options.atlas, Path(scratch) / "own.atlas"))
        wanted = {name: COMMANDS[name] for name in options.only or COMMANDS}
        if any(name != "words" for name in wanted):
            processor_time(atlas, ["visualize", UNIT, "--facets", "all", "--steps", "1"], None)
        for _ in range(options.rounds):
            for name, (command, more) in wanted.items():
                ways = {"default": (command, None), "all": ([*command, *more], None)}
                if options.before:
                    ways["before"] = (command, options.before)
                for way, (arguments, source) in ways.items():
                    seconds = processor_time(atlas, arguments, source)
                    found.setdefault(name, {}).setdefault(way, []).append(seconds)
    print(json.dumps(found, indent=1) if options.json else table(found))


def processor_time(atlas: Path, arguments: list[str], source: Path | None) -> float:
    """Seconds of processor of a command that finds nothing of an earlier run."""
    for folder in (atlas / "visualizations").glob("visual.*"):
        shutil.rmtree(folder)
    command = [sys.executable, "-m", "synesthete", arguments[0], str(atlas), *arguments[1:]]
    environment = os.environ | ({"PYTHONPATH": str(source)} if source else {})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Medians in seconds of processor, and how many times as long as the default, the range over rounds in brackets."""
    lines = ["| command | n | default s | all s | over the default | before s | over the default |"]
    lines.append("| --- " * 7 + "|")
    for name, ways in found.items():
        default = np.array(ways["default"])
        row: list[Any] = [name, len(default), f"{np.median(default):.1f}"]
        for way in ("all", "before"):
            if way not in ways:
                row += ["", ""]
                continue
            ratios = np.array(ways[way]) / default
            row.append(f"{np.median(ways[way]):.1f}")
            row.append(f"{np.median(ratios):.2f} ({ratios.min():.2f}–{ratios.max():.2f})")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
