"""Who computes the missing shards of a job: this process, several, Ray, or every task of an array job.

What is computed and how it is committed is the job's (`synesthete.recording.job`; the catalogue has another): by whoever computed it, in one step, in a
folder that all of them see. So nothing but numbers of shards goes between them, a shard that is computed twice counts once, and whoever is killed loses no
more than what was not committed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Protocol

from synesthete.errors import SynestheteError, near

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.models.dictionaries import SparseDictionary


KINDS = ("local", "processes", "ray", "array")
TRIES = 3  # of a shard whose worker is killed
SLURM = "SLURM_ARRAY_TASK_ID"
# Of an array job: the task's number, how many there are. PyTorch and MPI launchers, Slurm, Kubernetes (whose size the job has to set).
PLACES = (
    ("RANK", "WORLD_SIZE"),
    (SLURM, "SLURM_ARRAY_TASK_COUNT"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
)
RAY_TOKEN = ("RAY_AUTH_MODE", "token")


class Work(Protocol):
    """A job in one process."""

    def run(
        self, numbers: Iterable[int], seen: Callable[[int], None] | None = None
    ) -> Iterator[int]:
        """Compute and commit shards, as their numbers come; gives each number when it is committed.

        Parameters
        ----------
        seen
            Called with a number of things whenever so many more of a shard are done; None where nobody asks.
        """
        ...


class Job(Protocol):
    """Work in shards, as another process can be sent it: no code, and no weights."""

    def title(self, number: int) -> str:
        """Which things a shard has, for messages."""
        ...

    def start(self, model: ImageTextModel) -> Work:
        """Begin in this process.

        Raises
        ------
        SynestheteError
            It is not what the job is of that is there in this process.
        """
        ...


def model_by_name(model: ImageTextModel) -> Callable[[int], ImageTextModel]:
    """Opens the same model in another process, whose number it is given: by its name, with its weights checked, on a device of the same kind."""
    facts = model.name, model.weights_sha256, dict(model.dictionaries), str(model.device)
    return partial(_opened, *facts)


def device_of(device: str, place: int, cards: int) -> str:
    """The device of one of several workers: those of `cuda`, which names no card, take turns at the cards.

    Examples
    --------
    >>> [device_of("cuda", place, 2) for place in range(3)], device_of("cuda:1", 0, 2), device_of("cpu", 1, 0)
    (['cuda:0', 'cuda:1', 'cuda:0'], 'cuda:1', 'cpu')
    """
    return f"cuda:{place % cards}" if device == "cuda" and cards else device


def _opened(
    name: str,
    weights_sha256: str,
    dictionaries: Mapping[str, SparseDictionary],
    device: str,
    place: int,
) -> ImageTextModel:
    import torch

    from synesthete.models import load_model

    why = "it has other weights"
    try:
        own = device_of(device, place, torch.cuda.device_count())
        model = load_model(name, device=own)
        fine = model.weights_sha256 == weights_sha256
    except SynestheteError as error:
        fine, why = False, error.message
    if not fine:
        raise SynestheteError(
            f"another process cannot open {name}: {why}",
            hint="save an edited model into a folder and use that, or record in one process",
        )
    return model.with_dictionaries(dictionaries)


class Worker:
    """A job in another process, which opens its own model.

    Parameters
    ----------
    job, model
        What is computed; opens the model for it.
    threads
        Of PyTorch.
    place
        Which of the workers of this machine it is, from 0.

    Raises
    ------
    SynestheteError
        What it opens is not what the job is of.
    """

    def __init__(
        self, job: Job, model: Callable[[int], ImageTextModel], threads: int, place: int = 0
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self.work = job.start(model(place))

    def one(self, number: int) -> int:
        """Compute and commit a shard; gives how many things it has."""
        counts: list[int] = []
        next(self.work.run([number], counts.append))
        return sum(counts)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """How the shards of a job are computed.

    Attributes
    ----------
    kind
        `local`: by this process, one after the other. `processes`: by `workers` processes of this machine. `ray`: by `workers` actors of Ray, of this
        machine, or of the cluster that `RAY_ADDRESS` names. `array`: this process is one task of several that run the same command on a
        shared folder (`PLACES` are the environment variables that say which); the task that commits the last shard completes the atlas.
    workers
        How many, for `processes` and `ray`; 0 for one for each core, or for each GPU where the model is on one.
    trust_cluster
        Use a cluster of Ray that asks for no token: whoever reaches its ports can run code there (CVE-2023-48022).

    Raises
    ------
    SynestheteError
        No such kind, fewer than no workers, an array job whose task does not say which it is.
    """

    kind: str = "local"
    workers: int = 0
    trust_cluster: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            message = f"no executor {self.kind!r}; there are {', '.join(KINDS)}"
            raise SynestheteError(message, hint=near(self.kind, KINDS))
        if self.workers < 0:
            raise SynestheteError(f"the number of workers is {self.workers}, expected 0 or more")
        if self.kind == "array":
            array_place(os.environ)

    @property
    def shared(self) -> bool:
        """Whether others write into the same folder at the same time."""
        return self.kind == "array"

    def run(
        self, job: Job, missing: Iterable[int], model: ImageTextModel, seen: Callable[[int], None]
    ) -> Iterator[int]:
        """Have shards computed and committed; gives the number of each when it is.

        Parameters
        ----------
        missing
            Numbers of the shards; of an iterator the next is taken when somebody is free for it.
        model
            For those that are computed in this process; others open it by its name.
        seen
            Called with a number of things whenever so many more are done; below 0 where they were lost again.
        """
        if self.kind in ("local", "array"):
            rank, size = array_place(os.environ) if self.shared else (0, 1)
            own = (number for number in missing if number % size == rank)
            return job.start(model).run(own, seen)
        if isinstance(missing, Sized) and not len(missing):
            return iter(())
        cores = _cores()
        on_gpu = model.device.type == "cuda"
        # A cluster has cores, or GPUs, of its own; there are never more actors than these.
        elsewhere = self.kind == "ray" and bool(os.environ.get("RAY_ADDRESS"))
        workers = self.workers or (sys.maxsize if elsewhere else _cards() if on_gpu else cores)
        if isinstance(missing, Sized):
            workers = min(workers, len(missing))
        worker = partial(Worker, job, model_by_name(model), max(1, cores // workers))
        left = _Left(job, missing)
        if self.kind == "processes":
            return _in_processes(worker, left, workers, seen)
        return _by_ray(worker, left, workers, seen, trust=self.trust_cluster, on_gpu=on_gpu)


def _cores() -> int:
    """Of this machine, those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cards() -> int:
    import torch

    return max(1, torch.cuda.device_count())


