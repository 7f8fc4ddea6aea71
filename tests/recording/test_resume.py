"""Kill -9 anywhere, run again: the same bytes. Nothing lost, nothing doubled."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.recording import record
from tests.recording import killed
from tests.recording.fakes import FakeModel, FakeProbes
from tests.recording.trees import tree

ROOT = Path(__file__).parents[2]


def start(out: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.recording.killed", str(out), how]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "x.atlas"
    killed.run(out)
    return tree(out)


def test_killed_at_ever_later_file_operations(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    out = tmp_path / "x.atlas"
    process = start(out, "steps")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert int(output) > 12, "hardly a child was killed"
    assert tree(out) == undisturbed
    assert open_atlas(out).verify() == []


def test_killed_at_random_moments(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    out = tmp_path / "x.atlas"
    moments = random.Random(7)
    kills = 0
    for _ in range(4):
        process = start(out, "slow")
        started = time.monotonic()
        # The import takes most of the time: wait for the first sign of work, then a moment more.
        while not out.exists() and process.poll() is None and time.monotonic() - started < 60:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
    killed.run(out)
    assert kills >= 2
    assert tree(out) == undisturbed


def test_only_what_is_missing_is_recorded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Called for every micro-batch and not ten times a second, so that the interrupt falls inside the third shard.
    monkeypatch.setattr("synesthete.recording.progress._REPORT_SECONDS", 0.0)
    out, probes = tmp_path / "x.atlas", FakeProbes(200)
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int, speed: float, left: float | None) -> None:
        if done > 128:
            raise KeyboardInterrupt

    def note(done: int, total: int, speed: float, left: float | None) -> None:
        assert speed >= 0
        seen.append((done, total))

    with pytest.raises(KeyboardInterrupt):
        record(FakeModel(), probes, None, out, shard_size=64, progress=stop)
    with pytest.raises(SynestheteError, match=r"is not finished .*same record command"):
        open_atlas(out)
    model = FakeModel()
    # A resumed run keeps the shards it finds, whatever shard size it is asked for.
    record(model, probes, None, out, shard_size=128, progress=note)
    assert model.images_read == 96  # 72 images in micro-batches of 32
    assert seen[0] == (128, 200)
    assert seen[-1] == (200, 200)
    fresh = record(FakeModel(), probes, None, tmp_path / "fresh.atlas")
    assert tree(out) == tree(fresh)


@pytest.mark.parametrize("damage", ["cut", "changed", "removed", "manifest"])
def test_a_damaged_shard_is_recorded_again(tmp_path: Path, damage: str) -> None:
    out, probes = tmp_path / "x.atlas", FakeProbes(130)

    def stop(done: int, total: int, speed: float, left: float | None) -> None:
        if done > 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(FakeModel(), probes, None, out, shard_size=64, progress=stop)
    shard = out / ".recording" / "shard-00000"
    victim = shard / ("manifest.json" if damage == "manifest" else "activations-0.npy")
    data = victim.read_bytes()
    if damage == "removed":
        victim.unlink()
    else:
        victim.write_bytes(data[:-1] if damage == "cut" else data[:-9] + b"7" + data[-8:])
    model = FakeModel()
    record(model, probes, None, out)
    assert model.images_read == 96  # 64 of the damaged shard, 2 of the missing one
    assert tree(out) == tree(record(FakeModel(), probes, None, tmp_path / "fresh.atlas"))


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    out, probes = tmp_path / "x.atlas", FakeProbes(70)
    refused = []

    def again(done: int, total: int, speed: float, left: float | None) -> None:
        with pytest.raises(SynestheteError, match="another process is recording"):
            record(FakeModel(), probes, None, out)
        refused.append(done)

    record(FakeModel(), probes, None, out, progress=again)
    assert refused
    assert open_atlas(out).verify() == []
