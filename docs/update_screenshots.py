"""Takes the screenshots of the microscope that the documentation shows.

    python docs/update_screenshots.py demo.atlas

Needs a Chromium (tools/get_chromium.sh), and serves the atlas to it for a moment.
"""

from __future__ import annotations

import argparse
import io
import socket
import sys
import threading
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
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
        browser.close()
    server.should_exit = True


def write(png: bytes, path: Path) -> None:
    """As a PNG of a palette, which is a third of the bytes and looks the same."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {size / 1000:.0f} kB")
    assert size < LARGEST, f"{path} is larger than {LARGEST} bytes"


if __name__ == "__main__":
    main()
