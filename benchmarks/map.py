"""How long the map's script takes for a frame: one command.

    python benchmarks/map.py demo.atlas --units 100000

For the atlas given, and for a made one of many units, it opens `/map` in the Chromium of the tests, and zooms and points at dots, an event in each of
many frames. It reports which renderer drew, the milliseconds of script of a frame (Chromium's own ScriptDuration, dispatching
included), and the time between frames, which without a GPU is that of drawing in software.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from server import HEADERS, ROOT, make_atlas, served

FRAMES, WIDTH, HEIGHT = 120, 1280, 900
# An event in every frame; their mean and 95th percentile of the time between frames.
RUN = """([frames, kind]) => new Promise((done) => {
  const canvas = document.querySelector(".map canvas"), box = canvas.getBoundingClientRect(), times = [];
  let number = 0, last = 0;
  const step = (now) => {
    if (last) times.push(now - last);
    last = now;
    if (number === frames) { times.sort((a, b) => a - b); done([times.reduce((a, b) => a + b) / times.length, times[Math.floor(times.length * 0.95)]]); return; }
    const at = { clientX: box.x + box.width * (0.3 + 0.4 * number / frames), clientY: box.y + box.height / 2, bubbles: true, cancelable: true };
    const turn = number % 40 < 20 ? -40 : 40;
    canvas.dispatchEvent(kind === "zoom" ? new WheelEvent("wheel", { ...at, deltaY: turn, ctrlKey: true }) : new PointerEvent("pointermove", { ...at, pointerType: "mouse" }));
    number += 1;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
NO_GL = "HTMLCanvasElement.prototype.getContext = () => null"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("atlas", type=Path, nargs="+")
    parser.add_argument("--units", type=int, default=100_000, help="of the made atlas; 0 for none")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.browser import chromium

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.find(), args=list(chromium.ARGUMENTS)
        )
        synthetic = [make_atlas(Path(folder), options.units)] if options.units else []
        rows = [
            {"atlas": atlas.name, "gl": gl} | measure(browser, atlas, gl=gl)
            for atlas in [*options.atlas, *synthetic]
            for gl in (True, False)
        ]
        browser.close()
    print(json.dumps(rows, indent=1) if options.json else "\n".join(map(shown, rows)))


def measure(browser: Browser, atlas: Path, *, gl: bool) -> dict[str, Any]:
    """One atlas, with WebGL2 or without."""
    with served(atlas) as (base, _):
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, extra_http_headers=HEADERS
        )
        page.set_default_timeout(300_000)
        if not gl:
            page.add_init_script(NO_GL)
        page.goto(f"{base}/map")
        page.locator(".map[data-alive]").wait_for()
        frame = page.locator(".map")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        found: dict[str, Any] = {
            "renderer": frame.get_attribute("data-renderer"),
            "dots": int(
                page.evaluate(
                    "fetch('/map.json').then((a) => a.json()).then((a) => a.points.unit.length)"
                )
            ),
        }
        for kind in ("zoom", "point"):
            before = script(session)
            between, p95 = page.evaluate(RUN, [FRAMES, kind])
            found[kind] = {
                "script_ms": 1000 * (script(session) - before) / FRAMES,
                "frame_ms": between,
                "frame_p95_ms": p95,
            }
        page.close()
    return found


def script(session: Any) -> float:
    """Seconds of script so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "ScriptDuration"))


def shown(row: dict[str, Any]) -> str:
    """As a line."""
    parts = [
        f"{kind}: script {row[kind]['script_ms']:.2f} ms a frame, frames {row[kind]['frame_ms']:.0f} ms apart (p95 {row[kind]['frame_p95_ms']:.0f})"
        for kind in ("zoom", "point")
    ]
    return f"{row['atlas']}, {row['dots']:,} dots, {row['renderer']}: {'; '.join(parts)}"


if __name__ == "__main__":
    main()
