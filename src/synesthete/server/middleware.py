"""Middleware of both applications: authentication, hosts, origins, methods, sizes and headers; and limits on images and bodies."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.cookies import CookieError, SimpleCookie

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synesthete.errors import SynestheteError
from synesthete.probes.request_images import Busy, request_limits
from synesthete.server.auth import Gate
from synesthete.server.connections import ConnectionLimits
from synesthete.server.errors import METHODS, Refused

UPLOAD_LIMIT = 16 * 2**20
OPEN = ("/static/", "/enter")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers would then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=()",
}
# How much of a body that is too long is read and thrown away, so that the client reads the answer.
DRAIN = 4 * UPLOAD_LIMIT
# The longest body of a request without a token: the form at /enter.
FORM_LIMIT = 64 * 1024

# A body is held up to four times over, as bytes, as text and decoded, until its request is answered.
SMALL = 256 * 1024
HELD_AT_ONCE = 2 * UPLOAD_LIMIT
MOST_WAITING, LONGEST_WAIT = 24, 10.0
_M_MMAP_THRESHOLD = -3  # of malloc.h


class Guard:
    """ASGI middleware: host, method, origin, token and size of every request; headers of every answer.

    Parameters
    ----------
    app
        The application behind it.
    gate
        Authentication.
    refuse
        Gives the response to a request that is refused.
    limits
        How many requests are answered at once, and for how long the body of a refused one is read.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        refuse: Callable[[Request, Refused], Response],
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.app = app
        self.gate = gate
        self.refuse = refuse
        self.limits = limits or ConnectionLimits()
        # Two counts, so that those without a token take no place from those who have one.
        self._with_token = _InFlight(self.limits.requests)
        self._open = _InFlight(self.limits.open_requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _with_headers(send, bare=scope["method"] == "HEAD")
        state = scope.setdefault("state", {})
        state["authenticated"] = False
        try:
            self._check(scope)
            known = state["authenticated"]
            in_flight = self._with_token if known else self._open
            in_flight.enter()
        except Refused as error:
            await self._answer_refused(error, scope, receive, answer)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        body = _Body(receive, UPLOAD_LIMIT if known else FORM_LIMIT)
        try:
            with contextlib.suppress(ClientDisconnect):  # nobody is left to answer
                await self.app(scope, body.receive, answer)
        finally:
            in_flight.leave()

    async def _answer_refused(
        self, error: Refused, scope: Scope, receive: Receive, send: Send
    ) -> None:
        with anyio.move_on_after(self.limits.drain_seconds) as waited:
            await _drain(receive, DRAIN)
        response = self.refuse(Request(scope), error)
        if waited.cancelled_caught:
            response.headers["Connection"] = "close"
        if error.status == 503:
            response.headers["Retry-After"] = "1"
        await response(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Refuse, or note in the scope's state (which the connection reads too) whether a token was sent."""
        headers = Headers(scope=scope)
        host, method, path = headers.get("host", ""), scope["method"], scope["path"]
        if len(headers.getlist("host")) != 1 or not self.gate.allows_host(host):
            hint = "open it as http://127.0.0.1, or name the host with --allow-host"
            raise Refused(403, "this server does not answer to that host name", hint=hint)
        # Before anything else about the request: without a token nothing is revealed.
        bearer = self._bearer(headers)
        known = scope["state"]["authenticated"] = bearer or self._cookie(headers)
        if not (known or path.startswith(OPEN)):
            hint = (
                "open the link that `synesthete serve` printed, or send Authorization: Bearer TOKEN"
            )
            raise Refused(401, "authentication required", hint=hint)
        if method == "POST" and not bearer:
            self._check_origin(headers, host)
        if method not in METHODS:
            raise Refused(405, f"the method {method[:20]!a} is not used here")
        length = headers.get("content-length", "0")
        limit = UPLOAD_LIMIT if known else FORM_LIMIT
        if not length.isdecimal() or int(length[:20]) > limit:
            raise _too_long(limit)

    def _check_origin(self, headers: Headers, host: str) -> None:
        origin, fetched = headers.get("origin"), headers.get("sec-fetch-site")
        foreign = fetched is not None and fetched not in ("same-origin", "none")
        if foreign or origin is None or not self.gate.allows_origin(origin, host):
            raise Refused(403, "the request comes from another origin, or names none")

    def _bearer(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.gate.is_token(token.strip())

    def _cookie(self, headers: Headers) -> bool:
        for header in headers.getlist("cookie"):
            try:
                found = SimpleCookie(header).get(self.gate.cookie)
            except CookieError:
                continue
            if found is not None and self.gate.is_session(found.value):
                return True
        return False


class _Body:
    """A request's body, counted as it is read."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = self._limit = limit

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            error = _too_long(self._limit)
            raise HTTPException(error.status, error.message)
        return message


class _InFlight:
    """How many requests are being answered; they share one event loop, so a number will do."""

    def __init__(self, most: int) -> None:
        self._free = most

    def enter(self) -> None:
        if not self._free:
            hint = "try again in a second"
            raise Refused(503, "too many requests are being answered at once", hint=hint)
        self._free -= 1

    def leave(self) -> None:
        self._free += 1


async def _drain(receive: Receive, most: int) -> None:
    """Read and forget a body, up to a number of bytes."""
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def _too_long(limit: int) -> Refused:
    size = f"{limit >> 20} MB" if limit >= 1 << 20 else f"{limit >> 10} kB"
    return Refused(413, f"that is more than the {size} that are taken at once")


def _with_headers(send: Send, *, bare: bool) -> Callable[[Message], Awaitable[None]]:
    """Add the headers that every answer has; `bare` leaves the body of an answer to HEAD out."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "private, no-cache")
        elif bare and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return answer


class ImageLimits:
    """ASGI middleware: the limits of `request_limits` for each request, and a budget of bytes for their bodies.

    Parameters
    ----------
    app
        The application behind it.
    refuse
        Gives the response to a request that finds no room.
    """

    def __init__(
        self, app: ASGIApp, refuse: Callable[[Request, SynestheteError], Response]
    ) -> None:
        self.app = app
        self.refuse = refuse
        self._held = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        _give_memory_back()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with self._room(_size(scope)):
                with request_limits():
                    await self.app(scope, receive, send)
        except _NoRoom as error:
            with anyio.move_on_after(LONGEST_WAIT):
                await _drain(receive, UPLOAD_LIMIT)
            response = self.refuse(Request(scope), error)
            await response(scope, receive, send)

    @asynccontextmanager
    async def _room(self, size: int) -> AsyncIterator[None]:
        """Wait until so many bytes may be held; first come, first served."""
        if size:
            await self._enter(size)
        try:
            yield
        finally:
            self._leave(size)

    async def _enter(self, size: int) -> None:
        if not self._queue and self._held + size <= HELD_AT_ONCE:
            self._held += size
            return
        if len(self._queue) >= MOST_WAITING:
            raise _NoRoom.now()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # let in at the last moment
                self._leave(size)
            else:
                self._queue.remove((size, turn))
                self._admit()
            if isinstance(error, TimeoutError):
                raise _NoRoom.now() from None
            raise

    def _leave(self, size: int) -> None:
        self._held -= size
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._held + self._queue[0][0] <= HELD_AT_ONCE:
            if self._queue[0][1].cancelled():  # it takes itself out
                return
            size, turn = self._queue.popleft()
            self._held += size
            turn.set_result(None)


class _NoRoom(Busy):
    """Too many large requests at once."""

    @classmethod
    def now(cls) -> _NoRoom:
        return cls(
            "too many large requests at once", hint=f"send it again in {cls.retry_after} seconds"
        )


def _give_memory_back() -> None:
    """Have glibc hand every freed block of a megabyte or more back to the system at once.

    By itself it raises that threshold to 32 MB as soon as such a block is freed, and keeps later ones, for each thread;
    after some large images a server then holds hundreds of megabytes for nothing. Other C libraries have no such call.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def _size(scope: Scope) -> int:
    """Bytes that a body may have; 0 for small ones, which are not counted."""
    headers = Headers(scope=scope)
    if scope["method"] != "POST":
        return 0
    length = headers.get("content-length", "")
    size = int(length) if length.isdecimal() else UPLOAD_LIMIT
    return min(size, UPLOAD_LIMIT) if size > SMALL else 0
