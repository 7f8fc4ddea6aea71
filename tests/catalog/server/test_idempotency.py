"""A request with an idempotency key is carried out once, however many send it at the same time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from synesthete.catalog.server.idempotency import IdempotentRequests

WAITERS = 6


def test_the_same_request_sent_at_once_is_carried_out_once(tmp_path: Path) -> None:
    """One that fails hands over to one that waits, while others come: no two may work at the same time."""
    requests = IdempotentRequests(tmp_path)
    guard, working, most, calls = threading.Lock(), 0, 0, 0

    def work() -> bytes:
        nonlocal working, most, calls
        with guard:
            calls += 1
            working += 1
            most, first = max(most, working), calls <= 3
        time.sleep(0.05)
        with guard:
            working -= 1
        if first:
            raise OSError("the disk is full")
        return b"{}"

    def send() -> None:
        try:
            requests.respond("ann", "key", "POST /items", b"body", work)
        except OSError:
            send()

    threads = [threading.Thread(target=send) for _ in range(WAITERS)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert (most, calls) == (1, 4)
    assert requests.respond("ann", "key", "POST /items", b"body", work) == (b"{}", True)
    assert requests._locks == {}
