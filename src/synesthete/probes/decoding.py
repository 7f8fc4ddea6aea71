"""Bytes of any image file to an upright RGB image, or the reason why not."""

from __future__ import annotations

import ctypes
import io
import logging
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from synesthete.errors import SynestheteError

MAX_PIXELS = 64_000_000
MAX_ASPECT = 100
BAND_ROWS = (
    256  # rows that are converted at once, so that no second copy of the whole image is needed
)

# Formats that Pillow decodes by itself. Left out on purpose: those that start another program (EPS),
# have no signature, so that any bytes may pass for them (TGA), or hold vector drawings (WMF).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

# What people put into image folders by mistake: (where, bytes, what it is, what to do).
_STRANGERS = (
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer, not the image itself",
        "run git lfs pull",
    ),
    (0, b"%PDF", "a PDF document", "export its pages as PNG"),
    (0, b"%!PS", "a PostScript document", "export it as PNG"),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"MM\x00\x2b", "a big-endian BigTIFF", "save it as PNG"),
    (0, b"\x00\x00\x01\x00", "a Windows icon", "save it as PNG"),
    (0, b"8BPS", "a Photoshop document", "export it as PNG"),
    (4, b"ftyphei", "a HEIC photo", "convert it to JPEG"),
    (4, b"ftypmif", "a HEIF photo", "convert it to JPEG"),
    (4, b"ftyp", "a video", "save the frame you mean as PNG"),
    (0, b"\x1aE\xdf\xa3", "a video", "save the frame you mean as PNG"),
)

# Files of the formats above that Pillow does not take for one: their head is damaged, or they are of a rare kind.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"), (0, b"\xff\xd8\xff", "JPEG"), (0, b"GIF8", "GIF"), (4, b"ftypavif", "AVIF"),
    (0, b"II*\x00", "TIFF"), (0, b"MM\x00*", "TIFF"), (0, b"II+\x00", "TIFF"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"), (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
)  # fmt: skip

# Pillow warns on standard error about files that this module already judges and reports.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class UnreadableImage(SynestheteError):
    """One image of a probe set that cannot be shown to a model; the run goes on without it.

    Parameters
    ----------
    message
        What is wrong with the file.
    hint
        What to do about it.

    Examples
    --------
    >>> UnreadableImage("empty file (0 bytes)", hint="copy it again").reason
    'empty file (0 bytes): copy it again'
    """

    @property
    def reason(self) -> str:
        """The line that goes into the quarantine row: what is wrong and what to do."""
        return f"{self.message}: {self.hint}" if self.hint else self.message


