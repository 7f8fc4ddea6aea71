"""Images that are small as files and huge as pixels, forty at once against a real server: how much memory it takes."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
from PIL import Image

from tests.probes import byte_writers

TOKEN = "secret-of-the-bombs"
SIDE = 4000  # 16 megapixels
WAIT = 300.0  # seconds for an answer: a hang ends there
Kind = Literal["catalog", "atlas"]


def bombs() -> dict[str, Callable[[], bytes]]:
    """What makes a file of each kind; most are exactly at the limit of a request, some far above."""
    flat = Image.new("RGBA", (SIDE, SIDE), (200, 30, 60, 128))
    rgb = flat.convert("RGB")
    inks = Image.new("CMYK", (SIDE, SIDE), (10, 200, 30, 40))
    profile = byte_writers.cmyk_profile(np.full((2, 2, 2, 2, 3), 50.0))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = np.broadcast_to(np.array([40000, 30000, 20000, 10000], np.uint16), (SIDE, SIDE, 4))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1900, 1900, 3), np.uint8))
    return {
        "png 8000 × 8000": lambda: _saved(Image.new("1", (8000, 8000)), "PNG"),
        "png rgba": lambda: _saved(flat, "PNG", compress_level=1, exif=turned),
        "png rgba 16": lambda: byte_writers.png(deep, 16, 6),
        "png palette": lambda: _saved(rgb.quantize(4), "PNG", transparency=b"\x00\x80\xff\x10"),
        "png grey 16": lambda: _saved(Image.new("I;16", (SIDE, SIDE), 30000), "PNG", compress_level=1),
        "png texts": png_of_texts,
        "jpeg 48 MP": lambda: _saved(Image.new("RGB", (8000, 6000), "teal"), "JPEG"),
        "jpeg progressive": lambda: _saved(rgb, "JPEG", progressive=True, subsampling=0),
        "jpeg 48 MP progressive": lambda: _saved(Image.new("RGB", (8000, 6000), "teal"), "JPEG", progressive=True),
        "jpeg cmyk": lambda: _saved(inks, "JPEG", progressive=True, subsampling=0, icc_profile=profile),
        "jpeg of scans": jpeg_of_scans,
        "jpeg of megabytes": lambda: _saved(noise, "JPEG", quality=93, subsampling=0),
        "webp": lambda: _saved(flat, "WEBP", lossless=True, method=0),
        "avif": lambda: _saved(flat, "AVIF", subsampling="4:4:4", speed=10),
        "jpeg2000": lambda: _saved(flat, "JPEG2000"),
        "tiff deflate": lambda: byte_writers.tiff(deep, 16, 2, deflate=True, tags={byte_writers.EXTRA: [2]}),
        "tiff of one tile": tiff_of_one_tile,
        "gif": lambda: _saved(rgb.quantize(4), "GIF", transparency=1),
    }  # fmt: skip


@lru_cache(maxsize=1)
def _files(count: int) -> list[bytes]:
    """The first so many of them; all where there are fewer."""
    return [make() for make in islice(bombs().values(), count)]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_of_texts() -> bytes:
    """Sixty compressed texts of a megabyte each, with a letter that makes every character take four bytes."""
    text = b"note\0\1\0\0\0" + zlib.compress(b"a" * 900_000 + "\U0001f600".encode())
    return byte_writers.png(np.zeros((8, 8, 3), np.uint8), 8, 2, chunks=[(b"iTXt", text)] * 60)


def jpeg_of_scans() -> bytes:
    """A progressive JPEG whose last scan comes ten thousand times."""
    data = _saved(Image.new("RGB", (2000, 2000), "teal"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 10_000 + data[-2:]


def tiff_of_one_tile() -> bytes:
    """A small image whose only tile has 900 megapixels."""
    data = bytearray(
        byte_writers.tiff(np.zeros((64, 64, 1), np.uint8), 8, 1, deflate=True, tile=64)
    )
    for tag in (322, 323):
        place = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
        data[place : place + 4] = struct.pack("<I", 30_000)
    return bytes(data)


def run(count: int = 40, kinds: Sequence[Kind] = ("catalog", "atlas")) -> dict[str, Any]:
    """Measure each kind of server: idle after a normal request, then the peak under `count` bombs at once.

    Returns
    -------
    dict
        For each kind: `idle` and `peak` in MB, `ratio`, `statuses` (and how often), `seconds`, `alive` (whether a normal
        request is answered afterwards).
    """
    found: dict[str, Any] = {}
    for kind in kinds:
        with (
            tempfile.TemporaryDirectory() as folder,
            _serving(kind, Path(folder)) as (server, base),
        ):
            found[kind] = _attack(server.pid, _sender(kind, base), count)
    return found


def _attack(pid: int, send: Callable[[bytes], int], count: int) -> dict[str, Any]:
    normal = _saved(Image.new("RGB", (300, 200), "teal"), "JPEG")
    for _ in range(3):
        assert send(normal) == 200
    idle = _memory(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts again
    files = _files(count)
    statuses: Counter[int] = Counter()
    ready = threading.Barrier(count)

    def one(place: int) -> None:
        ready.wait()
        statuses[send(files[place % len(files)])] += 1

    threads = [threading.Thread(target=one, args=(place,)) for place in range(count)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    peak = _memory(pid, "VmHWM")
    return {
        "idle": idle, "peak": peak, "ratio": round(peak / idle, 3), "after": _memory(pid, "VmRSS"),
        "statuses": dict(sorted(statuses.items())), "seconds": round(seconds, 1), "alive": send(normal) == 200,
    }  # fmt: skip


def _sender(kind: Kind, base: str) -> Callable[[bytes], int]:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}

    def send(data: bytes) -> int:
        try:
            if kind == "catalog":
                body = {"image": base64.b64encode(data).decode()}
                answer = httpx.post(
                    f"{base}/api/v1/search", json=body, headers=headers, timeout=WAIT
                )
            else:
                files = {"file": ("a.png", data)}
                answer = httpx.post(
                    f"{base}/try-image.json", files=files, headers=headers, timeout=WAIT
                )
        except httpx.HTTPError:
            return 0
        if answer.status_code == 503:
            assert answer.headers["retry-after"].isdecimal()
        return answer.status_code

    return send


def _memory(pid: int, what: str) -> int:
    match = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) // 1024


@contextmanager
def _serving(kind: Kind, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "300", "NO_COLOR": "1"}
    _make(kind, folder)
    command = [
        sys.executable, "-m", "synesthete", "serve", str(folder / "made"), "--no-browser", "--no-preload", "--port", "0", "--token", TOKEN,
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line
        yield server, address[0]
    finally:
        server.terminate()
        server.wait(300)
        assert server.stdout is not None
        server.stdout.close()


def _make(kind: str, folder: Path) -> None:
    """A small catalogue, or a small atlas, of the shipped model."""
    import synesthete as syn
    from tests.small_atlas import write_images

    listed = write_images(folder / "images")
    if kind == "catalog":
        from synesthete.catalog import Catalog, Item

        catalog = Catalog.create(folder / "made", "mini")
        files = sorted((folder / "images").glob("*.png"))[:12]
        catalog.upsert(Item(one.stem, title=one.stem, images=(one,)) for one in files)
        catalog.close()
        return
    from synesthete.analysis import analyze
    from synesthete.probes import load_probes
    from synesthete.recording import record

    model = syn.load_model("mini")
    atlas = record(model, load_probes(listed), model.default_layers, folder / "made")
    analyze(atlas)


if __name__ == "__main__":
    print(json.dumps(run(), indent=1, ensure_ascii=False))
