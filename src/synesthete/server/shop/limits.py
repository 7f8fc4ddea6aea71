"""How often a key may ask: a bucket that fills as time goes, for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_BUCKETS = 10_000


@dataclass(frozen=True)
class Allowance:
    """Whether a request may be made, how many more, and after how many seconds the next may."""

    allowed: bool
    left: int
    wait: float


class Limiter:
    """Buckets of tokens, one for each caller; a minute's worth fits in.

    Parameters
    ----------
    clock
        Seconds.

    Examples
    --------
    >>> now = [0.0]
    >>> limiter = Limiter(lambda: now[0])
    >>> [limiter.ask("a", 2).allowed for _ in range(3)], limiter.ask("b", 2).allowed
    ([True, True, False], True)
    >>> now[0] = 30.0  # half a minute later, half of it is there again
    >>> [limiter.ask("a", 2).allowed for _ in range(2)]
    [True, False]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def ask(self, caller: str, per_minute: int) -> Allowance:
        """Take one token, where there is one."""
        now, rate = self._clock(), per_minute / 60
        with self._lock:
            held, since = self._kept.pop(caller, (float(per_minute), now))
            held = min(float(per_minute), held + (now - since) * rate)
            allowed = held >= 1
            held -= allowed
            self._kept[caller] = (held, now)
            while len(self._kept) > MOST_BUCKETS:
                del self._kept[next(iter(self._kept))]
        return Allowance(allowed, int(held), 0.0 if held >= 1 else (1 - held) / rate)
