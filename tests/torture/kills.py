"""Kill -9 in every stage, then the same command again: the same result as if nothing had happened."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.killing import Counter, fork
from tests.torture.stages import Bases, Digests, Stage, stages

LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Undisturbed:
    """What a stage does when nobody kills it."""

    before: Digests
    presented: Digests
    result: Digests
    operations: int
    seconds: float


def run(count: int = 100, seed: int = 0, only: Sequence[str] = ()) -> dict[str, Any]:
    """Kill every stage, `count` times in all: at changes to the folder spread over its work, and at random moments.

    Parameters
    ----------
    only
        Stages, by name; without it all.

    Returns
    -------
    dict
        `tried`, `held`, `broken` and `stages`: for each how often, and what broke.
    """
    preload()
    chance = random.Random(seed)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        bases = Bases(Path(place).resolve())
        in_child(bases.write_shared, bases.root, bases.root / "log")
        chosen = [one for one in stages(bases) if not only or one.name in only]
        for number, stage in enumerate(chosen):
            share = count * (number + 1) // len(chosen) - count * number // len(chosen)
            try:
                results[stage.name] = torture(stage, bases, share, chance)
            except RuntimeError as error:  # not even undisturbed
                results[stage.name] = {"tried": share, "broken": [str(error)[-600:]] * share}
            print(stage.name, json.dumps(results[stage.name]), flush=True)
    tried = sum(one["tried"] for one in results.values())
    broken = sum(len(one["broken"]) for one in results.values())
    return {"tried": tried, "held": tried - broken, "broken": broken, "stages": results}


def preload() -> None:
    """Import all that commands import when they need it: children are forked, and start at once."""
    os.environ["COLUMNS"] = "200"
    import torch

    import synesthete

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(synesthete.__path__, "synesthete."):
        if not module.name.endswith(("__main__", "mcp_server")):
            importlib.import_module(module.name)
    for name in (
        "open_clip",
        "sklearn.manifold",
        "sklearn.linear_model",
        "tests.torture.stages",
        "tests.recording.killed",
    ):
        importlib.import_module(name)  # fmt: skip


def torture(stage: Stage, bases: Bases, count: int, chance: random.Random) -> dict[str, Any]:
    """Kill a stage so many times, each time from the start, and let it end after each."""
    log, work = bases.root / "log", bases.root / "work"
    in_child(lambda: bases.make(stage.base), bases.root, log)
    base = bases.root / stage.base
    plain = undisturbed(stage, base, work, log)
    broken: list[str] = []
    for number in range(count):
        copy(base, work)
        if number % 3 == 2:
            moment = chance.uniform(0, plain.seconds)
            how = f"after {moment:.2f} s"
            died = in_child(stage.run, work, log, seconds=moment)
        else:
            # Spread over the work: a kill in each of `count` equal parts of it.
            step = int((number + chance.random()) / count * plain.operations) + 1
            how = f"at change {step} of {plain.operations}"
            died = in_child(stage.run, work, log, step=min(step, plain.operations))
        try:
            wrong = (
                presented_wrongly(stage, plain, seen(stage.presented, work, log)) if died else ""
            )
            in_child(stage.run, work, log)
            found = seen(stage.result, work, log)
            wrong = "; ".join(filter(None, (wrong, difference(plain.result, found))))
        except RuntimeError as error:
            wrong = str(error)[-600:]
        if wrong:
            broken.append(f"killed {how}: {wrong}")
    shutil.rmtree(work, ignore_errors=True)
    return {
        "tried": count,
        "changes": plain.operations,
        "seconds": round(plain.seconds, 2),
        "broken": broken,
    }


def undisturbed(stage: Stage, base: Path, work: Path, log: Path) -> Undisturbed:
    """Run a stage to its end."""
    before = seen(stage.presented, base, log)
    copy(base, work)
    counted = log.with_name("changes")

    def counting() -> None:
        counter = Counter(work)
        stage.run()
        counted.write_text(str(counter.seen))

    started = time.monotonic()
    in_child(counting, work, log)
    seconds = time.monotonic() - started
    operations = int(counted.read_text())
    return Undisturbed(
        before, seen(stage.presented, work, log), seen(stage.result, work, log), operations, seconds
    )


def presented_wrongly(stage: Stage, plain: Undisturbed, found: Digests) -> str:
    """What is presented after a kill and is neither as before nor as at the end; or is lost."""
    for name, what in found.items():
        if what not in (plain.before.get(name), plain.presented.get(name)):
            return f"{name} is half-written and presented as complete ({what[:200]})"
    lasting = set(plain.before) & set(plain.presented) if stage.lasting else set()
    return f"lost: {sorted(lasting - set(found))[:3]}" if lasting - set(found) else ""


def difference(wanted: Digests, found: Digests) -> str:
    """How two results differ, in words."""
    if missing := sorted(set(wanted) - set(found)):
        return f"missing: {', '.join(missing[:3])}"
    if more := sorted(set(found) - set(wanted)):
        return f"left over: {', '.join(more[:3])}"
    other = [name for name in sorted(wanted) if wanted[name] != found[name]]
    return f"other: {', '.join(other[:3])} ({found[other[0]][:80]})" if other else ""


def copy(base: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)


def in_child(
    what: Callable[[], object], folder: Path, log: Path, *, step: int = 0, seconds: float = 0.0
) -> bool:
    """Do something in a forked child, in a folder; returns whether it was killed.

    Raises
    ------
    RuntimeError
        The child failed, or did not end.
    """

    def work() -> None:
        os.chdir(folder)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if step:
            Counter(folder, step)
        what()

    child = fork(work)
    deadline = time.monotonic() + (seconds or LIMIT_SECONDS)
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            if not seconds:
                raise RuntimeError(f"a command did not end in {LIMIT_SECONDS:.0f} s")
            break
        time.sleep(0.005)
    status = ended[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status:
        raise RuntimeError(log.read_text(errors="replace")[-2000:])
    return False


def seen(look: Callable[[Path], Digests], folder: Path, log: Path) -> Digests:
    """What a reader sees of a copy of a folder: looking may leave traces."""
    place, answer = folder.with_name("seen"), log.with_name("answer")
    copy(folder, place)
    in_child(lambda: answer.write_text(json.dumps(look(place))), place, log)
    shutil.rmtree(place)
    found: Digests = json.loads(answer.read_text())
    return found


if __name__ == "__main__":
    import sys

    print(json.dumps(run(int(sys.argv[1]), 0, sys.argv[2:]), indent=1))