class TooLarge(UnreadableImage):
    """An image above a limit: of its pixels, or of what its decoder would take for them."""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, reduced: bool = False) -> Image.Image:
    """Decode an encoded image, judged by its content and never by its file name.

    The result is turned as its EXIF orientation says; transparency is laid on white; 16-bit grey is
    scaled to 8 bits, CMYK is converted through its embedded colour profile where it has one. Other
    colour profiles are left alone, as in open_clip's own transform.

    Parameters
    ----------
    data
        The bytes of the file.
    max_pixels
        Width × height above which the image is refused before any pixel is decoded.
    reduced
        Decode JPEG above the limit, and JPEG 2000 above half of it, at a half, a quarter or an eighth of their
        side instead.

    Returns
    -------
    Image.Image
        Mode RGB, width and height at least 1.

    Raises
    ------
    UnreadableImage
        Empty, truncated, corrupt, animated, too large, too narrow or no image at all.

    Examples
    --------
    >>> decode(b"")
    Traceback (most recent call last):
    ...
    synesthete.probes.decoding.UnreadableImage: empty file (0 bytes) (copy it again from its source)
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes)", hint="copy it again from its source")
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError:
        raise _stranger(data) from None
    except Image.DecompressionBombError:
        raise _too_large("an image with far too many pixels", max_pixels) from None
    # Pillow's parsers raise anything on hostile bytes: struct.error, KeyError, SyntaxError, ...
    except Exception as error:  # noqa: BLE001
        raise _corrupt(error) from None
    with image:
        try:
            if reduced:
                max_pixels = _reduce(image, max_pixels)
            _check(image, max_pixels)
            _repair(image)
            image.load()
            turn = _turn(image)
            rgb = _to_rgb(image)
            image.close()  # its pixels are let go of before the turned ones need as much memory
            return rgb if turn is None else rgb.transpose(turn)
        except UnreadableImage:
            raise
        except MemoryError:
            raise UnreadableImage("does not fit into memory", hint="make it smaller") from None
        except Exception as error:  # noqa: BLE001
            raise _corrupt(error) from None


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check(image: Image.Image, max_pixels: int) -> None:
    """Refuse by header alone: what would be huge, moves, or has no usable shape."""
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImage("an image without pixels", hint="copy it again from its source")
    if width * height > max_pixels:
        raise _too_large(f"{width} × {height} pixels", max_pixels)
    tags = getattr(image, "tag_v2", {})
    if _area(tags.get(322), tags.get(323)) > max(max_pixels, 1 << 20):
        # libtiff makes room for a whole tile, however small the image.
        raise _too_large(f"a tile of {tags[322]} × {tags[323]} pixels", max_pixels)
    if max(width, height) > MAX_ASPECT * min(width, height):
        # Scaling the short side to a model's input size would blow the long side up.
        raise UnreadableImage(
            f"{width} × {height} pixels, more than {MAX_ASPECT} times as long as wide",
            hint="crop it",
        )
    # A phone's MPO holds the same moment several times; its first image is the photo.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        kind = "several pages" if image.format == "TIFF" else "animated"
        raise UnreadableImage(
            f"{kind} ({getattr(image, 'n_frames', 'several')} frames)",
            hint="save the one you mean as PNG",
        )


def _area(width: object, height: object) -> int:
    return width * height if isinstance(width, int) and isinstance(height, int) else 0


def _reduce(image: ImageFile.ImageFile, max_pixels: int) -> int:
    """Let the decoder itself halve an image above the limit, where it can, as often as is needed; returns the limit."""
    if image.format == "JPEG2000":
        max_pixels //= 2  # its decoder takes twice what others take for a pixel
    width, height = image.size
    halvings = 0
    while halvings < 3 and -(-width >> halvings) * -(-height >> halvings) > max_pixels:
        halvings += 1
    if halvings and image.format in ("JPEG", "MPO"):
        image.draft(None, (width >> halvings, height >> halvings))
    elif image.format == "JPEG2000" and 0 < halvings <= _resolutions(image):
        # Pillow's own setting rounds the size to the nearest pixel; the decoder, as the standard says, upwards.
        image._size = -(-width >> halvings), -(-height >> halvings)
        image.tile = [
            one._replace(extents=(0, 0, *image.size), args=(one.args[0], halvings, *one.args[2:]))
            for one in image.tile
            if isinstance(one.args, tuple)
        ]
    return max_pixels


def _resolutions(image: ImageFile.ImageFile) -> int:
    """How often a JPEG 2000 image can be halved: its decomposition levels (marker COD)."""
    file: Any = getattr(image, "fp", None)
    place = file.tell()
    file.seek(0)
    head = file.read(1 << 16)
    file.seek(place)
    at = head.find(b"\xff\x52\x00", max(head.find(b"\xff\x4f\xff\x51"), 0))
    return head[at + 9] if 0 <= at < len(head) - 9 else 0


def _repair(image: ImageFile.ImageFile) -> None:
    """Repair what Pillow would read wrongly, or refuse it; before the pixels are decoded."""
    clear = image.info.get("transparency")
    if image.format == "PNG" and clear is not None:
        depth = _png_depth(image)
        if image.mode == "RGB" and depth == 16:
            # Pillow keeps the upper bytes of the pixels only, and compares those with the whole.
            raise UnreadableImage(
                "16-bit colour of which one is declared transparent", hint="save it with 8 bits"
            )
        if image.mode == "L" and depth < 8 and isinstance(clear, int):
            image.info["transparency"] = clear * (255 // ((1 << depth) - 1))
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return
    bits, planar = tags.get(258, (1,)), tags.get(284) == 2
    if bits[0] == 8 and tags.get(339, (1,))[0] == 2:
        raise UnreadableImage("pixels of signed 8 bits", hint="save it with unsigned 8 bits")
    if planar and image.mode in ("LA", "La", "PA"):
        raise UnreadableImage(
            "grey and transparency in separate planes", hint="save it with interleaved samples"
        )
    if planar and bits[0] == 16 and image.tile and image.tile[0].codec_name == "raw":
        # Pillow reads such planes as 8-bit ones.
        order = ";16B" if tags.prefix == b"MM" else ";16L"
        image.tile = [
            one._replace(args=(f"{one.args[0]}{order}", *one.args[1:]))
            for one in image.tile
            if isinstance(one.args, tuple)
        ]


def _png_depth(image: ImageFile.ImageFile) -> int:
    """Bits of a sample as the file's first chunk says."""
    file: Any = getattr(image, "fp", None)
    place = file.tell()
    file.seek(24)
    depth = file.read(1)[0]
    file.seek(place)
    return int(depth)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How to turn the image as its EXIF orientation says; corrupt EXIF counts as none."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    # The pixels are whole, and a camera's damaged notes are no reason to lose them.
    except Exception:  # noqa: BLE001
        return None
    return {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation if isinstance(orientation, int) else 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.mode == "CMYK":
        return _cmyk(image)
    if image.mode == "LAB":
        raise UnreadableImage("LAB colours are not supported", hint="save it as RGB")
    if not image.has_transparency_data:
        # Pillow would copy what is RGB already.
        return image._new(image.im) if image.mode == "RGB" else image.convert("RGB")
    return _on_white(image)


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image a few rows at a time, with where they begin."""
    for top in range(0, image.height, BAND_ROWS):
        yield top, image.crop((0, top, image.width, min(top + BAND_ROWS, image.height)))


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", image.size, (255, 255, 255))
    for top, band in _bands(image):
        clear = band.convert("RGBA")
        ground.paste(clear, (0, top), mask=clear.getchannel("A"))
    return ground


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits to 8 bits by its white point; `convert` would clip it to white."""
    rgb = Image.new("RGB", image.size)
    tags = getattr(image, "tag_v2", {})
    clear = image.info.get("transparency")
    for top, band in _bands(image):
        values = np.asarray(band)
        grey = _grey_8(values, tags)
        if tags.get(262) == 0:
            grey = 255 - grey
        if isinstance(clear, int):
            grey = np.where(values == clear, np.uint8(255), grey)
        rgb.paste(Image.fromarray(grey).convert("RGB"), (0, top))
    return rgb


def _grey_8(values: npt.NDArray[Any], tags: Any) -> npt.NDArray[np.uint8]:
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise UnreadableImage(
                "floating-point pixels outside 0 to 1, so that white is not known",
                hint="save it with 8 or 16 bits",
            )
        return np.asarray(np.rint(values * 255), np.uint8)
    signed_16_bit = tags.get(258) == (16,) and tags.get(339) == (2,)
    white = 4095 if tags.get(258) == (12,) else 32767 if signed_16_bit else 65535
    if values.min() < 0 or values.max() > white:
        raise UnreadableImage(
            f"integer pixels outside 0 to {white}, so that white is not known",
            hint="save it with 8 or 16 bits",
        )
    return np.asarray((values.astype(np.uint32) * 255 + white // 2) // white, np.uint8)


def _cmyk(image: Image.Image) -> Image.Image:
    """Through the embedded ink profile; without one, or with a damaged one, by complement."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _silence_libtiff() -> None:
    """Keep libtiff's messages off standard error: whatever they say, Pillow raises an error for it.

    They are printed by the C library. It is looked up through Pillow's own module, so that it is the one that Pillow
    calls; where it cannot be reached (built in without exported symbols, as on Windows), its messages stay.
    """
    try:
        found = find_spec("PIL._imaging")
        library = ctypes.CDLL(found.origin if found else None)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
    except (OSError, AttributeError, TypeError):
        pass


_silence_libtiff()


def _stranger(data: bytes) -> UnreadableImage:
    """Say what the bytes are, when they are no image of a format that is read here."""
    for place, signature, kind in _SIGNATURES:
        if data.startswith(signature, place):
            return UnreadableImage(
                f"a damaged {kind} file, or one of a rare kind", hint="save it as PNG"
            )
    for start, signature, what, hint in _STRANGERS:
        if data[start : start + len(signature)] == signature:
            return UnreadableImage(f"not an image but {what}", hint=hint)
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return UnreadableImage("not an image but an SVG drawing", hint="render it as PNG")
    if head.startswith((b"<!doctype html", b"<html")):
        hint = "the download failed; fetch the image itself"
        return UnreadableImage("not an image but a web page", hint=hint)
    if _is_text(data[:1024]):
        return UnreadableImage("not an image but text", hint="remove it from the probe set")
    return UnreadableImage(
        "not an image of a known format", hint=f"save it as one of {', '.join(FORMATS)}"
    )


def _is_text(head: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)


def _too_large(what: str, max_pixels: int) -> TooLarge:
    return TooLarge(f"{what}, more than the limit of {max_pixels:,}", hint="make it smaller")


def _corrupt(error: Exception) -> UnreadableImage:
    text = " ".join(str(error).split()) or type(error).__name__
    kind = "truncated" if "truncat" in text.lower() else "corrupt"
    return UnreadableImage(f"{kind} ({text[:120]})", hint="copy it again from its source")
