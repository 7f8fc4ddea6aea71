"""Images of requests: limits of pixels, few at once, a bounded queue; and what a file would cost is seen beforehand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from synesthete.probes import request_images
from synesthete.probes.decoding import UnreadableImage, decode
from synesthete.probes.request_images import (
    Busy,
    Gate,
    RequestImageTooLarge,
    RequestTooLarge,
    check_cost,
    request_limits,
    see,
)
from tests.probes.byte_writers import png
from tests.probes.samples import corpus, encoded, scene
from tests.torture.bombs import jpeg_of_scans, png_of_texts

pytestmark = pytest.mark.filterwarnings("ignore")
LIMIT = request_images.MAX_PIXELS


def size(image: Image.Image) -> tuple[int, int]:
    return image.size


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """As many pixels as a `scene` has; the cost of a progressive JPEG follows it."""
    monkeypatch.setattr(request_images, "MAX_PIXELS", 1200)
    with request_limits():
        yield 1200


def test_without_a_request_an_image_is_decoded_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_images, "MAX_PIXELS", 10)
    for kind, data in corpus().items():
        if "frames" not in kind:
            assert see(data, np.asarray).tolist() == np.asarray(decode(data)).tolist()


def test_a_requests_image_below_the_limit_has_the_same_pixels() -> None:
    with request_limits():
        for kind, data in corpus().items():
            if "frames" not in kind:
                assert see(data, np.asarray).tolist() == np.asarray(decode(data)).tolist()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_what_cannot_be_decoded_smaller_is_refused_with_the_limit(
    kind: str, small_limit: int
) -> None:
    assert see(encoded(scene(40, 30), kind), size) == (40, 30)
    with pytest.raises(RequestImageTooLarge, match="limit of 1,200"):
        see(encoded(scene(40, 31), kind), size)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize(
    ("given", "decoded"),
    [((40, 30), (40, 30)), ((80, 60), (40, 30)), ((81, 59), (41, 30)), ((159, 121), (40, 31)), ((157, 121), (40, 31)), ((160, 120), (40, 30)), ((300, 200), (38, 25))],
)  # fmt: skip
def test_jpegs_above_the_limit_are_decoded_smaller(
    kind: str, given: tuple[int, int], decoded: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_images, "MAX_PIXELS", 1250 * (1 + (kind == "JPEG2000")))
    whole = scene(*given)
    with request_limits():
        seen = see(encoded(whole, kind), lambda image: image)
    assert seen.size == decoded
    near = np.asarray(whole.resize(seen.size, Image.Resampling.BOX)).astype(float)[..., :2]
    assert np.abs(np.asarray(seen).astype(float)[..., :2] - near).mean() < 6


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_more_than_eight_times_the_side_is_refused(kind: str, small_limit: int) -> None:
    with pytest.raises(RequestImageTooLarge, match="limit of"):
        see(encoded(scene(400, 300), kind), size)


def test_a_phones_photo_of_48_megapixels_is_seen() -> None:
    data = encoded(Image.new("RGB", (8000, 6000), "teal"), "JPEG")
    with request_limits():
        assert see(data, size) == (4000, 3000)


def test_jpeg2000_that_cannot_be_halved_is_refused(small_limit: int) -> None:
    data = encoded(scene(80, 60), "JPEG2000", num_resolutions=1)
    with pytest.raises(RequestImageTooLarge, match="limit of 600"):
        see(data, size)


def test_a_progressive_jpeg_counts_in_full(small_limit: int) -> None:
    assert see(encoded(scene(80, 60), "JPEG"), size) == (40, 30)
    assert see(encoded(scene(80, 60), "JPEG", progressive=True), size) == (40, 30)
    with pytest.raises(RequestImageTooLarge, match="progressive"):
        see(encoded(scene(160, 120), "JPEG", progressive=True), size)
    assert see(encoded(scene(160, 120), "JPEG"), size) == (40, 30)


def test_greedy_formats_take_both_places() -> None:
    for kind, data in corpus().items():
        greedy = kind.split()[0] in ("webp", "tiff", "avif", "jpeg2000") or "progressive" in kind
        assert check_cost(data, LIMIT) == 1 + greedy, kind


def test_scans_and_compressed_texts_are_counted() -> None:
    with pytest.raises(UnreadableImage, match="100 scans"):
        check_cost(jpeg_of_scans(), LIMIT)
    with pytest.raises(UnreadableImage, match="16 compressed texts"):
        check_cost(png_of_texts(), LIMIT)
    plain = b"note\0\0\0\0\0hello"
    data = png(np.zeros((8, 8, 3), np.uint8), 8, 2, chunks=[(b"iTXt", plain)] * 60)
    assert check_cost(data, LIMIT) == 1


def test_a_request_has_a_limit_for_all_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_images, "MAX_PIXELS_TOGETHER", 3 * 1200)
    data = encoded(scene(40, 30), "PNG")
    for _ in range(2):  # another request counts from 0
        with request_limits():
            for _ in range(3):
                see(data, size)
            with pytest.raises(RequestTooLarge, match="3,600 pixels together"):
                see(data, size)


def entered(gate: Gate, places: int, log: list[str], name: str) -> threading.Thread:
    def work() -> None:
        try:
            with gate.enter(places):
                log.append(name)
        except Busy:
            log.append(f"{name} busy")

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_gate_lets_two_in_and_the_others_in_turn() -> None:
    gate, log = Gate(at_once=2, most_waiting=9, longest_wait=600), []
    with gate.enter(), gate.enter():
        waiting = []
        # The second needs both places: those behind it do not overtake it.
        for number, places in enumerate((1, 2, 1)):
            waiting.append(entered(gate, places, log, str(number)))
            until(lambda: len(gate._queue) == len(waiting))
        assert log == []
    for thread in waiting:
        thread.join(600)
    assert log == ["0", "1", "2"]
    assert (gate._free, len(gate._queue)) == (2, 0)


def test_a_full_queue_refuses_and_a_long_wait_ends() -> None:
    gate, log = Gate(at_once=1, most_waiting=1, longest_wait=0.3), []
    with gate.enter():
        first = entered(gate, 1, log, "first")
        until(lambda: len(gate._queue) == 1)
        with pytest.raises(Busy), gate.enter():
            pass
        first.join(600)
        assert log == ["first busy"]
    with gate.enter(5):  # more than there are: all of them
        pass
    assert (gate._free, len(gate._queue)) == (1, 0)


def test_a_failure_inside_frees_the_place() -> None:
    gate = Gate(at_once=1, most_waiting=0)
    for _ in range(3):
        with pytest.raises(UnreadableImage), request_limits(gate):
            see(b"no image", size)
    assert gate._free == 1
