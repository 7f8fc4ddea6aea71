"""Draw a random sample of the probe set as sheets to look at: is each image what its label says?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from .render import TILE
from .sprites import COLUMNS

PER_ROW, PER_SHEET, LABEL = 15, 150, 14


def sample(folder: Path, seed: int, n: int) -> list[dict[str, Any]]:
    """Return `n` rows of the manifest, drawn without replacement, in the manifest's order."""
    rows: list[dict[str, Any]] = pq.read_table(folder / "manifest.parquet").to_pylist()
    chosen = np.random.default_rng(seed).choice(len(rows), n, replace=False)
    return [rows[index] for index in sorted(chosen)]


def sheet(rows: list[dict[str, Any]], folder: Path) -> Image.Image:
    """Return one sheet: each tile under its concept."""
    height = -(-len(rows) // PER_ROW) * (TILE + LABEL)
    page = Image.new("RGB", (PER_ROW * TILE, height), "white")
    draw = ImageDraw.Draw(page)
    mosaics: dict[str, Image.Image] = {}
    for index, row in enumerate(rows):
        if row["sprite"] not in mosaics:
            mosaics[row["sprite"]] = Image.open(folder / row["sprite"]).convert("RGB")
        line, place = divmod(row["tile"], COLUMNS)
        box = (place * TILE, line * TILE, (place + 1) * TILE, (line + 1) * TILE)
        x, y = index % PER_ROW * TILE, index // PER_ROW * (TILE + LABEL)
        draw.text((x, y), row["concept"], fill="blue")
        page.paste(mosaics[row["sprite"]].crop(box), (x, y + LABEL))
    return page


def main() -> None:
    """Write the sheets of a seeded sample as PNG files."""
    parser = argparse.ArgumentParser(prog="python -m training.build_concepts.sample")
    parser.add_argument("folder", type=Path, help="folder of manifest.parquet and the sprites")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = sample(arguments.folder, arguments.seed, arguments.n)
    for start in range(0, len(rows), PER_SHEET):
        path = arguments.out / f"sample-{arguments.seed}-{start // PER_SHEET}.png"
        sheet(rows[start : start + PER_SHEET], arguments.folder).save(path)
        print(path)


if __name__ == "__main__":
    main()
