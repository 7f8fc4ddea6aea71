"""The one way in which an application is served: uvicorn, with limits on connections and on open files."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import math
import socket
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from synesthete.server.connections import ConnectionLimits, Connections, LimitedProtocol

# How many connections are accepted in one turn of the event loop. Three turns pass until a connection that was
# closed for another gives its file back.
ACCEPTED_AT_ONCE = 64
# How many connections the system holds until they are accepted; others try again after a second.
WAITING = 1024
SWEEP_SECONDS = 0.5
# What is closed at a time when the process may open no more files.
RELIEF = 64
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class LimitedServer(uvicorn.Server):
    """A server of one application, HTTP/1.1 only.

    Parameters
    ----------
    app
        The microscope or a catalogue.
    limits
        On connections; there are fewer of them where the system lets a process open too few files.
    """

    def __init__(self, app: ASGIApp, limits: ConnectionLimits | None = None) -> None:
        self.limits = fit_open_files(limits or ConnectionLimits())
        self.open = Connections(self.limits)
        self._relieved = -1.0
        protocol = cast("type[asyncio.Protocol]", partial(LimitedProtocol, self.open))
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", loop="asyncio", lifespan="off", log_level="error", access_log=False,
                server_header=False, backlog=ACCEPTED_AT_ONCE, timeout_keep_alive=math.ceil(self.limits.idle_seconds),
            )
        )  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and to watch the connections."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_error)
        self._sweep(loop)
        await super().startup(sockets)
        for one in sockets or []:
            one.listen(
                WAITING
            )  # more than uvicorn set, with which the same number is accepted at once

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self.open.sweep(loop.time())
        loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in EXHAUSTED and "socket" in context):
            loop.default_exception_handler(context)
        elif loop.time() - self._relieved > SWEEP_SECONDS:
            # asyncio says so once for every connection that waits, and tries again after a second.
            self._relieved = loop.time()
            self.open.relieve(RELIEF)


def fit_open_files(limits: ConnectionLimits) -> ConnectionLimits:
    """Let the process open twice as many files as it may have connections, or lower that number.

    Parameters
    ----------
    limits
        What is wanted.

    Returns
    -------
    limits
        With no more `connections` than half of the files that may be open.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * limits.connections
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        raised = soft
    return dataclasses.replace(limits, connections=min(limits.connections, max(1, raised // 2)))
