"""The guard at the door: every request passes it before anything else looks at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synesthete.server.connections import ConnectionLimits
from synesthete.server.errors import Refused
from synesthete.server.security import METHODS, UPLOAD_LIMIT, Gate

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
# The longest body of a request without a token: the form of the entrance.
FORM_LIMIT = 64 * 1024


class Guard:
    """ASGI middleware: host, method, origin, token and size of every request; headers of every answer.

    Parameters
    ----------
    app
        What is guarded.
    gate
        Who may ask.
    refuse
        Makes the answer to a request that is refused.
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
            with suppress(ClientDisconnect):  # nobody is left to answer
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
        # Before anything else about the request: who has no token learns nothing but that.
        bearer = self._bearer(headers)
        known = scope["state"]["authenticated"] = bearer or self._cookie(headers)
        if not (known or path.startswith(OPEN)):
            hint = (
                "open the link that `synesthete serve` printed, or send Authorization: Bearer TOKEN"
            )
            raise Refused(401, "this server is closed without its token", hint=hint)
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
            raise Refused(403, "that request comes from another site, or does not say from where")

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
            hint = "ask again in a second"
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
