"""Images that requests bring: how large they may be, how many are decoded at once, and how long one waits for that."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.probes.decoding import TooLarge, decode

MAX_PIXELS = 16_000_000
MAX_PIXELS_TOGETHER = 256_000_000  # of all images of one request
AT_ONCE, MOST_WAITING, LONGEST_WAIT = 2, 24, 10.0
Result = TypeVar("Result")


class Busy(SynestheteError):
    """Too much is being decoded; the request may be sent again after `retry_after` seconds."""

    retry_after = 2


class RequestTooLarge(SynestheteError):
    """The images of one request have too many pixels together."""


class RequestImageTooLarge(TooLarge):
    """An image of a request above the limit."""


class Gate:
    """Lets few decode at once; the others wait in a queue of bounded length, for a bounded time, first come first served.

    Parameters
    ----------
    at_once
        Places inside.
    most_waiting
        Length of the queue; who comes when it is full is refused at once.
    longest_wait
        Seconds.

    Examples
    --------
    >>> gate = Gate(at_once=1, most_waiting=0)
    >>> with gate.enter():
    ...     with gate.enter():
    ...         pass
    Traceback (most recent call last):
    ...
    synesthete.probes.request_images.Busy: too many images are being decoded (send it again in 2 seconds)
    """

    def __init__(
        self,
        at_once: int = AT_ONCE,
        most_waiting: int = MOST_WAITING,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        self._places, self._free = at_once, at_once
        self._most_waiting, self._longest_wait = most_waiting, longest_wait
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def enter(self, places: int = 1) -> Iterator[None]:
        """Wait for a turn and hold so many places.

        Raises
        ------
        Busy
            The queue is full, or the wait too long.
        """
        places, mine = min(places, self._places), object()
        with self._changed:
            blocked = bool(self._queue) or self._free < places
            if blocked and len(self._queue) >= self._most_waiting:
                raise _busy()
            self._queue.append(mine)
            try:
                if not self._changed.wait_for(
                    lambda: self._queue[0] is mine and self._free >= places, self._longest_wait
                ):
                    raise _busy()
                self._free -= places
            finally:
                self._queue.remove(mine)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += places
                self._changed.notify_all()


class _Request:
    """What one request may still have decoded."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.left = MAX_PIXELS_TOGETHER


GATE = Gate()
_REQUEST: ContextVar[_Request | None] = ContextVar("request", default=None)


@contextmanager
def request_limits(gate: Gate | None = None) -> Iterator[None]:
    """Inside of it, and in threads that inherit its context, `see` keeps to the limits of one request."""
    token = _REQUEST.set(_Request(gate or GATE))
    try:
        yield
    finally:
        _REQUEST.reset(token)


def see(data: bytes, use: Callable[[Image.Image], Result]) -> Result:
    """Decode an image and hand it to `use`, whose result is small; the image is not kept.

    For an image of a request (`request_limits`) this happens behind the gate, and under the request's limits; JPEG and
    JPEG 2000 above it (2000: above half of it) are decoded at a half, a quarter or an eighth of their side.

    Parameters
    ----------
    data
        The bytes of the file.
    use
        What is made of the image, such as a model's input.

    Raises
    ------
    UnreadableImage
        As for `decode`; `RequestImageTooLarge` above the limit of a request.
    RequestTooLarge
        The request's images are too large together.
    Busy
        Too many wait already, or the wait was too long.
    """
    request = _REQUEST.get()
    if request is None:
        return use(decode(data))
    try:
        with request.gate.enter(check_cost(data, MAX_PIXELS)):
            return use(_decode(data, request))
    except TooLarge as error:
        raise RequestImageTooLarge(error.message, hint=error.hint) from None


def _decode(data: bytes, request: _Request) -> Image.Image:
    image = decode(data, max_pixels=MAX_PIXELS, reduced=True)
    request.left -= image.width * image.height
    if request.left < 0:
        raise RequestTooLarge(
            f"the images of one request have more than {MAX_PIXELS_TOGETHER:,} pixels together",
            hint="send fewer at once, or smaller ones",
        )
    return image


