"""A catalogue as a service: one process, or several that share a socket, are replaced when one dies, and end together."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from synesthete._core.json_reader import parse_json
from synesthete.catalog.keys import Keys
from synesthete.catalog.server.app import create_app
from synesthete.catalog.server.auth import KeyGate
from synesthete.catalog.server.folder import CatalogFolder
from synesthete.catalog.server.operations import FOLDER_VARIABLE
from synesthete.catalog.server.state import SharedState
from synesthete.catalog.webhooks import Sender
from synesthete.cli.console import say
from synesthete.server.auth import Gate
from synesthete.server.connections import ConnectionLimits, LimitedServer

STATE, NUMBERS = "state.sqlite", "metrics"
LOOK_SECONDS = 0.2
# A worker that ended sooner is replaced only after that time, so that one that cannot start does not keep the machine busy.
SHORTEST_LIFE = 5.0
# After the time that requests have to end, until a worker that still runs is killed.
PATIENCE = 10.0
TIDYING_SECONDS = 5.0  # that the end waits for; what is not done then is done after the next write


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a worker is given, on its standard input.

    Attributes
    ----------
    path
        The catalogue's folder.
    token, hosts, any_address
        Of the gate.
    state
        The file of the shared state.
    listener
        Number of the socket that it inherits.
    family
        Of the socket.
    limits
        On connections.
    """

    path: str
    token: str
    hosts: list[str]
    any_address: bool
    state: str
    listener: int
    family: int
    limits: dict[str, Any]


class Service:
    """A catalogue that is served.

    Parameters
    ----------
    path
        The catalogue's folder.
    gate
        The owner's token, the hosts.
    limits
        On connections, of each worker.
    workers
        Processes.

    Raises
    ------
    SynestheteError
        No catalogue there, or one that cannot be opened.

    Attributes
    ----------
    gate
        The gate with the link that opens the catalogue once.
    """

    def __init__(
        self, path: Path, gate: Gate, limits: ConnectionLimits, *, workers: int = 1
    ) -> None:
        self._path, self._limits, self._workers = path, limits, workers
        self.gate: KeyGate
        if workers == 1:
            os.environ.pop(FOLDER_VARIABLE, None)  # its numbers are its own
            self._app = create_app(path, gate)
            self.gate = self._app.state.gate
            return
        CatalogFolder(path)  # what is wrong with it is said here, and not by every worker
        self._folder = tempfile.TemporaryDirectory(prefix="synesthete-")
        (Path(self._folder.name) / NUMBERS).mkdir()
        # Programs that tidy /tmp leave alone what is locked (tmpfiles.d(5)).
        self._held = os.open(self._folder.name, os.O_RDONLY)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self._shared = SharedState(Path(self._folder.name) / STATE)
        self.gate = KeyGate(Keys(path), gate, self._shared)

    def run(self, listener: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM; requests that are being answered then are answered."""
        if self._workers == 1:
            serve(self._app, listener, self._limits, lambda: say("Ready."))
        else:
            with self._folder:
                self._supervise(listener)
                self._shared.close()
                os.close(self._held)

    def _supervise(self, listener: socket.socket) -> None:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        running = [self._start(listener) for _ in range(self._workers)]
        waiting = True  # for the first workers to be ready
        try:
            while not stop.wait(LOOK_SECONDS):
                for place, worker in enumerate(running):
                    if worker.gone():
                        running[place] = self._start(listener)
                        code, new = worker.process.returncode, running[place].process.pid
                        say(f"worker {worker.process.pid} ended ({_how(code)}); {new} replaces it")
                pids = {worker.process.pid for worker in running}
                if waiting and pids <= self._shared.ready():
                    waiting = False
                    say(f"Ready: {self._workers} workers.")
        finally:
            listener.close()  # whoever comes now is refused, and does not wait
            for worker in running:
                worker.process.terminate()
            deadline = time.monotonic() + self._limits.closing_seconds + PATIENCE
            for worker in running:
                worker.end(deadline)

    def _start(self, listener: socket.socket) -> _Worker:
        folder = Path(self._folder.name)
        orders = Orders(
            path=str(self._path.absolute()),
            token=self.gate.token,
            hosts=sorted(self.gate.hosts),
            any_address=self.gate.any_address,
            state=str(folder / STATE),
            listener=listener.fileno(),
            family=listener.family,
            limits=dataclasses.asdict(self._limits),
        )
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env={**os.environ, FOLDER_VARIABLE: str(folder / NUMBERS)},
            start_new_session=True,  # Ctrl-C in a terminal is for this process, which ends the others
            text=True,
        )
        assert process.stdin
        # The token is in nobody's list of processes. The pipe stays open: when it closes, this process has ended.
        with contextlib.suppress(BrokenPipeError):  # it ended already, and will be replaced
            process.stdin.write(json.dumps(dataclasses.asdict(orders)) + "\n")
            process.stdin.flush()
        return _Worker(process, time.monotonic())


@dataclass(frozen=True)
class _Worker:
    """A process that serves, and since when."""

    process: subprocess.Popen[str]
    since: float

    def gone(self) -> bool:
        """Whether it ended and may be replaced."""
        ended = self.process.poll() is not None
        return ended and time.monotonic() - self.since > SHORTEST_LIFE

    def end(self, deadline: float) -> None:
        """Wait for its end, and kill it after the deadline."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


def serve(
    app: FastAPI,
    listener: socket.socket,
    limits: ConnectionLimits,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve the application of a catalogue in this process, and send what its webhooks wait for.

    Parameters
    ----------
    ready
        Called when the server is warm.
    """
    Sender(app.state.folder.webhooks, say).start()
    app.state.warm_up.start(ready)
    LimitedServer(app, limits).run_on(listener)
    app.state.folder.tidier.close(TIDYING_SECONDS)


def work() -> None:
    """Be a worker: what to serve comes as one line on standard input, which then stays open as long as the server runs."""
    orders = Orders(**parse_json(sys.stdin.readline(), "the orders"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    shared = SharedState(Path(orders.state))
    gate = Gate(orders.token, hosts=orders.hosts, any_address=orders.any_address)
    app = create_app(orders.path, gate, shared)
    # A replacement takes no request before it is warm; the first workers answer `/healthz` at once.
    if shared.ready():
        app.state.warm_up.run()
    listener = socket.socket(
        orders.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=orders.listener
    )
    serve(app, listener, ConnectionLimits(**orders.limits))


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"


if __name__ == "__main__":
    work()
