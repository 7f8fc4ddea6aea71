"""Images of every kind with the pixels that they should decode to, computed without Pillow."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.probes import byte_writers
from tests.probes.byte_writers import Order, bmp, cmyk_profile, packed, png, tiff

Array = npt.NDArray[Any]
ORDERS: tuple[Order, Order] = ("<", ">")
HEIGHT, WIDTH = 11, 19
WHITE = 255.0


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes
    ----------
    expected
        `[height, width, 3]`, 0 to 255; None for what must be refused.
    tolerance
        By how much each value may differ: 0.5 for rounding, 1 where a decoder drops the lower bits.
    may_refuse
        Quarantine is as good as the right pixels.
    """

    name: str
    data: bytes
    expected: Array | None
    tolerance: float = 0.5
    may_refuse: bool = False


@lru_cache(maxsize=1)
def cases() -> dict[str, Case]:
    """All of them by name."""
    parts = (
        _png,
        _tiff_grey,
        _tiff_colour,
        _tiff_shapes,
        _bmp,
        _pnm,
        _gif,
        _jpeg,
        _webp,
        _jpeg2000,
        _avif,
    )
    found = [case for part in parts for case in part()]
    by_name = {case.name: case for case in found}
    assert len(by_name) == len(found)
    return by_name


def grey(bits: int, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Samples over the whole range, not the same when turned, mirrored or byte-swapped."""
    values = np.linspace(0, 2**bits - 1, height * width).round().astype(np.uint64)
    return values.reshape(height, width, 1)


def colour(bits: int, samples: int = 3) -> Array:
    """Samples of several bands, each another ramp."""
    one = grey(bits)[..., 0]
    bands = (one, one[::-1], one[:, ::-1], 2**bits - 1 - one // 3, one // 2)
    return np.stack(bands[:samples], axis=-1)


def shown(values: Array, bits: int) -> Array:
    """What samples look like: white is the largest, and grey has three equal bands."""
    scaled = values.astype(np.float64) * (WHITE / (2**bits - 1))
    return np.repeat(scaled, 3, axis=-1) if scaled.shape[-1] == 1 else scaled


def on_white(values: Array, alpha: Array) -> Array:
    """Straight alpha, 0 to 1 `[height, width, 1]`."""
    return values * alpha + WHITE * (1 - alpha)


def _alpha() -> Array:
    return np.linspace(0, 255, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH, 1)[::-1]


def _png() -> Iterator[Case]:
    for bits in (1, 2, 4, 8, 16):
        values = grey(bits)
        yield Case(f"png grey {bits}", png(values, bits, 0), shown(values, bits))
        yield Case(
            f"png grey {bits} interlaced",
            png(values, bits, 0, interlaced=True),
            shown(values, bits),
        )
        middle = int(values[5, 9, 0])
        clear = struct.pack(">H", middle)
        expected = np.where(values == middle, WHITE, shown(values, bits))
        yield Case(f"png grey {bits} one value clear", png(values, bits, 0, clear=clear), expected)
    for bits in (8, 16):
        # Pillow keeps the upper byte of deep colours.
        tolerance = 0.5 if bits == 8 else 1.0
        values = colour(bits)
        yield Case(f"png rgb {bits}", png(values, bits, 2), shown(values, bits), tolerance)
        yield Case(
            f"png rgb {bits} interlaced", png(values, bits, 2, interlaced=True), shown(values, bits), tolerance
        )  # fmt: skip
        middle = values[5, 9].tolist()
        expected = np.where((values == middle).all(-1, keepdims=True), WHITE, shown(values, bits))
        clear = struct.pack(">3H", *middle)
        yield Case(
            f"png rgb {bits} one colour clear",
            png(values, bits, 2, clear=clear),
            expected,
            tolerance,
            bits == 16,
        )
        alpha = _alpha() / 255
        deep = np.rint(alpha * (2**bits - 1)).astype(np.uint64)
        for name, kind, base in (("grey", 4, grey(bits)), ("rgb", 6, values)):
            with_alpha = np.concatenate([base, deep], axis=-1)
            expected = on_white(shown(base, bits), alpha)
            yield Case(
                f"png {name} alpha {bits}", png(with_alpha, bits, kind), expected, tolerance + 0.5
            )
    for bits in (1, 2, 4, 8):
        values, colours = _palette(bits)
        data = png(values, bits, 3, palette=colours.tobytes())
        yield Case(f"png palette {bits}", data, colours[values[..., 0]].astype(float))
        alphas = np.linspace(0, 255, len(colours)).round().astype(np.uint8)
        data = png(values, bits, 3, palette=colours.tobytes(), clear=alphas.tobytes())
        expected = on_white(colours[values[..., 0]], alphas[values] / 255)
        yield Case(f"png palette {bits} with alphas", data, expected, 1.0)
        data = png(values, bits, 3, palette=colours.tobytes(), clear=b"\xff\x00")
        clear_one = np.where(values == 1, WHITE, colours[values[..., 0]].astype(float))
        yield Case(f"png palette {bits} one index clear", data, clear_one)
    values = colour(8)
    gamma = [(b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")]
    yield Case("png gamma is left alone", png(values, 8, 2, chunks=gamma), shown(values, 8))
    for orientation in range(1, 9):
        exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
        data = png(values, 8, 2, chunks=[(b"eXIf", exif)])
        yield Case(f"png orientation {orientation}", data, turned(shown(values, 8), orientation))


def turned(values: Array, orientation: int) -> Array:
    """Stored rows as they are to be seen (EXIF 2.3, tag 0x0112)."""
    flipped = {
        1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 5: values.transpose(1, 0, 2),
        6: np.rot90(values, -1), 7: values[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(values, 1),
    }  # fmt: skip
    return flipped[orientation]


def _palette(bits: int) -> tuple[Array, Array]:
    colours = (
        colour(8).reshape(-1, 3)[:: max(1, HEIGHT * WIDTH // 2**bits)][: 2**bits].astype(np.uint8)
    )
    if len(colours) < 2**bits:
        colours = np.concatenate([colours, np.full((2**bits - len(colours), 3), 7, np.uint8)])
    values = (np.arange(HEIGHT * WIDTH) % 2**bits).reshape(HEIGHT, WIDTH, 1)
    return values, colours


def _tiff_grey() -> Iterator[Case]:
    for order in ORDERS:
        end = "little" if order == "<" else "big"
        for deflate in (False, True):
            how = f"{end}{' deflate' if deflate else ''}"
            for bits in (1, 2, 4, 8, 12, 16):
                values = grey(bits)
                for white, photometric in (("black", 1), ("white", 0)):
                    looks = shown(values, bits) if photometric else WHITE - shown(values, bits)
                    data = tiff(values, bits, photometric, order=order, deflate=deflate)
                    yield Case(
                        f"tiff grey {bits} zero is {white} {how}", data, looks, may_refuse=bits > 8
                    )
                if bits <= 8:
                    data = tiff(values, bits, 1, order=order, deflate=deflate, fill_order=2)
                    yield Case(
                        f"tiff grey {bits} lowest bit first {how}", data, shown(values, bits)
                    )
            unit = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
            for bits in (16, 32, 64):
                for white, photometric in (("black", 1), ("white", 0)):
                    looks = shown(unit, 1) if photometric else WHITE - shown(unit, 1)
                    data = tiff(unit, bits, photometric, order=order, deflate=deflate, kind="f")
                    yield Case(
                        f"tiff float {bits} zero is {white} {how}",
                        data,
                        looks,
                        may_refuse=bits != 32 or order == ">",
                    )
            for bits, top in ((8, 127), (16, 32767)):
                values = np.linspace(0, top, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH, 1)
                for white, photometric in (("black", 1), ("white", 0)):
                    looks = (
                        shown(values / top, 1) if photometric else WHITE - shown(values / top, 1)
                    )
                    data = tiff(values, bits, photometric, order=order, deflate=deflate, kind="i")
                    yield Case(
                        f"tiff signed {bits} zero is {white} {how}", data, looks, may_refuse=True
                    )
                below = values - top // 2
                data = tiff(below, bits, 1, order=order, deflate=deflate, kind="i")
                yield Case(f"tiff signed {bits} below zero {how}", data, None)
            values = grey(16)
            data = tiff(values, 32, 1, order=order, deflate=deflate)
            yield Case(
                f"tiff unsigned 32 up to 65,535 {how}", data, shown(values, 16), may_refuse=True
            )
            # 32 bits are read up to 65,535 where they are signed or not: beyond it white is not known.
            data = tiff(grey(32), 32, 1, order=order, deflate=deflate)
            yield Case(f"tiff unsigned 32 up to its end {how}", data, None)


def _tiff_colour() -> Iterator[Case]:
    for order in ORDERS:
        end = "little" if order == "<" else "big"
        for planar in (False, True):
            for deflate in (False, True):
                how = f"{end} {'planar' if planar else 'chunky'}{' deflate' if deflate else ''}"

                def file(values: Array, bits: int, photometric: int, **tags: Any) -> bytes:
                    return tiff(
                        values, bits, photometric, order=order, planar=planar, deflate=deflate,  # noqa: B023
                        kind=tags.pop("kind", "u"), tags={getattr(byte_writers, key): value for key, value in tags.items()},
                    )  # fmt: skip

                for bits in (8, 16):
                    tolerance = 0.5 if bits == 8 else 1.0
                    values, alpha = colour(bits), _alpha() / 255
                    yield Case(
                        f"tiff rgb {bits} {how}",
                        file(values, bits, 2),
                        shown(values, bits),
                        tolerance,
                        planar,
                    )
                    deep = np.rint(alpha * (2**bits - 1)).astype(np.uint64)
                    for name, photometric, base in (("grey", 1, grey(bits)), ("rgb", 2, values)):
                        looks = shown(base, bits)
                        straight = np.concatenate([base, deep], axis=-1)
                        yield Case(
                            f"tiff {name} alpha {bits} {how}", file(straight, bits, photometric, EXTRA=[2]),
                            on_white(looks, alpha), tolerance + 0.5, True,
                        )  # fmt: skip
                        times = np.rint(base * alpha).astype(np.uint64)
                        premultiplied = np.concatenate([times, deep], axis=-1)
                        # What is lost where the colour is multiplied by little is lost.
                        yield Case(
                            f"tiff {name} premultiplied alpha {bits} {how}", file(premultiplied, bits, photometric, EXTRA=[1]),
                            on_white(looks, alpha), tolerance + 1.5, True,
                        )  # fmt: skip
                        yield Case(
                            f"tiff {name} spare band {bits} {how}", file(straight, bits, photometric, EXTRA=[0]),
                            looks, tolerance, True,
                        )  # fmt: skip
                    inks = colour(bits, 4)
                    full = inks / (2**bits - 1)
                    looks = WHITE * (1 - full[..., :3]) * (1 - full[..., 3:])
                    yield Case(
                        f"tiff cmyk {bits} {how}",
                        file(inks, bits, 5),
                        looks,
                        tolerance + 1,
                        planar or bits == 16,
                    )
                values = colour(8)
                data = file(values, 8, 6, SUBSAMPLING=[1, 1])
                yield Case(f"tiff ycbcr {how}", data, from_ycc(values), 2.0, planar or not deflate)
                unit = values / 255
                yield Case(
                    f"tiff float rgb {how}",
                    file(unit, 32, 2, kind="f"),
                    shown(values, 8),
                    may_refuse=True,
                )
                yield Case(f"tiff lab {how}", file(values, 8, 8), None)
                if not planar:
                    for bits in (1, 2, 4, 8):
                        index, colours = _palette(bits)
                        # Unequal bytes: whoever reads the lower one sees another colour.
                        deep = (colours.T.astype(int) * 256 + 17).ravel().tolist()
                        looks = colours[index[..., 0]].astype(float)
                        yield Case(
                            f"tiff palette {bits} {how}",
                            file(index, bits, 3, PALETTE=deep),
                            looks,
                            1.0,
                        )


def from_ycc(values: Array) -> Array:
    """JFIF's conversion, which is TIFF's with its default coefficients."""
    luma, blue, red = np.moveaxis(values.astype(float), -1, 0)
    rgb = (
        luma + 1.402 * (red - 128),
        luma - 0.114 * 1.772 / 0.587 * (blue - 128) - 0.299 * 1.402 / 0.587 * (red - 128),
        luma + 1.772 * (blue - 128),
    )
    return np.clip(np.stack(rgb, axis=-1), 0, 255)


def _tiff_shapes() -> Iterator[Case]:
    values, deep = colour(8), colour(16)
    for order in ORDERS:
        end = "little" if order == "<" else "big"
        for deflate in (False, True):
            how = f"{end}{' deflate' if deflate else ''}"
            for planar in (False, True):
                planes = " planar" if planar else ""
                data = tiff(values, 8, 2, order=order, deflate=deflate, planar=planar, tile=16)
                yield Case(
                    f"tiff rgb tiled{planes} {how}", data, shown(values, 8), may_refuse=planar
                )
                data = tiff(deep, 16, 2, order=order, deflate=deflate, planar=planar, tile=16)
                yield Case(f"tiff rgb 16 tiled{planes} {how}", data, shown(deep, 16), 1.0, planar)
                data = tiff(values, 8, 2, order=order, deflate=deflate, planar=planar, rows=3)
                yield Case(
                    f"tiff rgb in strips{planes} {how}", data, shown(values, 8), may_refuse=planar
                )
                data = tiff(deep, 16, 2, order=order, deflate=deflate, planar=planar, rows=3)
                yield Case(
                    f"tiff rgb 16 in strips{planes} {how}", data, shown(deep, 16), 1.0, planar
                )
            one = grey(16)
            data = tiff(one, 16, 1, order=order, deflate=deflate, tile=16)
            yield Case(f"tiff grey 16 tiled {how}", data, shown(one, 16), may_refuse=deflate)
            data = tiff(values, 8, 2, order=order, deflate=deflate, big=True)
            yield Case(f"bigtiff rgb {how}", data, shown(values, 8), may_refuse=order == ">")
            for orientation in range(1, 9):
                tags = {byte_writers.ORIENTATION: [orientation]}
                data = tiff(values, 8, 2, order=order, deflate=deflate, tags=tags)
                yield Case(
                    f"tiff orientation {orientation} {how}",
                    data,
                    turned(shown(values, 8), orientation),
                )
        for bits, whole in ((8, values), (16, deep)):
            apart = np.diff(whole.astype(np.int64), axis=1, prepend=0) % 2**bits
            data = tiff(
                apart, bits, 2, order=order, deflate=True, tags={byte_writers.PREDICTOR: [2]}
            )
            yield Case(
                f"tiff rgb {bits} predictor {end}",
                data,
                shown(whole, bits),
                1.0 if bits == 16 else 0.5,
            )
    yield Case("tiff transparency mask", tiff(grey(1), 1, 4), None)


def _bmp() -> Iterator[Case]:
    values = colour(8)
    rows = [row[:, ::-1].astype(np.uint8).tobytes() for row in values]
    yield Case("bmp 24", bmp(rows, WIDTH, 24), shown(values, 8))
    yield Case("bmp 24 from the top", bmp(rows, WIDTH, 24, top_down=True), shown(values, 8))
    for bits in (1, 4, 8):
        index, colours = _palette(bits)
        table = np.concatenate([colours[:, ::-1], np.zeros((len(colours), 1), np.uint8)], axis=1)
        lines = [packed(row.reshape(1, -1), bits) for row in index]
        data = bmp(lines, WIDTH, bits, palette=table.tobytes())
        yield Case(f"bmp palette {bits}", data, colours[index[..., 0]].astype(float))
    index, colours = _palette(8)
    table = np.concatenate([colours[:, ::-1], np.zeros((len(colours), 1), np.uint8)], axis=1)
    runs = b"".join(
        b"".join(bytes([1, int(one)]) for one in row.ravel()) + b"\0\0" for row in index[::-1]
    )
    data = bmp(
        [b""] * HEIGHT, WIDTH, 8, palette=table.tobytes(), compression=1, body=runs + b"\0\1"
    )
    yield Case("bmp run lengths", data, colours[index[..., 0]].astype(float))
    for name, masks, widths in (
        ("555", (), (5, 5, 5)), ("565", (0xF800, 0x07E0, 0x001F), (5, 6, 5)), ("555 fields", (0x7C00, 0x03E0, 0x001F), (5, 5, 5)),
    ):  # fmt: skip
        short = [
            (values[..., band].astype(int) >> (8 - width)) for band, width in enumerate(widths)
        ]
        word = (short[0] << (widths[1] + widths[2])) | (short[1] << widths[2]) | short[2]
        looks = np.stack(
            [s * WHITE / (2**w - 1) for s, w in zip(short, widths, strict=True)], axis=-1
        )
        data = bmp([row.astype("<u2").tobytes() for row in word], WIDTH, 16, masks=masks)
        yield Case(f"bmp {name}", data, looks, 1.0)
    alpha = _alpha()[..., 0].astype(int)
    red, green, blue = (values[..., band].astype(int) for band in range(3))
    for name, word, masks in (
        ("bgrx", (red << 16) | (green << 8) | blue, ()),
        ("bgrx fields", (red << 16) | (green << 8) | blue, (0xFF0000, 0xFF00, 0xFF)),
        ("rgbx fields", (red << 24) | (green << 16) | (blue << 8), (0xFF000000, 0xFF0000, 0xFF00)),
        ("bgra fields", (alpha << 24) | (red << 16) | (green << 8) | blue, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        ("rgba fields", (red << 24) | (green << 16) | (blue << 8) | alpha, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    ):  # fmt: skip
        data = bmp([row.astype("<u4").tobytes() for row in word], WIDTH, 32, masks=masks)
        looks = shown(values, 8)
        if len(masks) == 4:
            looks = on_white(looks, alpha[..., None] / 255)
        yield Case(f"bmp {name}", data, looks, 1.0)


def _pnm() -> Iterator[Case]:
    size = f"{WIDTH} {HEIGHT}"
    bits = grey(1)
    text = " ".join(str(1 - int(one)) for one in bits.ravel())  # 1 is black
    yield Case("pbm plain", f"P1\n{size}\n{text}\n".encode(), shown(bits, 1))
    yield Case(
        "pbm", f"P4\n{size}\n".encode() + packed(1 - bits[..., 0].astype(int), 1), shown(bits, 1)
    )
    for top in (1, 15, 100, 255, 1023, 65535):
        for plain, raw, samples in (("P2", "P5", 1), ("P3", "P6", 3)):
            values = np.rint(colour(16, samples) * (top / 65535)).astype(int)
            looks = values * WHITE / top
            looks = np.repeat(looks, 3, axis=-1) if samples == 1 else looks
            text = " ".join(map(str, values.ravel().tolist()))
            yield Case(
                f"pnm {plain} up to {top}", f"{plain}\n{size}\n{top}\n{text}\n".encode(), looks, 1.0
            )
            body = values.astype(">u2" if top > 255 else np.uint8).tobytes()
            yield Case(
                f"pnm {raw} up to {top}", f"{raw}\n{size}\n{top}\n".encode() + body, looks, 1.0
            )
    unit = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    for order, scale in (("<", "-1.0"), (">", "1.0")):
        body = unit[::-1].astype(f"{order}f4").tobytes()
        yield Case(
            f"pfm {order}",
            f"Pf\n{size}\n{scale}\n".encode() + body,
            shown(unit, 1),
            may_refuse=True,
        )


def _gif() -> Iterator[Case]:
    index, colours = _palette(8)
    image = Image.fromarray(index[..., 0].astype(np.uint8), "P")
    image.putpalette(colours.tobytes())
    looks = colours[index[..., 0]].astype(float)
    for name, options in (("gif", {"interlace": 0}), ("gif interlaced", {"interlace": 1})):
        yield Case(name, _saved(image, "GIF", optimize=False, **options), looks)
    clear = _saved(image, "GIF", optimize=False, transparency=3)
    yield Case("gif one index clear", clear, np.where(index == 3, WHITE, looks))
    # A frame smaller than its screen: browsers leave the rest clear.
    at = clear.index(b"\x2c\0\0\0\0" + struct.pack("<HH", WIDTH, HEIGHT))
    screen = (
        clear[:6]
        + struct.pack("<HH", WIDTH + 4, HEIGHT + 6)
        + clear[10 : at + 1]
        + struct.pack("<HH", 4, 6)
    )
    wide = np.full((HEIGHT + 6, WIDTH + 4, 3), WHITE)
    wide[6:, 4:] = np.where(index == 3, WHITE, looks)
    yield Case("gif smaller than its screen", screen + clear[at + 5 :], wide)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _smooth() -> Array:
    """An image that a lossy format keeps well: 64 × 48, wide ramps."""
    y, x = np.mgrid[0:48, 0:64]
    return (
        np.stack([255 * x / 63, 255 * y / 47, 128 + 64 * np.sin(x / 20)], axis=-1)
        .round()
        .astype(np.uint8)
    )


def _jpeg() -> Iterator[Case]:
    rgb = _smooth()
    image = Image.fromarray(rgb)
    for name, options in (
        ("jpeg", {}), ("jpeg 4:2:0", {"subsampling": 2}), ("jpeg progressive", {"progressive": True}),
        ("jpeg rgb", {"keep_rgb": True}),
    ):  # fmt: skip
        data = _saved(image, "JPEG", **{"quality": 100, "subsampling": 0, **options})
        yield Case(name, data, rgb.astype(float), 8.0 if "subsampling" in options else 3.0)
    ramp = rgb[..., :1]
    data = _saved(Image.fromarray(ramp[..., 0]), "JPEG", quality=100)
    yield Case("jpeg grey", data, np.repeat(ramp, 3, axis=-1).astype(float), 3.0)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = _saved(image, "JPEG", quality=100, subsampling=0, exif=exif)
        yield Case(
            f"jpeg orientation {orientation}", data, turned(rgb.astype(float), orientation), 3.0
        )
    for name, inks in (
        ("cyan", (255, 0, 0, 0)),
        ("red", (0, 255, 255, 0)),
        ("dark", (40, 80, 120, 100)),
        ("white", (0,) * 4),
    ):
        full = np.array(inks) / 255
        looks = np.broadcast_to(WHITE * (1 - full[:3]) * (1 - full[3]), (16, 16, 3))
        whole = Image.new("CMYK", (16, 16), inks)
        # Pillow writes what Adobe does: the marker, and every ink the other way round.
        data = _saved(whole, "JPEG", quality=100, subsampling=0)
        assert b"Adobe" in data
        yield Case(f"jpeg cmyk {name}", data, looks, 4.0)
        # The same as YCCK: red, green and blue of the inverted inks as luma and chroma.
        # A file holds the inverted inks; the decoder turns YCC into RGB and takes that for 255 - CMY.
        inverted = 255 - np.array(inks)
        ycc = _to_ycc(255 - inverted[:3])
        stored = 255 - np.rint(np.array([*ycc, inverted[3]])).astype(
            int
        )  # Pillow inverts once more
        data = _saved(
            Image.new("CMYK", (16, 16), tuple(stored.tolist())), "JPEG", quality=100, subsampling=0
        )
        place = data.index(b"Adobe") + 11
        assert data[place] == 0
        data = data[:place] + b"\x02" + data[place + 1 :]
        yield Case(f"jpeg ycck {name}", data, looks, 5.0)
    # Inks that look like nothing of their names, so that the profile is seen to be used.
    corners = np.zeros((2, 2, 2, 2, 3))
    corners[..., 0] = (
        100 - 50 * np.arange(2)[:, None, None, None] - 20 * np.arange(2)[:, None, None]
    )
    corners[..., 1] = 30 * np.arange(2)[:, None]
    corners[..., 2] = -40 * np.arange(2)
    corners[1, 1, 1, 1] = 0  # all inks are black, so that black points agree
    profile = cmyk_profile(corners)
    for place in ((0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 1, 1, 0), (0, 0, 0, 1)):
        inks = tuple(255 * one for one in place)
        looks = np.broadcast_to(from_lab(corners[place]), (16, 16, 3))
        whole = Image.new("CMYK", (16, 16), inks)
        name = "".join(ink for ink, there in zip("cmyk", place, strict=True) if there) or "none"
        for kind in ("JPEG", "TIFF"):
            options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
            data = _saved(whole, kind, icc_profile=profile, **options)
            yield Case(f"{kind.lower()} cmyk with a profile, {name}", data, looks, 4.0)
        deflated = np.broadcast_to(np.array(inks), (16, 16, 4))
        data = tiff(deflated, 8, 5, deflate=True, tags={byte_writers.ICC: profile})
        yield Case(f"tiff cmyk deflate with a profile, {name}", data, looks, 4.0)


def _to_ycc(rgb: Array) -> Array:
    red, green, blue = rgb.astype(float)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.array([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402])


def from_lab(lab: Array) -> Array:
    """CIE Lab (D50) to sRGB, 0 to 255, by the formulas."""
    lightness, a, b = lab
    fy = (lightness + 16) / 116
    whole = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(whole > 6 / 29, whole**3, 3 * (6 / 29) ** 2 * (whole - 4 / 29))
    xyz = xyz * [0.9642, 1.0, 0.8249]
    # sRGB's primaries as seen from D50 (Bradford).
    matrix = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )  # fmt: skip
    light = np.clip(matrix @ xyz, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _webp() -> Iterator[Case]:
    rgb, alpha = colour(8).astype(np.uint8), _alpha().astype(np.uint8)
    yield Case(
        "webp lossless", _saved(Image.fromarray(rgb), "WEBP", lossless=True), rgb.astype(float)
    )
    clear = Image.fromarray(np.concatenate([rgb, alpha], axis=-1))
    data = _saved(clear, "WEBP", lossless=True, exact=True)
    yield Case("webp lossless alpha", data, on_white(rgb.astype(float), alpha / 255), 1.0)
    smooth = _smooth()
    data = _saved(Image.fromarray(smooth), "WEBP", quality=100)
    yield Case("webp", data, smooth.astype(float), 16.0)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = _saved(Image.fromarray(rgb), "WEBP", lossless=True, exif=exif)
        yield Case(f"webp orientation {orientation}", data, turned(rgb.astype(float), orientation))


def _jpeg2000() -> Iterator[Case]:
    rgb, alpha = colour(8).astype(np.uint8), _alpha().astype(np.uint8)
    for ending in ("jp2", "j2k"):
        options = {"no_jp2": ending == "j2k"}
        yield Case(
            f"{ending} rgb", _saved(Image.fromarray(rgb), "JPEG2000", **options), rgb.astype(float)
        )
        one = grey(8).astype(np.uint8)
        yield Case(
            f"{ending} grey",
            _saved(Image.fromarray(one[..., 0]), "JPEG2000", **options),
            shown(one, 8),
        )
        deep = grey(16).astype(np.uint16)
        yield Case(
            f"{ending} grey 16",
            _saved(Image.fromarray(deep[..., 0]), "JPEG2000", **options),
            shown(deep, 16),
        )
    for name, base in (("rgb", rgb), ("grey", grey(8).astype(np.uint8))):
        clear = Image.fromarray(np.concatenate([base, alpha], axis=-1))
        expected = on_white(shown(base, 8), alpha / 255)
        yield Case(f"jp2 {name} alpha", _saved(clear, "JPEG2000"), expected, 1.0)


def _avif() -> Iterator[Case]:
    import cv2

    smooth = _smooth()
    image = Image.fromarray(smooth)
    data = _saved(image, "AVIF", quality=100, subsampling="4:4:4")
    yield Case("avif", data, smooth.astype(float), 3.0)
    alpha = np.broadcast_to(
        np.linspace(0, 255, 64).round().astype(np.uint8)[None, :, None], (48, 64, 1)
    )
    clear = Image.fromarray(np.concatenate([smooth, alpha], axis=-1))
    data = _saved(clear, "AVIF", quality=100, subsampling="4:4:4")
    yield Case("avif alpha", data, on_white(smooth.astype(float), alpha / 255), 4.0)
    if cv2.haveImageWriter("any.avif"):
        deep = np.rint(smooth[..., ::-1] * (1023 / 255)).astype(np.uint16)
        settings = [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 100]
        written, data_10 = cv2.imencode(".avif", deep, settings)
        if written:
            yield Case("avif 10 bits", data_10.tobytes(), smooth.astype(float), 16.0)
