"""Whoever computes the shards, and whoever is killed meanwhile: the bytes are those of one process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.probes import load_probes
from synesthete.recording import Executor, record
from synesthete.recording.executors import array_place
from synesthete.recording.session import WORK, claim, clear, settle
from tests.recording.crowd import IMAGES, prepare, record_crowd
from tests.recording.trees import tree

ROOT = Path(__file__).parents[2]
SHARDS = -(-IMAGES // 64)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("crowd"))


@pytest.fixture(scope="module")
def alone(crowd: Path) -> dict[str, str]:
    """The files of the atlas that one process records."""
    return tree(record_crowd(crowd, crowd / "alone.atlas", None))


def test_processes_that_are_killed(crowd: Path, alone: dict[str, str], tmp_path: Path) -> None:
    reports, killed = [], []

    def kill(done: int, total: int, *_: Any) -> None:
        reports.append((done, total))
        if done and len(killed) < 2:
            # Once both that there are, so that one is killed whose images count already.
            for victim in multiprocessing.active_children():
                os.kill(victim.pid or 0, signal.SIGKILL)
                killed.append(victim.pid)

    out = tmp_path / "x.atlas"
    executor = Executor(kind="processes", workers=2)
    assert record_crowd(crowd, out, executor, progress=kill) == out
    assert len(killed) == 2
    # Images of a killed worker are not counted twice.
    assert max(done for done, _ in reports) == IMAGES
    assert reports[-1] == (IMAGES, IMAGES)
    assert tree(out) == alone
    assert open_atlas(out).verify() == []
    assert multiprocessing.active_children() == []


def test_a_killed_driver_takes_its_workers_along(
    crowd: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "x.atlas"
    code, output = _drive(crowd, out, "processes", "die")
    assert code == -signal.SIGKILL
    workers = set(map(int, output.split()))
    assert len(workers) == 2
    for _ in range(15_000):
        if not any(map(_alive, workers)):
            break
        time.sleep(0.02)
    assert not any(map(_alive, workers))
    assert 0 < len(list((out / WORK).glob("shard-*"))) <= SHARDS
    assert record_crowd(crowd, out, None) == out
    assert tree(out) == alone


def _drive(folder: Path, out: Path, kind: str, act: str, **more: str) -> tuple[int, str]:
    """How a process that records ends, and what it prints."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-m", "tests.recording.crowd", str(folder), str(out), kind, act]
    environment = {**os.environ, "PYTHONPATH": paths, **more}
    # Not a pipe: the workers that a killed one leaves behind would hold it open.
    with (folder / f"{act}.txt").open("w+") as printed:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=printed, check=False)
        printed.seek(0)
        return done.returncode, printed.read()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_images_that_kill_their_worker_are_named_and_the_rest_is_kept(
    crowd: Path, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synesthete.recording.executors.TRIES", 1)
    out = tmp_path / "x.atlas"
    executor = Executor(kind="processes", workers=2)
    message = (
        "the worker of the images 64 to 127 ended with signal 9, 1 times; 1 shards are missing"
    )
    with pytest.raises(SynestheteError, match=message) as error:
        record_crowd(crowd, out, executor, poison=100)
    assert "run the same command again" in error.value.hint
    kept = sorted(path.name for path in (out / WORK).glob("shard-*"))
    assert kept == [f"shard-{number:05d}" for number in (0, 2, 3, 4)]
    assert record_crowd(crowd, out, None) == out
    assert tree(out) == alone


def test_tasks_of_an_array_job(
    crowd: Path, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.atlas"
    monkeypatch.setenv("WORLD_SIZE", "3")
    # One task comes twice, as one that is started again does.
    for rank, shards in ((1, {1, 4}), (1, {1, 4}), (0, {0, 1, 3, 4})):
        monkeypatch.setenv("RANK", str(rank))
        record_crowd(crowd, out, Executor(kind="array"))
        found = {int(path.name[-5:]) for path in (out / WORK).glob("shard-*")}
        assert found == shards
        assert not (out / "atlas.json").exists()
    for rank in (2, 0):
        monkeypatch.setenv("RANK", str(rank))
        record_crowd(crowd, out, Executor(kind="array"))
        assert tree(out) == alone


def test_tasks_of_an_array_job_all_at_once(
    crowd: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    out = tmp_path / "x.atlas"
    tasks = [context.Process(target=_task, args=(crowd, out, rank)) for rank in range(2)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0, 0]
    assert tree(out) == alone


def _task(crowd: Path, out: Path, rank: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    record_crowd(crowd, out, Executor(kind="array"))


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_MIN": "3",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            (2, 4),
        ),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "7"}, (0, 7)),
    ],
)
def test_which_task_this_is(environment: dict[str, str], place: tuple[int, int]) -> None:
    assert array_place(environment) == place


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "this is no task of an array job"),
        ({"RANK": "1"}, "WORLD_SIZE is None: both must be integers"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "task 2 of 2; they count from 0"),
    ],
)
def test_a_task_that_does_not_say_which_it_is(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SynestheteError) as error:
        array_place(environment)
    assert message in error.value.message


