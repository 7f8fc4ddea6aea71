"""Authentication: the owner by token or cookie, a program by its key, within the key's scopes and rate."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request

from synesthete.catalog.keys import SCOPES, Keys
from synesthete.catalog.server.state import SharedState
from synesthete.server.auth import LOOPBACK, Gate
from synesthete.server.errors import Refused

OWNER = "owner"
OWNER_PER_MINUTE = 6000


class KeyGate(Gate):
    """The gate of the microscope, which accepts API keys as well.

    Parameters
    ----------
    keys
        Of the catalogue.
    gate
        The token, the hosts.
    shared
        What keeps the link; all workers of a server have the same.
    """

    def __init__(
        self, keys: Keys, gate: Gate | None = None, shared: SharedState | None = None
    ) -> None:
        given = gate or Gate()
        super().__init__(given.token, hosts=given.hosts or LOOPBACK, any_address=given.any_address)
        self.keys = keys
        self._shared = shared or SharedState()

    @property
    def link(self) -> str:
        """Path that opens the catalogue once, in whichever process it arrives."""
        self._shared.offer_link(self._link)
        return super().link

    def enter(self, key: str) -> bool:
        """Whether this is the key of a link that was offered; it is spent by that."""
        right = self._shared.spend_link(key)
        if right:
            self._link = secrets.token_urlsafe(24)
        return right

    def is_token(self, token: str) -> bool:
        """Whether this is the owner's token or a valid key."""
        return self.is_owner(token) or self.keys.find(token) is not None


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    Attributes
    ----------
    id
        Public part of the key, or `owner`.
    name
        What decisions are signed with.
    scopes
        What they may do.
    per_minute
        Requests a minute.
    """

    id: str
    name: str
    scopes: frozenset[str]
    per_minute: int


def caller_of(request: Request) -> Caller:
    """Who sends a request; the guard has authenticated them already, by header or by cookie.

    Raises
    ------
    Refused
        401 when the key was revoked since then.
    """
    gate: KeyGate = request.app.state.gate
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if kind.lower() == "bearer" else ""
    key = gate.keys.find(token) if token else None
    if key is not None:
        return Caller(key.id, key.name, frozenset(key.scopes), key.per_minute)
    if gate.is_owner(token) or gate.is_session(request.cookies.get(gate.cookie, "")):
        return Caller(OWNER, OWNER, frozenset(SCOPES), OWNER_PER_MINUTE)
    raise Refused(401, "authentication required", hint="send Authorization: Bearer KEY")


def requires(scope: str) -> Any:
    """A dependency: the caller, if their key has the scope and is within its rate.

    Raises
    ------
    Refused
        403 without the scope; 429, with `Retry-After`, above the rate.
    """

    def check(request: Request) -> Caller:
        caller = caller_of(request)
        shared: SharedState = request.app.state.shared
        allowance = shared.take(caller.id, caller.per_minute)
        limits = {
            "RateLimit-Limit": str(caller.per_minute),
            "RateLimit-Remaining": str(allowance.left),
            "RateLimit-Reset": str(math.ceil(allowance.wait)),
        }
        request.state.limits = limits
        if not allowance.allowed:
            limits["Retry-After"] = str(max(1, math.ceil(allowance.wait)))
            message = f"more than {caller.per_minute:,} requests a minute"
            raise Refused(429, message, hint="wait a little")
        if scope not in caller.scopes:
            hint = f"it may {', '.join(sorted(caller.scopes)) or 'nothing'}"
            raise Refused(403, f"this key may not {scope}", hint=hint)
        return caller

    return Depends(check)
