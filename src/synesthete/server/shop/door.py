"""Who calls: the owner with the token or the cookie, or a program with a key, which may do what its scopes say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request

from synesthete.catalog.keys import SCOPES, Keys
from synesthete.server.auth import LOOPBACK, Gate
from synesthete.server.errors import Refused
from synesthete.server.shop.limits import Limiter

OWNER = "owner"
OWNER_PER_MINUTE = 6000


class ShopGate(Gate):
    """The gate of the microscope, which opens to keys as well.

    Parameters
    ----------
    keys
        Of the catalogue.
    gate
        The token, the hosts.
    """

    def __init__(self, keys: Keys, gate: Gate | None = None) -> None:
        given = gate or Gate()
        super().__init__(given.token, hosts=given.hosts or LOOPBACK, any_address=given.any_address)
        self.keys = keys

    def is_token(self, token: str) -> bool:
        """Whether this is the owner's token or a key that works."""
        return self.is_owner(token) or self.keys.find(token) is not None

    def is_owner(self, token: str) -> bool:
        """Whether this is the owner's token."""
        return super().is_token(token)


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes
    ----------
    id
        Public part of the key, or `owner`.
    name
        What acts are signed with.
    scopes
        What they may do.
    per_minute
        How often.
    """

    id: str
    name: str
    scopes: frozenset[str]
    per_minute: int


def caller_of(request: Request) -> Caller:
    """Who asks; the guard has let them in already, by header or by cookie.

    Raises
    ------
    Refused
        401 when the key was revoked since then.
    """
    gate: ShopGate = request.app.state.gate
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if kind.lower() == "bearer" else ""
    key = gate.keys.find(token) if token else None
    if key is not None:
        return Caller(key.id, key.name, frozenset(key.scopes), key.per_minute)
    if gate.is_owner(token) or gate.is_session(request.cookies.get(gate.cookie, "")):
        return Caller(OWNER, OWNER, frozenset(SCOPES), OWNER_PER_MINUTE)
    raise Refused(
        401, "the catalogue is closed without a key", hint="send Authorization: Bearer KEY"
    )


def may(scope: str) -> Any:
    """A dependency: the caller, if they may do this and not too often.

    Raises
    ------
    Refused
        403 without the scope; 429, with `Retry-After`, above the rate.
    """

    def check(request: Request) -> Caller:
        caller = caller_of(request)
        limiter: Limiter = request.app.state.limiter
        allowance = limiter.ask(caller.id, caller.per_minute)
        limits = {
            "RateLimit-Limit": str(caller.per_minute),
            "RateLimit-Remaining": str(allowance.left),
            "RateLimit-Reset": str(math.ceil(allowance.wait)),
        }
        request.state.limits = limits
        if not allowance.allowed:
            request.state.limits = {**limits, "Retry-After": str(max(1, math.ceil(allowance.wait)))}
            raise Refused(
                429, f"more than {caller.per_minute:,} requests a minute", hint="wait a little"
            )
        if scope not in caller.scopes:
            raise Refused(
                403,
                f"this key may not {scope}",
                hint=f"it may {', '.join(sorted(caller.scopes)) or 'nothing'}",
            )
        return caller

    return Depends(check)
