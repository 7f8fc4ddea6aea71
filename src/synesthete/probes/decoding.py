"""Bytes of any picture file to an upright RGB image, or the reason why not."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from synesthete.errors import SynestheteError

MAX_PIXELS = 64_000_000
MAX_ASPECT = 100

# Formats that Pillow decodes by itself. Left out on purpose: those that start another program (EPS),
# have no signature, so that any bytes may pass for them (TGA), or hold vector drawings (WMF).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

# What people put into picture folders by mistake: (where, bytes, what it is, what to do).
_STRANGERS = (
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer, not the picture itself",
        "run git lfs pull",
    ),
    (0, b"%PDF", "a PDF document", "export its pages as PNG"),
    (0, b"%!PS", "a PostScript document", "export it as PNG"),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"\x00\x00\x01\x00", "a Windows icon", "save it as PNG"),
    (0, b"8BPS", "a Photoshop document", "export it as PNG"),
    (4, b"ftyphei", "a HEIC photo", "convert it to JPEG"),
    (4, b"ftypmif", "a HEIF photo", "convert it to JPEG"),
    (4, b"ftyp", "a video", "save the frame you mean as PNG"),
    (0, b"\x1aE\xdf\xa3", "a video", "save the frame you mean as PNG"),
)

# Pillow warns on standard error about files that this module already judges and reports.
warnings.filterwarnings("ignore", module=r"PIL\.")


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


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an encoded picture, judged by its content and never by its file name.

    The result is turned as its EXIF orientation says; transparency is laid on white; 16-bit grey is
    scaled to 8 bits, CMYK is converted through its embedded colour profile where it has one. Other
    colour profiles are left alone, as in open_clip's own transform.

    Parameters
    ----------
    data
        The bytes of the file.
    max_pixels
        Width × height above which the picture is refused before any pixel is decoded.

    Returns
    -------
    Image.Image
        Mode RGB, width and height at least 1.

    Raises
    ------
    UnreadableImage
        Empty, truncated, corrupt, animated, too large, too narrow or no picture at all.

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
        raise _too_large("a picture with far too many pixels", max_pixels) from None
    # Pillow's parsers raise anything on hostile bytes: struct.error, KeyError, SyntaxError, ...
    except Exception as error:  # noqa: BLE001
        raise _corrupt(error) from None
    with image:
        try:
            _check(image, max_pixels)
            image.load()
            return _to_rgb(_upright(image))
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
        raise UnreadableImage("a picture without pixels", hint="copy it again from its source")
    if width * height > max_pixels:
        raise _too_large(f"{width} × {height} pixels", max_pixels)
    if max(width, height) > MAX_ASPECT * min(width, height):
        # Scaling the short side to a model's input size would blow the long side up.
        raise UnreadableImage(
            f"{width} × {height} pixels, more than {MAX_ASPECT} times as long as wide",
            hint="crop it",
        )
    # A phone's MPO holds the same moment several times; its first picture is the photo.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        kind = "several pages" if image.format == "TIFF" else "animated"
        raise UnreadableImage(
            f"{kind} ({getattr(image, 'n_frames', 'several')} frames)",
            hint="save the one you mean as PNG",
        )


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says; corrupt EXIF counts as none."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    # The pixels are whole, and a camera's damaged notes are no reason to lose them.
    except Exception:  # noqa: BLE001
        return image
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation if isinstance(orientation, int) else 1)
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = dict(image.info)
    return turned


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.mode == "CMYK":
        return _cmyk(image)
    if image.mode == "LAB":
        raise UnreadableImage("LAB colours are not supported", hint="save it as RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    return _on_white(image.convert("RGBA"))


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", image.size, (255, 255, 255))
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits to 8 bits by its white point; `convert` would clip it to white."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise UnreadableImage(
                "floating-point pixels outside 0 to 1, so that white is not known",
                hint="save it with 8 or 16 bits",
            )
        grey = np.rint(values * 255).astype(np.uint8)
    else:
        tags = getattr(image, "tag_v2", {})
        signed_16_bit = tags.get(258) == (16,) and tags.get(339) == (2,)
        white = 4095 if tags.get(258) == (12,) else 32767 if signed_16_bit else 65535
        if values.min() < 0 or values.max() > white:
            raise UnreadableImage(
                f"integer pixels outside 0 to {white}, so that white is not known",
                hint="save it with 8 or 16 bits",
            )
        grey = ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
        if tags.get(262) == 0:
            grey = 255 - grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey = np.where(values == clear, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


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


def _stranger(data: bytes) -> UnreadableImage:
    """Say what the bytes are, when they are no picture of a format that is read here."""
    for start, signature, what, hint in _STRANGERS:
        if data[start : start + len(signature)] == signature:
            return UnreadableImage(f"not a picture but {what}", hint=hint)
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return UnreadableImage("not a picture but an SVG drawing", hint="render it as PNG")
    if head.startswith((b"<!doctype html", b"<html")):
        hint = "the download failed; fetch the picture itself"
        return UnreadableImage("not a picture but a web page", hint=hint)
    if _is_text(data[:1024]):
        return UnreadableImage("not a picture but text", hint="remove it from the probe set")
    return UnreadableImage(
        "not a picture of a known format", hint=f"save it as one of {', '.join(FORMATS)}"
    )


def _is_text(head: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)


def _too_large(what: str, max_pixels: int) -> UnreadableImage:
    return UnreadableImage(f"{what}, more than the limit of {max_pixels:,}", hint="make it smaller")


def _corrupt(error: Exception) -> UnreadableImage:
    text = " ".join(str(error).split()) or type(error).__name__
    kind = "truncated" if "truncat" in text.lower() else "corrupt"
    return UnreadableImage(f"{kind} ({text[:120]})", hint="copy it again from its source")
