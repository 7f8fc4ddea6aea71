"""A program that records while being killed: run as `python -m tests.recording.killed OUT HOW`.

`once` records to the end. `steps` forks a child that dies by SIGKILL at its first file operation
(write, rename, removal), then one that dies at its fourth, and so on until a child lives to the end.
`slow` records so slowly that somebody else can kill it at any time.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from synesthete.recording import record
from tests.recording.fakes import FakeModel, FakeProbes
from tests.torture.killing import Counter

IMAGES = 150
BROKEN = {5: "truncated after 12 bytes", 130: "animated"}


def run(out: Path) -> None:
    layers = ["visual.layer4.1", "visual.layer4.1:pre"]
    record(FakeModel(), FakeProbes(IMAGES, broken=BROKEN), layers, out, shard_size=64, exemplars=4)


def steps(out: Path) -> int:
    """How many children were killed before one lived."""
    step = 1
    # What a kill leaves does not depend on fsync, which only takes time here.
    os.fsync = lambda descriptor: None
    while True:
        child = os.fork()
        if child == 0:
            Counter(out, step)
            run(out)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return (step - 1) // 3
        assert os.WIFSIGNALED(status), f"the child failed with status {status}"
        step += 3


def slow(out: Path) -> None:
    read = FakeModel.read

    def slowly(self: FakeModel, *arguments: Any) -> Any:
        time.sleep(0.05)
        return read(self, *arguments)

    FakeModel.read = slowly  # type: ignore[method-assign]
    run(out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    how = {"once": run, "steps": steps, "slow": slow}[sys.argv[2]]
    print(how(target))
