"""What decoding a file would cost, by its structure alone: files of a few kilobytes can ask for gigabytes or hours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from synesthete.probes.decoding import TooLarge

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