def array_place(environment: Mapping[str, str]) -> tuple[int, int]:
    """Which task of an array job this is, from 0, and of how many.

    Raises
    ------
    SynestheteError
        The environment does not say it, or says what cannot be.

    Examples
    --------
    >>> array_place({"RANK": "2", "WORLD_SIZE": "4"})
    (2, 4)
    """
    found = None
    for name, of in PLACES:
        if name not in environment or (found and found[1] > 1):
            continue
        try:
            rank, size = int(environment[name]), int(environment[of])
            if name == SLURM:
                first, step = (
                    environment.get(f"SLURM_ARRAY_TASK_{what}") or default
                    for what, default in (("MIN", "0"), ("STEP", "1"))
                )
                rank = (rank - int(first)) // max(1, int(step))
        except (KeyError, ValueError):
            raise SynestheteError(
                f"{name} is {environment[name]!r} and {of} is {environment.get(of)!r}: both must be integers",
                hint=f"set {of} to the number of tasks",
            ) from None
        if not 0 <= rank < size:
            raise SynestheteError(f"{name} says task {rank} of {size}; they count from 0")
        found = rank, size
    if found:
        return found
    names = ", ".join(f"{name} and {of}" for name, of in PLACES)
    raise SynestheteError(
        "this is no task of an array job", hint=f"one of these says which it is: {names}"
    )


