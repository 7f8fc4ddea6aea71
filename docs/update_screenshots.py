"""Takes the screenshots of the microscope that the documentation shows.

    python docs/update_screenshots.py demo.atlas

Needs a Chromium (tools/get_chromium.sh), and serves the atlas to it for a moment. The moving image is of the first example of the first page
(`synesthete stickers`): its word is typed, and the neuron that carries it most is switched off.
"""

from __future__ import annotations

import argparse
import io
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from update_readme import shown

from synesthete.atlas import open_atlas
from synesthete.server import Gate, create_app
from synesthete.server.connections import LimitedServer

ROOT = Path(__file__).parents[1]
WIDTH, LARGEST = 1200, 300_000


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "browser"))
    import chromium

    address = shown(open_atlas(options.atlas)).address
    shots = {
        "microscope-neuron": (f"/neuron/{address}", "light", 1500),
        "microscope-card": ("/", "dark", 1150),
        "microscope-map": ("/map", "light", 900),
    }
    gate, listener = Gate("screenshots"), socket.create_server(("127.0.0.1", 0))
    server = LimitedServer(create_app([options.atlas], gate))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.find(), args=list(chromium.ARGUMENTS)
        )
        for name, (path, scheme, tall) in shots.items():
            context = browser.new_context(
                viewport={"width": WIDTH, "height": tall},
                color_scheme=scheme,  # type: ignore[arg-type]
                extra_http_headers={"Authorization": "Bearer screenshots"},
            )
            page = context.new_page()
            page.goto(base + path, timeout=120_000)
            page.wait_for_load_state("networkidle", timeout=120_000)
            write(page.screenshot(), options.out / f"{name}.png")
            context.close()
        film(browser, base, options.out / "bench.webp")
        browser.close()
    server.should_exit = True


def film(browser: Browser, base: str, path: Path) -> None:
    """A word is typed on a photo, and a neuron switched off: frames as an animated WebP."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 1080},
        color_scheme="light",
        extra_http_headers={"Authorization": "Bearer screenshots"},
    )
    page = context.new_page()
    page.goto(f"{base}/", timeout=120_000)
    word, key = (page.locator(f"[name={name}]").input_value() for name in ("word", "image"))
    assert word, "the atlas has no examples: synesthete stickers"
    frames: list[tuple[Image.Image, int]] = []

    def keep(milliseconds: int) -> None:
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        frames.append((image.resize((WIDTH * 3 // 4, 810)), milliseconds))

    page.goto(f"{base}/bench?{urlencode({'image': key})}", timeout=120_000)
    field = page.locator("[name=word]")
    field.press_sequentially(word[0])  # the model loads
    page.locator("[data-bars] li").first.wait_for(timeout=120_000)
    field.fill("")
    page.wait_for_timeout(2_000)
    keep(1_200)
    for letter in word:
        with page.expect_response("**/bench.json*", timeout=60_000):
            field.press_sequentially(letter)
        page.wait_for_timeout(600)
        keep(350)
    frames[-1] = (frames[-1][0], 2_200)
    page.locator("[data-units] li [name=off]").first.check()
    for _ in range(4):
        keep(90)
    page.wait_for_timeout(500)
    keep(2_600)
    context.close()
    images, durations = zip(*frames, strict=True)
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=list(durations), loop=0, quality=70
    )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {len(frames)} frames")
    assert path.stat().st_size < 2_000_000


def write(png: bytes, path: Path) -> None:
    """As a PNG of a palette, which is a third of the bytes and looks the same."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {size / 1000:.0f} kB")
    assert size < LARGEST, f"{path} is larger than {LARGEST} bytes"


if __name__ == "__main__":
    main()
