"""The guard at the door: every request passes it before anything else looks at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """

    def __init__(
        self, app: ASGIApp, gate: Gate, refuse: Callable[[Request, Refused], Response]
    ) -> None:
        self.app = app
        self.gate = gate
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _with_headers(send, bare=scope["method"] == "HEAD")
        body = _Body(receive, UPLOAD_LIMIT)
        try:
            self._check(scope)
        except Refused as error:
            await body.drain(DRAIN)
            response = self.refuse(Request(scope), error)
            await response(scope, receive, answer)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, body.receive, answer)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host, method, path = headers.get("host", ""), scope["method"], scope["path"]
        if len(headers.getlist("host")) != 1 or not self.gate.allows_host(host):
            hint = "open it as http://127.0.0.1, or name the host with --allow-host"
            raise Refused(403, "this server does not answer to that host name", hint=hint)
        if method not in METHODS:
            raise Refused(405, f"the method {method[:20]} is not used here")
        bearer = self._bearer(headers)
        if method == "POST" and not bearer:
            self._check_origin(headers, host)
        if not (bearer or self._cookie(headers) or path.startswith(OPEN)):
            hint = (
                "open the link that `synesthete serve` printed, or send Authorization: Bearer TOKEN"
            )
            raise Refused(401, "the microscope is closed without its token", hint=hint)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > UPLOAD_LIMIT:
            raise _too_long()

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
        self._left = limit

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            error = _too_long()
            raise HTTPException(error.status, error.message)
        return message

    async def drain(self, most: int) -> None:
        """Read and forget, up to a limit."""
        while most > 0:
            message = await self._receive()
            most -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return


def _too_long() -> Refused:
    return Refused(413, f"that is more than the {UPLOAD_LIMIT // 2**20} MB that are taken at once")


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