@dataclass
class _Hired:
    """A worker process and its place: the shards that it has, the one that it is at first; whether it waits for one, and ever had one; what it has done of the one that it is at."""

    process: BaseProcess
    place: int
    has: list[int] = field(default_factory=list)
    idle: bool = False
    began: bool = False
    seen: int = 0


def _in_processes(
    worker: partial[Worker], left: _Left, workers: int, seen: Callable[[int], None]
) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    crew: dict[Connection, _Hired] = {}

    def hire() -> None:
        ours, theirs = context.Pipe()
        place = min({*range(len(crew) + 1)} - {one.place for one in crew.values()})
        process = context.Process(target=_work, args=(theirs, worker, place), daemon=True)
        process.start()
        theirs.close()
        crew[ours] = _Hired(process, place)

    def give(connection: Connection, *, idle: bool) -> None:
        hired = crew[connection]
        number = left.next(hired.has)
        hired.idle = idle and number is None
        if number is not None:
            hired.has.append(number)
            hired.began = True
        if not hired.idle:
            # One that is gone is noticed when it is read from, and what it has is given to another.
            with contextlib.suppress(OSError):
                connection.send(number)

    try:
        while left.at_least(1) or any(hired.has for hired in crew.values()):
            while len(crew) < workers:
                if not left.at_least(len(crew) + 1 - sum(bool(h.has) for h in crew.values())):
                    break
                hire()
            for connection in wait(list(crew)):
                assert isinstance(connection, Connection)
                hired = crew[connection]
                try:
                    kind, value = connection.recv()
                except (EOFError, OSError):
                    hired.process.join()
                    del crew[connection]
                    seen(-hired.seen)
                    if hired.began and not hired.has:
                        continue
                    left.lost(hired.has, f"ended with {_how(hired.process.exitcode)}")
                    for other, one in list(crew.items()):
                        if one.idle and left.at_least(1):
                            give(other, idle=True)
                    continue
                if kind in ("idle", "more"):
                    give(connection, idle=kind == "idle")
                elif kind == "seen":
                    hired.seen += value
                    seen(value)
                elif kind == "failed":
                    raise SynestheteError(value[0], hint=value[1])
                else:
                    hired.has.remove(value)
                    hired.seen = 0
                    yield value
    finally:
        for connection, hired in crew.items():
            connection.close()
            hired.process.terminate()
            hired.process.join()
    left.require_all()


class _Left:
    """The shards that are still to be computed, and those that nobody could.

    Shards of a worker that was killed are given out one at a time from then on. When a shard was the only one of three workers that were
    killed, nobody is given it any more.
    """

    def __init__(self, job: Job, missing: Iterable[int]) -> None:
        self.job = job
        self._todo: deque[int] = deque()
        self._later = iter(missing)
        self._lost: Counter[int] = Counter()
        self._suspects: set[int] = set()
        self._given_up: dict[int, str] = {}

    def next(self, has: Sequence[int]) -> int | None:
        """The next shard for a worker that has these; None where there is none for it."""
        if not self.at_least(1) or (has and (self._suspects & {*has, self._todo[0]})):
            return None
        return self._todo.popleft()

    def at_least(self, count: int) -> bool:
        """Whether so many are left."""
        self._todo.extend(islice(self._later, max(0, count - len(self._todo))))
        return len(self._todo) >= count

    def lost(self, numbers: Sequence[int], how: str) -> None:
        """A worker is gone with these shards.

        Raises
        ------
        SynestheteError
            Worker after worker is gone before it has any.
        """
        self._suspects |= set(numbers)
        self._todo.extendleft(reversed(numbers))
        if len(numbers) > 1:
            return
        (only,) = numbers or (-1,)
        self._lost[only] += 1
        if self._lost[only] < TRIES:
            return
        if only < 0:
            raise SynestheteError(f"a worker {how} before it had done anything, {TRIES} times")
        self.give_up(self._todo.popleft(), how)

    def give_up(self, number: int, how: str) -> None:
        """Nobody is given a shard any more."""
        self._given_up[number] = how

    def require_all(self) -> None:
        """Say which shards nobody could compute.

        Raises
        ------
        SynestheteError
            There are some.
        """
        for number, how in sorted(self._given_up.items()):
            raise SynestheteError(
                f"the worker of the {self.job.title(number)} {how}, {TRIES} times;"
                f" {len(self._given_up)} shards are missing, the others are kept",
                hint="look at these; run the same command again to go on",
            )


