"""How an application is served: uvicorn, with limits on how many connections there may be, how long each may take, and on open files."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import ipaddress
import math
import socket
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

# A reader makes progress while its unread part of an answer shrinks by this much, in bytes, within `write_seconds`.
PROGRESS = 64 * 1024
# How long a new connection is preferred to one that a holder of the token keeps for later, in seconds.
GRACE = 1.0
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\nToo many connections."
)


# How many connections are accepted in one turn of the event loop. Three turns pass until a connection that was
# closed for another gives its file back.
ACCEPTED_AT_ONCE = 64
# How many connections the system holds until they are accepted; others try again after a second.
WAITING = 1024
SWEEP_SECONDS = 0.5
# What is closed at a time when the process may open no more files.
RELIEF = 64
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Every limit of the server that is not about a request's content.

    Attributes
    ----------
    connections
        Open connections.
    per_address
        Open connections of one address (IPv6: of one /64 network); None for no such limit. Behind a proxy
        all come from its address.
    requests
        Requests answered at the same time, of those who have a token, key or cookie.
    open_requests
        The same for what needs none: the entrance, style sheets, scripts and fonts.
    header_seconds
        From the first byte of a request, or the opening of a connection, to the end of the header.
    body_seconds
        From there to the end of the body, without a token.
    drain_seconds
        How long the body of a refused request is read and discarded before it is answered anyway, so
        that clients that send first and read later get the answer; less than `body_seconds`.
    upload_seconds
        The same as `body_seconds`, with a token.
    idle_seconds
        Between two requests on one connection.
    write_seconds
        For a client to read on (`PROGRESS`).
    closing_seconds
        For requests that are being answered when the server is stopped.
    """

    connections: int = 1000
    per_address: int | None = None
    requests: int = 200
    open_requests: int = 8
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    drain_seconds: float = 5.0
    upload_seconds: float = 300.0
    idle_seconds: float = 15.0
    write_seconds: float = 30.0
    closing_seconds: float = 30.0


class Phase(Enum):
    """What a connection is doing."""

    HEADER = "the header of a request is not complete"
    BODY = "its body is being received"
    ANSWER = "it is being answered"
    IDLE = "kept alive after a request without a token"
    TRUSTED = "kept alive after a request with a token"