def _busy() -> Busy:
    return Busy(
        "too many images are being decoded", hint=f"send it again in {Busy.retry_after} seconds"
    )


MAX_SCANS = 100  # encoders write about ten
HELD_A_PIXEL = 12
MAX_PACKED_TEXTS = 16  # compressed notes of a PNG; each may unfold to a megabyte
# Held by decoders several times over: these are decoded alone.
_GREEDY = (
    (0, b"RIFF"),
    (4, b"ftyp"),
    (0, b"\xff\x4f\xff\x51"),
    (4, b"jP  "),
    (0, b"II"),
    (0, b"MM"),
)
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))


@dataclass(frozen=True)
class _Jpeg:
    """`held`: bytes of coefficients that the decoder holds at once, 0 if it goes row by row."""

    held: int
    scans: int


def check_cost(data: bytes, max_pixels: int) -> int:
    """How many places at the gate a file takes: 1, or 2 where its decoder holds the image several times over.

    Parameters
    ----------
    max_pixels
        The limit of the caller. A progressive JPEG is held as a whole, whatever size it is decoded at: 12 bytes for
        each of these pixels are the limit of that.

    Raises
    ------
    TooLarge
        A JPEG of too many scans, or of too many coefficients; a PNG of too many compressed notes.
    """
    if data.startswith(b"\xff\xd8"):
        jpeg = _read_jpeg(data)
        if jpeg.scans > MAX_SCANS:
            raise TooLarge(f"a JPEG of more than {MAX_SCANS} scans", hint="save it again")
        if jpeg.held > HELD_A_PIXEL * max_pixels:
            raise TooLarge(
                f"a progressive JPEG of which {jpeg.held >> 20:,} MiB are held at once, "
                f"more than the limit of {HELD_A_PIXEL * max_pixels >> 20:,}",
                hint="make it smaller, or save it as a baseline JPEG",
            )
        return 2 if jpeg.held else 1
    if data.startswith(b"\x89PNG"):
        _check_png(data)
        return 1
    return 2 if any(data.startswith(mark, place) for place, mark in _GREEDY) else 1


def _read_jpeg(data: bytes) -> _Jpeg:
    """The frame and the scans of the first image in the file; damage is left for the decoder to find."""
    frame, bands, scans, held, place = 0, 0, 0, 0, 2
    while scans <= MAX_SCANS and (found := _MARKER.search(data, place)):
        marker, start = data[found.start() + 1], found.end()
        size = int.from_bytes(data[start : start + 2], "big")
        part = data[start + 2 : start + size]
        place = start + max(size, 2)
        if marker == 0xD9:
            break
        if marker in _FRAMES and len(part) >= 6 and not frame:
            height, width, bands = (
                int.from_bytes(part[1:3], "big"),
                int.from_bytes(part[3:5], "big"),
                part[5],
            )
            sampling = [(one >> 4) * (one & 15) for one in part[7 : 6 + 3 * bands : 3]]
            frame = 2 * width * height * sum(sampling) // max([*sampling, 1])
            held = frame if marker in _PROGRESSIVE else 0
        elif marker == 0xDA and part:
            scans += 1
            if part[0] < bands:  # the bands come one after the other
                held = frame
    return _Jpeg(held, scans)


def _check_png(data: bytes) -> None:
    place, packed = 8, 0
    while place + 8 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if kind == b"zTXt":
            packed += 1
        elif kind == b"iTXt":
            body = data[place + 8 : place + 8 + min(size, 100)]
            flag = body.find(b"\0") + 1
            packed += body[flag : flag + 1] != b"\0"
        if packed > MAX_PACKED_TEXTS:
            raise TooLarge(
                f"a PNG of more than {MAX_PACKED_TEXTS} compressed texts", hint="save it again"
            )
        place += 12 + size
