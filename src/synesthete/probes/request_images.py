"""Images that requests bring: how large they may be, how many are decoded at once, and how long one waits for that."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.probes.decoding import TooLarge, decode
from synesthete.probes.decoding_cost import check_cost

MAX_PIXELS = 16_000_000
MAX_PIXELS_TOGETHER = 256_000_000  # of all images of one request
AT_ONCE, MOST_WAITING, LONGEST_WAIT = 2, 24, 10.0
Made = TypeVar("Made")


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


def see(data: bytes, use: Callable[[Image.Image], Made]) -> Made:
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
