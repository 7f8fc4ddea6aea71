"""Opaque ids of images: they say nothing of files, order or number, and stay the same for ever."""

from __future__ import annotations

import hmac

import numpy as np
import numpy.typing as npt

DIGITS = 16


class OpaqueIds:
    """Image ids as people see them in addresses.

    An id is the first 64 bits of HMAC-SHA256 of the image's number under the atlas's fingerprint: the same
    in every run, so that addresses are permanent, and different in every atlas.

    Parameters
    ----------
    fingerprint
        Of the atlas.
    images
        How many it has.

    Examples
    --------
    >>> ids = OpaqueIds("f00d", 3)
    >>> ids.number(ids.key(2)), ids.number("0123456789abcdef"), ids.number("../etc/passwd")
    (2, None, None)
    """

    def __init__(self, fingerprint: str, images: int) -> None:
        self._secret = f"synesthete image {fingerprint}".encode()
        self._images = images
        self._sorted: tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]] | None = None

    def key(self, image: int) -> str:
        """The opaque id of an image."""
        return self._digest(image).hex()

    def number(self, key: str) -> int | None:
        """The image of an opaque id; None where there is none."""
        if len(key) != DIGITS or not set(key) <= set("0123456789abcdef"):
            return None
        keys, numbers = self._index()
        wanted = np.uint64(int(key, 16))
        place = int(np.searchsorted(keys, wanted))
        if place == len(keys) or keys[place] != wanted:
            return None
        return int(numbers[place])

    def _digest(self, image: int) -> bytes:
        return hmac.digest(self._secret, str(image).encode(), "sha256")[: DIGITS // 2]

    def _index(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """All ids sorted, 16 bytes an image; made when first asked for."""
        if self._sorted is None:
            every = b"".join(self._digest(image) for image in range(self._images))
            keys = np.frombuffer(every, ">u8").astype(np.uint64)
            order = np.argsort(keys)
            self._sorted = keys[order], order.astype(np.int64)
        return self._sorted
