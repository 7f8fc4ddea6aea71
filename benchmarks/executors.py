"""Executors: their speed at the same number of processes, and kills -9 at random moments: one command.

    python benchmarks/executors.py --kills 100 --images 2048

Speed: mini over the same images by this process with as many threads, by processes and by Ray's actors, in turns; wall time, start of
the workers included and, as `per_image`, without it (from the first report to the last, by the images between them). Kills: a driver with two workers records
300 images; at a random moment one of its workers, or the driver itself, is killed; then the same is recorded again until it is complete. The
files of the atlas must be those of a recording that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from synesthete.models import load_model  # noqa: E402
from synesthete.probes import load_probes  # noqa: E402
from synesthete.recording import Executor, record  # noqa: E402
from tests.recording.crowd import prepare, record_crowd  # noqa: E402
from tests.recording.trees import tree  # noqa: E402


def main() -> None:
    """Measure and print, as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=0, help="for speed; 0 for none")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.images:
        print(json.dumps(speed(options)), flush=True)
    if options.kills:
        print(json.dumps(kills(options.kills, options.seed)), flush=True)


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each executor, the best of the rounds, and their ratios."""
    torch.set_num_threads(options.workers)
    model = load_model("mini")
    probes = load_probes("concepts", texts=False)
    probes = probes.select(indices=list(range(min(options.images, len(probes)))))
    _ = model.weights_sha256, probes.fingerprint
    whole: dict[str, list[float]] = {"local": [], "processes": [], "ray": []}
    per_image: dict[str, list[float]] = {kind: [] for kind in whole}
    for _ in range(options.rounds):
        for kind in whole:
            marks: list[tuple[float, int]] = []
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                record(
                    model, probes, None, Path(folder) / "x.atlas", twins=(), shard_size=128,
                    executor=Executor(kind=kind, workers=options.workers),
                    progress=lambda done, *_, marks=marks: marks.append((time.perf_counter(), done)) if done else None,
                )  # fmt: skip
                whole[kind].append(time.perf_counter() - started)
                (since, first), (until, last) = marks[0], marks[-1]
                per_image[kind].append((until - since) / (last - first))
    best = {kind: min(found) for kind, found in whole.items()}
    return {
        "images": len(probes),
        "workers": options.workers,
        "rounds": options.rounds,
        "seconds": best,
        "per_image": per_image,
        "ray_over_processes": best["ray"] / best["processes"],
        "ray_over_processes_per_image": min(per_image["ray"]) / min(per_image["processes"]),
    }


def kills(count: int, seed: int) -> dict[str, Any]:
    """How many of so many disturbed recordings end in the same files."""
    chance = random.Random(seed)
    same, killed, broken = 0, {"driver": 0, "worker": 0, "nobody": 0}, []
    with tempfile.TemporaryDirectory() as place:
        folder = prepare(Path(place))
        started = time.monotonic()
        whole = tree(recorded_by_driver(folder, folder / "whole.atlas"))
        seconds = time.monotonic() - started
        for number in range(count):
            out = folder / "x.atlas"
            moment = chance.uniform(0, seconds)
            who = disturb(folder, out, chance, moment)
            killed[who] += 1
            record_crowd(folder, out, None)
            found = tree(out)
            same += found == whole
            if found != whole:
                broken.append({"run": number, "killed": who})
            shutil.rmtree(out)
            print(
                f"{number + 1}: {who} after {moment:.1f} s of {seconds:.1f}, {same} the same",
                file=sys.stderr,
                flush=True,
            )
    return {"tried": count, "same": same, "killed": killed, "broken": broken}


def driver(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    """A process that records with two workers."""
    command = [sys.executable, "-m", "tests.recording.crowd", str(folder), str(out), "processes"]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths})


def recorded_by_driver(folder: Path, out: Path) -> Path:
    """The atlas, recorded undisturbed."""
    if driver(folder, out).wait():
        raise SystemExit("it cannot even be recorded undisturbed")
    return out


def disturb(folder: Path, out: Path, chance: random.Random, moment: float) -> str:
    """Start a recording and kill its driver or one of its workers after so many seconds; says whom."""
    running = driver(folder, out)
    try:
        running.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        found = children.read_text().split() if children.exists() else []
        # Not the helper of multiprocessing that tidies up after them.
        workers = [int(one) for one in found if b"spawn_main" in command_of(one)]
        victim = chance.choice(chance.choice([[running.pid], workers or [running.pid]]))
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return "nobody"
        running.wait()
        return "driver" if victim == running.pid else "worker"
    return "nobody"


def command_of(process: str) -> bytes:
    """The command line of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    main()
