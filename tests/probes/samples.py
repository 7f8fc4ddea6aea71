"""Small images, fonts and probe sets for the tests, drawn when they are needed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFont


def scene(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A smooth image that is not the same turned or mirrored."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x / width, 255 * y / height, (seed * 40 + x + 2 * y) % 256], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int = 0) -> bytes:
    return encoded(scene(seed=seed), "PNG")


def grey_16(width: int = 64, height: int = 32) -> Image.Image:
    """A ramp over the whole range of 16 bits."""
    values = np.linspace(0, 65535, width * height).round().astype(np.uint16)
    return Image.fromarray(values.reshape(height, width))


def corpus() -> dict[str, bytes]:
    """A valid file of every kind that decoding knows."""
    rgb = scene()
    clear = rgb.copy()
    clear.putalpha(rgb.getchannel("R"))
    files = {
        "png": encoded(rgb, "PNG"),
        "png rgba": encoded(clear, "PNG"),
        "png la": encoded(clear.convert("LA"), "PNG"),
        "png palette": encoded(rgb.quantize(16), "PNG", transparency=b"\x00\x80\xff"),
        "png bilevel": encoded(rgb.convert("1"), "PNG"),
        "png 16": encoded(grey_16(), "PNG"),
        "jpeg": encoded(rgb, "JPEG", quality=90),
        "jpeg progressive": encoded(rgb, "JPEG", progressive=True),
        "jpeg grey": encoded(rgb.convert("L"), "JPEG"),
        "jpeg cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "webp": encoded(rgb, "WEBP", quality=80),
        "webp lossless": encoded(clear, "WEBP", lossless=True),
        "gif": encoded(rgb, "GIF"),
        "bmp": encoded(rgb, "BMP"),
        "tiff": encoded(rgb, "TIFF"),
        "tiff lzw": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "tiff 16": encoded(grey_16(), "TIFF"),
        "tiff cmyk": encoded(rgb.convert("CMYK"), "TIFF"),
        "ppm": encoded(rgb, "PPM"),
        "ppm 16": encoded(grey_16(), "PPM"),
        "avif": encoded(rgb, "AVIF"),
        "jpeg2000": encoded(rgb, "JPEG2000"),
    }
    frames = [scene(seed=i) for i in range(3)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        files[f"{kind.lower()} frames"] = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:]
        )
    return files


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def font_file(path: Path) -> Path:
    """The font that Pillow carries within itself, as a file."""
    font = ImageFont.load_default(12)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return write(path, font.font_bytes)


def font_folder(folder: Path, count: int = 4) -> Path:
    """A folder of fonts as the package ships one."""
    listed = []
    for i in range(count):
        font_file(folder / f"Face-{i}.ttf")
        listed.append(
            {
                "file": f"Face-{i}.ttf",
                "family": f"Face {i}",
                "style": "Regular",
                "source": "test",
                "licence": "OFL-1.1",
                "author": "Ann",
                "held_out": i == count - 1,
            }
        )
    (folder / "fonts.json").write_text(json.dumps(listed))
    return folder


def builtin_data(folder: Path, concepts: tuple[str, ...] = ("apple", "hot dog", "zebra")) -> Path:
    """A built-in set as the package ships one: two mosaics, a manifest in no useful order."""
    rows = []
    for modality in ("drawing", "symbol"):
        mosaic = Image.new("RGB", (16 * 128, 2 * 128), (255, 255, 255))
        for i, concept in enumerate(concepts):
            for j in range(2):
                tile = i + 15 * j
                place = (tile % 16 * 128, tile // 16 * 128)
                mosaic.paste(scene(128, 128, seed=tile), place)
                rows.append(
                    {
                        "key": f"{modality}/{concept}/{j}",
                        "concept": concept,
                        "family": "things",
                        "modality": modality,
                        "artist": f"vendor {j}",
                        "caption": concept,
                        "source": "test",
                        "licence": "MIT",
                        "author": "Bob",
                        "sprite": f"{modality}.webp",
                        "tile": tile,
                    }
                )
        write(folder / "concepts" / f"{modality}.webp", encoded(mosaic, "WEBP", lossless=True))
    pq.write_table(pa.Table.from_pylist(rows[::-1]), folder / "concepts" / "manifest.parquet")
    return folder
