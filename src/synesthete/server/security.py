"""Who may ask: the token of the start-up, a link that works once, the cookie, hosts and origins."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from fastapi import Security
from fastapi.security import APIKeyCookie, HTTPBearer

from synesthete.errors import SynestheteError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
UPLOAD_LIMIT = 16 * 2**20
METHODS = ("GET", "HEAD", "POST")


class Gate:
    """What the server knows of those who may ask.

    Parameters
    ----------
    token
        Opens everything: as `Authorization: Bearer TOKEN`, or typed into the page that asks for it. Made
        anew where none is given.
    hosts
        Names and addresses that requests may be addressed to (the `Host` header), without ports.
    any_address
        Accept every IP address as a host besides (for a server on all interfaces). A name that leads here,
        as in DNS rebinding, is refused all the same.

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
        """What a form of ours carries and a form of others cannot know."""
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

    def is_token(self, token: str) -> bool:
        """Whether this is the token (in constant time)."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def is_session(self, value: str) -> bool:
        """Whether this is the cookie's value (in constant time)."""
        return hmac.compare_digest(value.encode("utf-8", "replace"), self._session.encode())

    def is_csrf(self, value: str) -> bool:
        """Whether a form carries what only our pages know."""
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

    def _derived(self, what: str) -> str:
        return hmac.digest(self.token.encode(), f"synesthete {what}".encode(), hashlib.sha256).hex()


def credentials(gate: Gate) -> list[Any]:
    """What requests may prove themselves with, as OpenAPI describes it; the guard is what checks it."""
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
        The token asked for, or None for a new one.
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
