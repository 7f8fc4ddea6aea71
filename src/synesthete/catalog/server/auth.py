"""Authentication: the owner by token or cookie, a program by its key, within the key's scopes and rate."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request

from synesthete.catalog.keys import SCOPES, Keys
from synesthete.server.auth import LOOPBACK, Gate
from synesthete.server.errors import Refused

OWNER = "owner"
OWNER_PER_MINUTE = 6000
MOST_BUCKETS = 10_000


class KeyGate(Gate):
    """The gate of the microscope, which accepts API keys as well.

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
        """Whether this is the owner's token or a valid key."""
        return self.is_owner(token) or self.keys.find(token) is not None

    def is_owner(self, token: str) -> bool:
        """Whether this is the owner's token."""
        return super().is_token(token)


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
        limiter: RateLimiter = request.app.state.limiter
        allowance = limiter.take(caller.id, caller.per_minute)
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


@dataclass(frozen=True)
class Allowance:
    """Whether a request is within the rate, how many more are, and after how many seconds the next is."""

    allowed: bool
    left: int
    wait: float


class RateLimiter:
    """Token buckets, one for each caller, that hold a minute's worth of requests.

    Parameters
    ----------
    clock
        Seconds.

    Examples
    --------
    >>> now = [0.0]
    >>> limiter = RateLimiter(lambda: now[0])
    >>> [limiter.take("a", 2).allowed for _ in range(3)], limiter.take("b", 2).allowed
    ([True, True, False], True)
    >>> now[0] = 30.0  # after half a minute, half of the bucket is full again
    >>> [limiter.take("a", 2).allowed for _ in range(2)]
    [True, False]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, caller: str, per_minute: int) -> Allowance:
        """Take one token, where there is one."""
        now, rate = self._clock(), per_minute / 60
        with self._lock:
            tokens, since = self._buckets.pop(caller, (float(per_minute), now))
            tokens = min(float(per_minute), tokens + (now - since) * rate)
            allowed = tokens >= 1
            tokens -= allowed
            self._buckets[caller] = (tokens, now)
            while len(self._buckets) > MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
        return Allowance(allowed, int(tokens), 0.0 if tokens >= 1 else (1 - tokens) / rate)