def test_executors_that_cannot_be() -> None:
    with pytest.raises(SynestheteError, match=r"no executor 'rai'.*did you mean 'ray'"):
        Executor(kind="rai")
    with pytest.raises(SynestheteError, match="the number of workers is -1"):
        Executor(kind="processes", workers=-1)


def test_a_model_that_other_processes_cannot_open(crowd: Path, tmp_path: Path) -> None:
    model = load_model(f"local-dir:{crowd / 'model'}").twin("random_twin", 0)
    probes = load_probes(str(crowd / "images"))
    executor = Executor(kind="processes", workers=1)
    with pytest.raises(SynestheteError, match="another process cannot open") as error:
        record(model, probes, None, tmp_path / "x.atlas", executor=executor)
    assert "record in one process" in error.value.hint


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_an_actor_of_ray_that_is_killed(crowd: Path, alone: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "x.atlas"
    code, output = _drive(crowd, out, "ray", "kill an actor", RAY_ADDRESS="")
    assert code == 0
    assert not _alive(int(output))
    assert tree(out) == alone


def test_a_cluster_of_ray_without_a_token_is_refused(
    crowd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(SynestheteError, match="asks for no token") as error:
        record_crowd(crowd, tmp_path / "x.atlas", Executor(kind="ray", workers=1))
    assert "RAY_AUTH_MODE=token" in error.value.hint


def test_a_task_of_slurm_that_starts_others() -> None:
    slurm = {"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "3"}
    slurm |= {"SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_STEP": "2"}
    assert array_place(slurm) == (2, 3)
    # What the launcher of one process sets on its own does not count.
    assert array_place(slurm | {"RANK": "0", "WORLD_SIZE": "1"}) == (2, 3)
    assert array_place(slurm | {"RANK": "3", "WORLD_SIZE": "4"}) == (3, 4)


def test_tasks_begin_at_once_with_one_size_of_shards(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool, claim(tmp_path, shared=True) as work:
        sizes = list(pool.map(lambda size: settle(tmp_path, work, {"a": 1}, size), range(64, 96)))
        assert len(set(sizes)) == 1
        assert [path.name for path in work.iterdir() if path.name != "lock"] == ["session.json"]


def test_a_task_waits_for_whoever_holds_the_folder_alone(tmp_path: Path) -> None:
    came = []
    with ThreadPoolExecutor(1) as pool:
        with claim(tmp_path) as work:
            late = pool.submit(_share, tmp_path, came)
            time.sleep(0.2)
            assert came == []
            (work / "shard").touch()
        assert late.result(timeout=60) == ["lock", "shard"]
        with claim(tmp_path):
            late = pool.submit(_share, tmp_path, came)
            time.sleep(0.2)
            clear(tmp_path)
        # The lock that it waited for is gone: it took a new one.
        assert late.result(timeout=60) == ["lock"]
    assert len(came) == 2


def _share(out: Path, came: list[int]) -> list[str]:
    with claim(out, shared=True) as work:
        came.append(1)
        return sorted(path.name for path in work.iterdir())