def _how(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _work(connection: Connection, worker: partial[Worker], place: int) -> None:
    """A worker process: asks for shards until its parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()

    def request(how: str) -> int | None:
        connection.send((how, None))
        number: int | None = connection.recv()
        return number

    def more(first: int) -> Iterator[int]:
        yield first
        # Requested before the shard before is done, so that decoding does not pause between them.
        while (number := request("more")) is not None:
            yield number

    try:
        work = worker(place=place).work
        while (first := request("idle")) is not None:
            for number in work.run(more(first), lambda count: connection.send(("seen", count))):
                connection.send(("done", number))
    except SynestheteError as error:
        connection.send(("failed", (error.message, error.hint)))
    except (EOFError, OSError):
        pass  # the parent is done, or gone


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _by_ray(
    worker: partial[Worker],
    left: _Left,
    workers: int,
    seen: Callable[[int], None],
    *,
    trust: bool,
    on_gpu: bool,
) -> Iterator[int]:
    ray = _ray(trust=trust, workers=workers)
    # Each actor holds a core, or a GPU, which Ray shows to it alone: one that there is none for would be waited for in vain.
    there = ray.cluster_resources()
    workers = max(1, min(workers, int(there.get("GPU" if on_gpu else "CPU", 1))))
    sent = [ray.put(one) for one in worker.args]
    # An actor that is killed is started again by Ray however often, and a task is sent to it again so many times.
    remote = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_restarts=-1, max_task_retries=TRIES)(
        Worker
    )
    actors = deque(remote.remote(*sent) for _ in range(workers) if left.at_least(1))
    busy: dict[Any, tuple[Any, int]] = {}
    try:
        while busy or left.at_least(1):
            while actors and (number := left.next(())) is not None:
                actor = actors.popleft()
                busy[actor.one.remote(number)] = actor, number
            (done, *_), _ = ray.wait(list(busy), num_returns=1)
            actor, number = busy.pop(done)
            try:
                count = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, SynestheteError):
                    raise SynestheteError(error.cause.message, hint=error.cause.hint) from None
                raise
            except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
                if getattr(error, "actor_init_failed", False):
                    raise SynestheteError(str(error).strip().splitlines()[-1]) from None
                left.give_up(number, "was ended by the system")
                ray.kill(actor)
                actors.append(remote.remote(*sent))
                continue
            actors.append(actor)
            seen(count)
            yield number
    finally:
        for actor in (*actors, *(one for one, _ in busy.values())):
            ray.kill(actor)
    left.require_all()


def _ray(*, trust: bool, workers: int) -> Any:
    """Ray, connected: to the cluster of `RAY_ADDRESS`, else to one of this machine alone."""
    name, value = RAY_TOKEN
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Ray listens on every address: whoever does not know the token is turned away.
        os.environ[name] = value
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise SynestheteError(
            "the executor ray needs the package ray", hint="pip install 'synesthete[ray]'"
        ) from None
    if ray.is_initialized():
        return ray
    if address:
        if os.environ.get(name) != value and not trust:
            raise SynestheteError(
                f"the cluster of Ray at {address} asks for no token: whoever reaches it can run code there",
                hint=f"start it with {name}={value}, or trust it: --trust-cluster",
            )
        ray.init(address=address, log_to_driver=False)
    else:
        cores = max(workers, _cores())
        ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    return ray
