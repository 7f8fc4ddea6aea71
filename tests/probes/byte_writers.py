"""Writers of image files, byte by byte: what Pillow reads is not written by Pillow wherever that can be."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Order = Literal["<", ">"]


def packed(values: Array, bits: int, order: Order = ">") -> bytes:
    """Rows `[height, samples]` of unsigned integers, each row filled up to whole bytes."""
    if bits >= 8 and bits != 12:
        return values.astype(f"{order}u{bits // 8}").tobytes()
    places = np.arange(bits)[::-1]
    each = (values[..., None].astype(np.uint32) >> places) & 1
    rows = each.reshape(len(values), -1).astype(np.uint8)
    return np.packbits(rows, axis=1).tobytes()


def png(
    values: Array,
    bits: int,
    colour: int,
    *,
    palette: bytes = b"",
    clear: bytes = b"",
    chunks: Sequence[tuple[bytes, bytes]] = (),
    interlaced: bool = False,
) -> bytes:
    """A PNG of samples `[height, width, samples]`; `colour` is its colour type, `clear` the chunk tRNS."""
    height, width, _ = values.shape

    def lines(part: Array) -> bytes:
        if not part.size:
            return b""
        rows = packed(part.reshape(len(part), -1), bits)
        size = len(rows) // len(part)
        return b"".join(b"\0" + rows[at : at + size] for at in range(0, len(rows), size))

    if interlaced:  # Adam7: where each pass begins, and its steps
        passes = (
            (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
        )  # fmt: skip
        body = b"".join(lines(values[y::down, x::right]) for y, x, down, right in passes)
    else:
        body = lines(values)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    data += b"".join(_chunk(*one) for one in chunks)
    if palette:
        data += _chunk(b"PLTE", palette)
    if clear:
        data += _chunk(b"tRNS", clear)
    return data + _chunk(b"IDAT", zlib.compress(body)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# Of TIFF: tag numbers that the tests name.
EXTRA, FORMAT, ORIENTATION, PALETTE, INKS, ICC = 338, 339, 274, 320, 332, 34675
SUBSAMPLING, PREDICTOR, ROWS = 530, 317, 278
_LONG = (256, 257, 273, 279, 278, 322, 323, 324, 325)


def tiff(
    values: Array,
    bits: int,
    photometric: int,
    *,
    order: Order = "<",
    planar: bool = False,
    deflate: bool = False,
    fill_order: int = 1,
    rows: int = 0,
    tile: int = 0,
    kind: str = "u",
    tags: Mapping[int, Sequence[int] | bytes] | None = None,
    big: bool = False,
) -> bytes:
    """A TIFF of samples `[height, width, samples]`.

    Parameters
    ----------
    planar
        One plane after the other, not pixel by pixel.
    rows, tile
        Height of a strip; or side of a tile.
    kind
        Of the samples: `u`, `i` or `f`.
    tags
        Further ones: 16-bit numbers, or bytes.
    big
        BigTIFF.
    """
    height, width, samples = values.shape

    def data(part: Array) -> bytes:
        flat = part.reshape(len(part), -1)
        if kind == "u":
            return packed(flat, bits, order)
        return flat.astype(f"{order}{kind}{bits // 8}").tobytes()

    planes = [values[..., [s]] for s in range(samples)] if planar else [values]
    parts: list[bytes] = []
    for plane in planes:
        if tile:
            padded = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, plane.shape[2]))
            padded = padded.astype(values.dtype)
            padded[:height, :width] = plane
            parts += [
                data(padded[y : y + tile, x : x + tile])
                for y in range(0, height, tile)
                for x in range(0, width, tile)
            ]
        else:
            step = rows or height
            parts += [data(plane[y : y + step]) for y in range(0, height, step)]
    if deflate:
        parts = [zlib.compress(part) for part in parts]
    if fill_order == 2:  # every byte of the file's data the other way round, compressed or not
        parts = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in part) for part in parts]
    entries: dict[int, Any] = {
        256: [width], 257: [height], 258: [bits] * samples, 259: [8 if deflate else 1], 262: [photometric],
        277: [samples], 284: [2 if planar else 1], 339: [{"u": 1, "i": 2, "f": 3}[kind]] * samples,
    }  # fmt: skip
    if fill_order != 1:
        entries[266] = [fill_order]
    places, sizes = (324, 325) if tile else (273, 279)
    entries[places] = [0] * len(parts)
    entries[sizes] = [len(part) for part in parts]
    if tile:
        entries[322], entries[323] = [tile], [tile]
    else:
        entries[ROWS] = [rows or height]
    entries.update(tags or {})
    head = 16 if big else 8
    entries[places] = np.cumsum([head, *(len(part) for part in parts)])[:-1].tolist()
    body = b"".join(parts)
    return _directory(entries, body, order, big=big)


def _directory(entries: Mapping[int, Any], body: bytes, order: Order, *, big: bool) -> bytes:
    """Header, pixels, and behind them the directory with what does not fit into its entries."""
    head, count, wide = (16, "Q", "Q") if big else (8, "H", "I")
    inline = 8 if big else 4
    body += b"\0" * (-len(body) % 8)
    start = head + len(body)
    later = start + struct.calcsize(f"={count}{wide}") + len(entries) * (20 if big else 12)
    table, behind = b"", b""
    for tag, value in sorted(entries.items()):
        code, letter = (
            (7, "B") if isinstance(value, bytes) else (4, "I") if tag in _LONG else (3, "H")
        )
        content = struct.pack(f"{order}{len(value)}{letter}", *value)
        if len(content) > inline:
            place = struct.pack(f"{order}{wide}", later + len(behind))
            behind += content + b"\0" * (len(content) % 2)
        else:
            place = content.ljust(inline, b"\0")
        table += struct.pack(f"{order}HH{wide}", tag, code, len(value)) + place
    mark = b"II" if order == "<" else b"MM"
    if big:
        header = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, start)
    else:
        header = mark + struct.pack(f"{order}HI", 42, start)
    counted = struct.pack(f"{order}{count}", len(entries))
    return header + body + counted + table + struct.pack(f"{order}{wide}", 0) + behind


def bmp(
    rows: Sequence[bytes],
    width: int,
    bits: int,
    *,
    palette: bytes = b"",
    masks: Sequence[int] = (),
    compression: int = 0,
    top_down: bool = False,
    body: bytes = b"",
) -> bytes:
    """A BMP of packed rows from the top; `masks` of red, green, blue (and alpha) make it one of bit fields."""
    height = len(rows)
    laid = [row + b"\0" * (-len(row) % 4) for row in rows]
    body = body or b"".join(laid if top_down else laid[::-1])
    compression = 3 if masks else compression
    size = 108 if len(masks) == 4 else 40  # alpha takes a header of version 4
    header = struct.pack(
        "<IiiHHIIiiII", size, width, -height if top_down else height, 1, bits, compression, len(body), 2835, 2835,
        len(palette) // 4, 0,
    )  # fmt: skip
    header += struct.pack(f"<{len(masks)}I", *masks)
    if size == 108:
        header = header.ljust(108, b"\0")
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + body


def cmyk_profile(corners: Array) -> bytes:
    """An ICC profile (version 2, to Lab) of CMYK inks: what each of the 16 full or absent inks looks like.

    Parameters
    ----------
    corners
        `[2, 2, 2, 2, 3]`: Lab for cyan, magenta, yellow, black absent (0) or full (1).
    """
    lightness = corners.reshape(16, 3) * [0xFF00 / 100, 256, 256] + [0, 0x8000, 0x8000]
    grid = np.clip(np.rint(lightness), 0, 0xFFFF).astype(">u2").tobytes()
    ramp = np.array([0, 0xFFFF], ">u2").tobytes()
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 16)
    table = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + struct.pack(">HH", 2, 2)
    table += ramp * 4 + grid + ramp * 3
    text = b"made by hand\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    rights = b"text\0\0\0\0public domain\0"
    parts = [(b"desc", description), (b"cprt", rights), (b"wtpt", white), (b"A2B0", table)]
    place, index, body = 128 + 4 + 12 * len(parts), b"", b""
    for name, part in parts:
        part += b"\0" * (-len(part) % 4)
        index += name + struct.pack(">II", place + len(body), len(part))
        body += part
    header = struct.pack(">I4sI4s4s4s", 0, b"\0" * 4, 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    header = header.ljust(128, b"\0")
    whole = header + struct.pack(">I", len(parts)) + index + body
    return struct.pack(">I", len(whole)) + whole[4:]
