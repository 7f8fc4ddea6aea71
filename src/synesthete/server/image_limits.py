"""Every request keeps to the limits of images that come from outside; and few large bodies are held at once."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from synesthete.errors import SynestheteError
from synesthete.probes.request_images import Busy, request_limits
from synesthete.server.errors import headers_of
from synesthete.server.security import UPLOAD_LIMIT

# A body is held up to four times over, as bytes, as text and decoded, until its request is answered.
SMALL = 256 * 1024
HELD_AT_ONCE = 2 * UPLOAD_LIMIT
MOST_WAITING, LONGEST_WAIT = 24, 10.0
_M_MMAP_THRESHOLD = -3  # of malloc.h


class ImageLimits:
    """ASGI middleware: the limits of `request_limits` for each request, and a budget of bytes for their bodies.

    Parameters
    ----------
    app
        What stands behind it.
    refuse
        Makes the answer to a request that finds no room.
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
            await _drain(receive)
            response = self.refuse(Request(scope), error)
            response.headers.update(headers_of(error))
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


async def _drain(receive: Receive) -> None:
    """Read a body and forget it, so that the client gets to reading the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_WAIT):
            left = UPLOAD_LIMIT
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
