"""What a run leaves to the end of its process ends with each test: a helper would compute on beside all later ones."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def workers_end() -> Iterator[None]:
    before = set(multiprocessing.active_children())
    yield
    for worker in set(multiprocessing.active_children()) - before:
        worker.kill()
        worker.join()
