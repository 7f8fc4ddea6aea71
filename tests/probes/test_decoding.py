"""Each kind of image decodes as it should look; each kind of bad file says what is wrong."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage, decode
from tests.probes.samples import corpus, encoded, grey_16, scene

# pytest puts its own warning filters above those that decoding sets.
pytestmark = pytest.mark.filterwarnings("ignore")
MOVING = ("gif frames", "webp frames", "png frames", "tiff frames")
LOSSLESS = ("png", "bmp", "tiff", "tiff lzw", "ppm", "jpeg2000")


def refused(data: bytes, **options: int) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data, **options)
    assert "\n" not in caught.value.reason
    return caught.value.reason


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", [k for k in corpus() if k not in MOVING])
def test_every_still_format_gives_rgb(kind: str) -> None:
    image = decode(corpus()[kind])
    assert image.mode == "RGB"
    assert image.size in {(40, 30), (64, 32)}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    assert np.array_equal(np.asarray(decode(corpus()[kind])), np.asarray(scene()))


@pytest.mark.parametrize("kind", ["png 16", "tiff 16", "ppm 16"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = np.asarray(decode(corpus()[kind])).astype(int)
    truth = np.asarray(grey_16()).astype(float) / 65535 * 255
    assert np.abs(values - truth[..., None]).max() <= 0.5
    assert values.min() == 0
    assert values.max() == 255


def test_16_bit_colour_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(">u2")
    body = b"".join(b"\x00" + ramp[i * 16 : i * 16 + 16].repeat(3).tobytes() for i in range(16))
    chunks = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data
        chunks += struct.pack(">I", zlib.crc32(kind + data))
    values = np.asarray(decode(chunks)).reshape(-1, 3).astype(int)
    assert np.abs(values - np.arange(256)[:, None]).max() <= 1


def test_16_bit_grey_with_a_transparent_value() -> None:
    values = np.full((4, 4), 1000, np.uint16)
    values[0, 0] = 0
    image = decode(encoded(Image.fromarray(values), "PNG", transparency=0))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (4, 4, 4)


def test_16_bit_tiff_in_which_zero_is_white() -> None:
    data = encoded(Image.fromarray(np.full((4, 4), 65535, np.uint16)), "TIFF", tiffinfo={262: 0})
    assert decode(data).getpixel((0, 0)) == (0, 0, 0)


def test_deep_pixels_of_unknown_white_are_refused() -> None:
    wide = Image.fromarray(np.array([[0.0, 300.0]], np.float32))
    assert "white is not known" in refused(encoded(wide, "TIFF"))
    below = Image.fromarray(np.array([[-5, 300]], np.int32))
    assert "white is not known" in refused(encoded(below, "TIFF"))
    unit = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert np.asarray(decode(encoded(unit, "TIFF")))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_shows_the_colours_it_prints(kind: str) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixel = decode(encoded(red, kind)).getpixel((8, 8))
    assert np.abs(np.subtract(pixel, (255, 0, 0))).max() <= 3


def test_cmyk_with_a_damaged_profile_still_decodes() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", icc_profile=b"nonsense")
    assert np.abs(np.subtract(decode(data).getpixel((4, 4)), (255, 0, 0))).max() <= 3


def test_rgb_profile_is_left_alone() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(
        np.asarray(decode(encoded(scene(), "PNG", icc_profile=profile))), np.asarray(scene())
    )


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    clear.putpixel((1, 0), (200, 0, 0, 128))
    image = decode(encoded(clear, "PNG"))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert np.abs(np.subtract(image.getpixel((1, 0)), (227, 127, 127))).max() <= 1


def test_palette_transparency_is_laid_on_white() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    image = decode(encoded(palette, "PNG", transparency=b"\x00\xff\xff"))
    assert [image.getpixel((x, 0)) for x in range(3)] == [(255, 255, 255), (0, 255, 0), (0, 0, 255)]
    image = decode(encoded(palette, "GIF", transparency=1))
    assert image.getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(orientation: int, kind: str) -> None:
    upright = scene()
    # The camera stores the inverse of what a viewer has to do.
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    turned = upright if stored is None else upright.transpose(stored)
    data = encoded(turned, kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options)
    assert np.array_equal(np.asarray(decode(data)), np.asarray(upright))


def test_exif_rotation_keeps_palette_transparency() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode(encoded(palette, "PNG", transparency=b"\x00\xff\xff", exif=exif.tobytes()))
    assert image.size == (1, 3)
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_corrupt_exif_does_not_lose_the_image() -> None:
    data = encoded(scene(), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff\x01")
    assert decode(data).size == (40, 30)


def test_zero_bytes() -> None:
    assert refused(b"").startswith("empty file")


@pytest.mark.parametrize("kind", [k for k in corpus() if k not in MOVING])
def test_truncated_in_the_middle(kind: str) -> None:
    data = corpus()[kind]
    assert refused(data[: len(data) // 2])


def test_truncated_says_so() -> None:
    big = encoded(Image.effect_noise((200, 200), 80), "JPEG")
    assert refused(big[: len(big) // 2]).startswith("truncated")


@pytest.mark.parametrize("kind", MOVING)
def test_animated_images_are_refused_with_what_to_do(kind: str) -> None:
    reason = refused(corpus()[kind])
    assert "3 frames" in reason
    assert "save the one you mean as PNG" in reason


def test_a_phones_several_images_in_one_are_a_photo() -> None:
    data = encoded(scene(), "MPO", save_all=True, append_images=[scene(seed=1)])
    with Image.open(io.BytesIO(data)) as raw:
        assert raw.format == "MPO"
    assert decode(data).size == (40, 30)


@pytest.mark.parametrize("side", [10_000, 30_000, 100_000])
def test_a_hundred_megapixels_and_more_are_refused_before_decoding(side: int) -> None:
    reason = refused(png_header(side, side))
    assert "limit of 64,000,000" in reason
    assert "make it smaller" in reason


def test_the_pixel_limit_is_the_callers() -> None:
    data = encoded(scene(), "PNG")
    assert decode(data, max_pixels=1200).size == (40, 30)
    assert "limit of 1,199" in refused(data, max_pixels=1199)


def test_a_strip_that_scaling_would_blow_up_is_refused() -> None:
    assert "as long as wide" in refused(encoded(Image.new("L", (1, 101)), "PNG"))
    assert decode(encoded(Image.new("L", (1, 100)), "PNG")).size == (1, 100)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello, this is a note\n", "text"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00", "video"),
        (bytes(range(256)), "known format"),
    ],
)
def test_a_file_that_is_no_image_is_named(data: bytes, words: str) -> None:
    assert words in refused(data)


def test_lab_is_refused_with_what_to_do() -> None:
    lab = Image.new("LAB", (4, 4))
    assert "save it as RGB" in refused(encoded(lab, "TIFF"))


def test_the_error_survives_a_journey_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("too dark", hint="light it")))
    assert isinstance(error, SynestheteError)
    assert error.reason == "too dark: light it"
