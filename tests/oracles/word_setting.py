"""The largest letters for a name in a square, by trying every breaking at every size."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

from PIL import ImageFont


def largest_size(text: str, font: Path, room: int, limit: int, spacing: float) -> int:
    """Letter size in pixels; words are broken at spaces only."""
    words = text.split()
    for size in range(limit, 3, -1):
        face = ImageFont.truetype(str(font), size, layout_engine=ImageFont.Layout.BASIC)
        for cuts in range(len(words)):
            for places in combinations(range(1, len(words)), cuts):
                edges = [0, *places, len(words)]
                lines = [" ".join(words[a:b]) for a, b in pairwise(edges)]
                boxes = [face.getbbox(line, anchor="ls") for line in lines]
                wide = max(box[2] - box[0] for box in boxes)
                top = min(box[1] + i * size * spacing for i, box in enumerate(boxes))
                bottom = max(box[3] + i * size * spacing for i, box in enumerate(boxes))
                if wide <= room and bottom - top <= room:
                    return size
    raise AssertionError("nothing fits")
