"""Runs every block of docs/tutorial.md on an atlas of mini, and writes what they print and draw into the page.

    make demo && make tutorial        # or: python docs/update_tutorial.py demo.atlas

A block of `python` runs in `make test` too, on few images; one of `python slow` runs here only. What a block prints stands in the
block of `text` behind it; files called `tutorial-…` that a block writes go to docs/images. The atlas is copied and not changed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"(^```python(?: slow)?\n(.*?)^```\n)(\n```text\n.*?^```\n)?", re.M | re.S)
LARGEST = 300_000


def run(page: str) -> str:
    """The page with what its blocks print, run in the current folder."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    number = 0

    def one(match: re.Match[str]) -> str:
        nonlocal number
        number += 1
        started, printed = time.monotonic(), io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(match[2], f"tutorial.md, block {number}", "exec"), names)
        print(f"block {number}: {time.monotonic() - started:.0f} s", flush=True)
        output = printed.getvalue().rstrip()
        return match[1] + (f"\n```text\n{output}\n```\n" if output else "")

    return BLOCK.sub(one, page)


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", type=Path, nargs="?", default=ROOT / "demo.atlas")
    atlas = parser.parse_args().atlas.resolve()
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(atlas, "demo.atlas")
        written = run(page)
        for path in sorted(Path().glob("tutorial-*.*")):
            assert path.stat().st_size < LARGEST, f"{path} is larger than {LARGEST} bytes"
            shutil.copy(path, PAGE.parent / "images" / path.name)
    PAGE.write_text(written, encoding="utf-8")
    print(f"{os.path.relpath(PAGE)} is written")


if __name__ == "__main__":
    main()