class Connections:
    """All open connections.

    Parameters
    ----------
    limits
        How many, and how long.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._all = _Ranks()
        self._of: dict[str, _Ranks] = {}

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, new: LimitedProtocol) -> bool:
        """Take a connection in, closing another if there are too many; False where none can be closed."""
        if self.limits.per_address and new.client:
            new.address = network(new.client[0])
            own = self._of.get(new.address)
            if own and len(own) >= self.limits.per_address and not self._evict(own):
                return False
        if len(self._all) >= self.limits.connections and not self._evict(self._all):
            return False
        if new.address:
            self._of.setdefault(new.address, _Ranks()).add(new)
        self._all.add(new)
        return True

    def forget(self, gone: LimitedProtocol) -> None:
        """A connection is closed, or about to be."""
        self._all.remove(gone)
        own = self._of.get(gone.address)
        if own is not None:
            own.remove(gone)
            if not own:
                del self._of[gone.address]

    def move(self, moved: LimitedProtocol, phase: Phase) -> None:
        """A connection enters a phase, as the youngest in it."""
        own = self._of.get(moved.address)
        held = [ranks for ranks in (self._all, own) if ranks is not None and ranks.remove(moved)]
        moved.phase = phase
        for ranks in held:
            ranks.add(moved)

    def relieve(self, most: int) -> None:
        """Close up to so many connections, when the process may open no more files."""
        for _ in range(most):
            if not self._evict(self._all):
                return

    def sweep(self, now: float) -> None:
        """Close every connection whose time is over."""
        for one in self._all:
            if one.stalls(now):
                self.forget(one)
                one.transport.abort()
            elif now - one.since > self._seconds(one) and not one.transport.is_closing():
                one.transport.close()  # what was answered is still sent; until then it counts

    def _seconds(self, one: LimitedProtocol) -> float:
        if one.phase is Phase.HEADER:
            return self.limits.header_seconds
        if one.phase is Phase.BODY:
            return self.limits.upload_seconds if one.carries_token else self.limits.body_seconds
        return math.inf if one.phase is Phase.ANSWER else self.limits.idle_seconds

    def _evict(self, ranks: _Ranks) -> bool:
        weakest = ranks.weakest(asyncio.get_running_loop().time())
        if weakest is None:
            return False
        self.forget(weakest)
        weakest.transport.abort()
        return True


class _Ranks:
    """Connections by phase, those that are in it for longest first."""

    def __init__(self) -> None:
        self._in: dict[Phase, OrderedDict[LimitedProtocol, None]] = {
            phase: OrderedDict() for phase in Phase
        }

    def __len__(self) -> int:
        return sum(map(len, self._in.values()))

    def __iter__(self) -> Iterator[LimitedProtocol]:
        return iter([one for held in self._in.values() for one in held])

    def add(self, one: LimitedProtocol) -> None:
        self._in[one.phase][one] = None

    def remove(self, one: LimitedProtocol) -> bool:
        held = one in self._in[one.phase]
        if held:
            del self._in[one.phase][one]
        return held

    def weakest(self, now: float) -> LimitedProtocol | None:
        """The one to close first: never one that carries a request with a token.

        It is the one that is for longest in its phase, whatever the phase: those that came just now were not
        read from yet, and the header of a holder of the token may be among them. Connections that such a
        holder keeps for later go before those, and after all others.
        """
        heads = [
            # At most `requests` are skipped: only so many with a token are carried out at once.
            next((one for one in self._in[phase] if not one.carries_token), None)
            for phase in (Phase.HEADER, Phase.BODY, Phase.ANSWER, Phase.IDLE)
        ]
        oldest = min((one for one in heads if one), key=lambda one: one.since, default=None)
        if oldest is not None and now - oldest.since > GRACE:
            return oldest
        return next(iter(self._in[Phase.TRUSTED]), oldest)


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, on connections that are counted and timed.

    Parameters
    ----------
    connections
        Where it is counted.
    given
        As for uvicorn.
    """

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.open = connections
        self.phase = Phase.HEADER
        self.since = self.loop.time()
        self.address = ""
        self._unread: tuple[float, int] | None = None

    @property
    def carries_token(self) -> bool:
        """Whether the guard found a token, key or cookie with a request whose body or answer is under way."""
        return self.phase in (Phase.BODY, Phase.ANSWER) and self._authenticated

    @property
    def _authenticated(self) -> bool:
        return self.cycle is not None and bool(self.scope["state"].get("authenticated"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, or turn it away."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self.since = self.loop.time()
        if not self.open.admit(self):
            transport.write(FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        self.open.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take part of a request; with the first byte the time for its header begins."""
        before = self.cycle
        super().data_received(data)
        self._follow(before, Phase.HEADER)

    def on_response_complete(self) -> None:
        """Go on to the next request, which may be here already, in full or in part."""
        before, idle = self.cycle, Phase.TRUSTED if self._authenticated else Phase.IDLE
        super().on_response_complete()
        self._follow(before, Phase.HEADER if self.conn.trailing_data[0] else idle)

    def resume_writing(self) -> None:
        """Count as progress that the client read on."""
        self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; a request whose body turns out so ends as if its client had gone."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # a response was started, or sent
            self.transport.abort()

    def stalls(self, now: float) -> bool:
        """Whether the client has not read on for too long."""
        size = self.transport.get_write_buffer_size()
        if not size:
            self._unread = None
        elif self._unread is None or size <= self._unread[1] - PROGRESS:
            self._unread = now, size
        else:
            self._unread = self._unread[0], max(size, self._unread[1])
            return now - self._unread[0] > self.open.limits.write_seconds
        return False

    def _follow(self, before: object, between: Phase) -> None:
        """Note the phase; `between` is that of a connection on which no request is carried out."""
        if self.conn.their_state is h11.SEND_BODY:
            phase = Phase.BODY
        elif self.cycle is not None and not self.cycle.response_complete:
            phase = Phase.ANSWER
        else:
            phase = between
        if phase is not self.phase or self.cycle is not before:
            self.since = self.loop.time()
            self.open.move(self, phase)


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 address.

    Examples
    --------
    >>> network("192.0.2.7"), network("2001:db8:1:2:3:4:5:6"), network("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8:1:2::/64', '192.0.2.7')
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


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
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            backlog=ACCEPTED_AT_ONCE,
            timeout_keep_alive=math.ceil(self.limits.idle_seconds),
            timeout_graceful_shutdown=math.ceil(self.limits.closing_seconds),
        )
        super().__init__(config)

    def run_on(self, listener: socket.socket) -> None:
        """Serve on a socket until SIGINT or SIGTERM."""
        self.run(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and to watch the connections."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_error)
        self._sweep(loop)
        await super().startup(sockets)
        for one in sockets or []:
            # More than the backlog that uvicorn set, which is also how many it accepts at once.
            one.listen(WAITING)

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
