"""Authentication: the token, a link that works once, the session cookie, the CSRF token; which hosts and origins are allowed."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.responses import RedirectResponse, Response

from synesthete.errors import SynestheteError
from synesthete.server.errors import Refused
from synesthete.server.render import render_sign_in

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE_SECONDS = 30 * 24 * 3600

router = APIRouter(include_in_schema=False)


class Gate:
    """Who is authenticated, and which hosts and origins are allowed.

    Parameters
    ----------
    token
        Opens everything: as `Authorization: Bearer TOKEN`, or typed into `/enter`. Random where none is given.
    hosts
        Names and addresses that requests may be addressed to (the `Host` header), without ports.
    any_address
        Accept every IP address as a host besides (for a server on all interfaces). A name that leads here,
        as in DNS rebinding, is still refused.

    Raises
    ------
    SynestheteError
        When the token is empty or cannot stand in a header.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        hosts: Iterable[str] = LOOPBACK,
        any_address: bool = False,
    ) -> None:
        self.token = secrets.token_urlsafe(32) if token is None else token
        if not self.token or any(not "!" <= letter <= "~" for letter in self.token):
            raise SynestheteError("the token must be visible ASCII characters without spaces")
        self.hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self.any_address = any_address
        self._session = self._derived("session")
        self._link = secrets.token_urlsafe(24)
        self._lock = threading.Lock()

    @property
    def cookie(self) -> str:
        """Name of the cookie; another for each token, as cookies do not tell ports apart."""
        return f"synesthete_{self._derived('cookie')[:8]}"

    @property
    def session(self) -> str:
        """Value of the cookie."""
        return self._session

    @property
    def csrf(self) -> str:
        """The CSRF token: every form of our pages carries it."""
        return self._derived("csrf")

    @property
    def link(self) -> str:
        """Path that opens the microscope once."""
        return f"/enter/{self._link}"

    def enter(self, key: str) -> bool:
        """Whether this is the key of the link; it is spent by that."""
        with self._lock:
            right = hmac.compare_digest(key.encode(), self._link.encode())
            if right:
                self._link = secrets.token_urlsafe(24)
        return right

    def is_owner(self, token: str) -> bool:
        """Whether this is the owner's token (in constant time)."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def is_token(self, token: str) -> bool:
        """Whether requests with this token are let in."""
        return self.is_owner(token)

    def is_session(self, value: str) -> bool:
        """Whether this is the cookie's value (in constant time)."""
        return hmac.compare_digest(value.encode("utf-8", "replace"), self._session.encode())

    def is_csrf(self, value: str) -> bool:
        """Whether this is the CSRF token (in constant time)."""
        return hmac.compare_digest(value.encode("utf-8", "replace"), self.csrf.encode())

    def allows_host(self, header: str) -> bool:
        """Whether requests may be addressed to this `Host`.

        Examples
        --------
        >>> gate = Gate("t")
        >>> gate.allows_host("localhost:8000"), gate.allows_host("[::1]:8000"), gate.allows_host("evil.example")
        (True, True, False)
        """
        name = host_name(header)
        if name is None:
            return False
        return name in self.hosts or (self.any_address and _is_address(name))

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a request that changes something comes from a page of this very server.

        Examples
        --------
        >>> Gate("t").allows_origin("http://127.0.0.1:80", "127.0.0.1:80")
        True
        >>> Gate("t").allows_origin("http://evil.example", "127.0.0.1:80")
        False
        """
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return (
            parts.scheme in ("http", "https")
            and parts.netloc.lower() == host.lower()
            and self.allows_host(parts.netloc)
        )

    def _derived(self, purpose: str) -> str:
        return hmac.digest(
            self.token.encode(), f"synesthete {purpose}".encode(), hashlib.sha256
        ).hex()


def credentials(gate: Gate) -> list[Any]:
    """How requests authenticate, as OpenAPI describes it; the middleware checks it."""
    bearer = HTTPBearer(auto_error=False, description="The token of the start-up, or a key.")
    cookie = APIKeyCookie(
        name=gate.cookie, auto_error=False, description="What the link of the start-up sets."
    )
    return [Security(bearer), Security(cookie)]


def host_name(header: str) -> str | None:
    """The name in a `Host` header, in small letters, without port and brackets; None where it is none.

    Examples
    --------
    >>> host_name("LocalHost:80"), host_name("[::1]"), host_name("a@b"), host_name("")
    ('localhost', '::1', None, None)
    """
    try:
        parts = urlsplit(f"//{header}")
        parts.port  # noqa: B018  (raises on a port that is none)
    except ValueError:
        return None
    if not header or parts.netloc != header or "@" in header:
        return None
    return parts.hostname


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host to listen on is reached from this machine only.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def gate_for(host: str, token: str | None, names: Iterable[str] = ()) -> Gate:
    """The gate of a server that listens on `host`.

    Parameters
    ----------
    host
        Address or name to listen on.
    token
        The chosen token, or None for a new one.
    names
        Further host names that lead to this server.

    Raises
    ------
    SynestheteError
        When others could reach the server and no token was chosen for it.
    """
    if is_loopback(host):
        return Gate(token, hosts=[*LOOPBACK, host, *names])
    if token is None:
        raise SynestheteError(
            f"on {host} other machines can reach the microscope, so it needs a token of your choice",
            hint="put one into a file and add --token-file FILE, or leave --host out to serve this machine only",
        )
    everywhere = host in ("0.0.0.0", "::")
    return Gate(token, hosts=[*LOOPBACK, host, *names], any_address=everywhere)


def check_form(request: Request, csrf: str) -> None:
    """Refuse a form without the CSRF token of our pages; a program authenticates by its `Authorization` header.

    Raises
    ------
    Refused
        403.
    """
    gate: Gate = request.app.state.gate
    if not (request.headers.get("authorization") or gate.is_csrf(csrf)):
        raise Refused(403, "CSRF token missing or invalid", hint="load the page again")


@router.get("/enter")
def sign_in_page() -> Response:
    """A form for the token."""
    return Response(render_sign_in(), media_type="text/html")


@router.post("/enter")
def sign_in(request: Request, token: Annotated[str, Form(max_length=500)] = "") -> Response:
    """Check the token that was typed in."""
    gate: Gate = request.app.state.gate
    if not gate.is_owner(token.strip()):
        raise Refused(401, "invalid token", hint="it stands where the server was started")
    return _set_cookie(gate, request)


@router.get("/enter/{key}")
def one_time_link(request: Request, key: str) -> Response:
    """The link that the server printed when it started; it works once."""
    gate: Gate = request.app.state.gate
    if not gate.enter(key):
        hint = "a link works once; type the token at /enter"
        raise Refused(401, "this link was used already", hint=hint)
    return _set_cookie(gate, request)


def _set_cookie(gate: Gate, request: Request) -> Response:
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(
        gate.cookie,
        gate.session,
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response
