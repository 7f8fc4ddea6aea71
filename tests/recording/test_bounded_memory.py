"""Memory does not grow with the number of images."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

from synesthete.recording import record
from synesthete.recording.feed import feed, micro_batches
from tests.recording.fakes import FakeModel, FakeProbes

UNITS = 300


class Quick(FakeProbes):
    """One image for all, so that the time goes into recording."""

    shared_image = FakeProbes(1).image(0)

    def image(self, index: int) -> Any:
        return self.shared_image


def peak(images: int, out: Path, **settings: Any) -> int:
    """Most bytes held by Python and numpy while recording, the labels' table apart."""
    model, probes = FakeModel(units=UNITS), Quick(images)
    gc.collect()
    tracemalloc.start()
    record(model, probes, None, out, shard_size=64, exemplars=2, **settings)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_peak_memory_of_recording(tmp_path: Path) -> None:
    peak(64, tmp_path / "warm.atlas")
    few, many = peak(128, tmp_path / "few.atlas"), peak(640, tmp_path / "many.atlas")
    more_dense = (
        4 * (640 - 128) * UNITS * 2
    )  # what the matrices of model and three twins take on disk
    assert many - few < more_dense / 6, (few, many)


def test_only_so_many_images_are_decoded_ahead() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0
    lock = threading.Lock()

    class Counting(FakeModel):
        def geometry(self, image: Any) -> Any:
            nonlocal most
            prepared = super().geometry(image)
            with lock:
                alive.add(prepared)
                most = max(most, len(alive))
            return prepared

        def preprocess(self, image: Any) -> Any:
            tensor = super().preprocess(image)
            with lock:
                alive.add(tensor)
            return tensor

    batches = micro_batches(range(512))
    requested: list[range] = []

    def watched() -> Any:
        for ids in batches:
            requested.append(ids)
            yield ids

    seen = 0
    for batch in feed(Counting(), FakeProbes(512), watched(), ahead=2, thumbnails=False):
        seen += len(batch.ids)
        # The one in use, and those ahead of it.
        assert len(requested) * 32 <= seen + 2 * 32
    assert seen == 512
    # Of the one that is being prepared: its images, and the tensor of each.
    assert most <= 64
