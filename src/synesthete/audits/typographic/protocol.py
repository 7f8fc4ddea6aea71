"""The paper's attack table, target ← text, measured on this model beside the published column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from synesthete._core.json_reader import read_json
from synesthete.audits.labels import BLACK, LETTER_PX, WHITE, find_font
from synesthete.audits.pictures import embed
from synesthete.audits.rates import Rate
from synesthete.audits.typographic.attack import Subject
from synesthete.audits.typographic.heads import ZeroShot
from synesthete.probes.words import has_letters, render_line

DATA = Path(__file__).parent.parent / "data" / "published.json"
FONT = "Open Sans"
COLUMNS, LINES = 2, 4  # eight places
OUTLINE = 9  # pixels around letters of LETTER_PX, so that they stand out of any ground


@dataclass(frozen=True)
class Published:
    """A row of the published table.

    Attributes
    ----------
    target, text
        The class that is aimed at, and what was written.
    names
        Names under which other sets of pictures may have the target.
    rate, n
        Published success of the attack on a linear probe of RN50x4.
    share
        Published mean share of changed pixels.
    """

    target: str
    text: str
    names: tuple[str, ...]
    rate: float
    n: int
    share: float


@lru_cache(maxsize=1)
def published_rows() -> tuple[Published, ...]:
    """The published table (Goh et al. 2021, CC-BY-4.0)."""
    told = read_json(DATA)["attacks"]
    return tuple(Published(**row | {"names": tuple(row["names"])}) for row in told)


def eightfold(image: Image.Image, text: str, share: float) -> tuple[Image.Image, float]:
    """The text at eight places of the picture, outlined, so large that about `share` of the pixels change.

    Returns
    -------
    tuple
        The picture, and the share of pixels that the text covers: smaller where eight texts do not fit.
    """
    edge, ink, covered = _overlay(text, share, image.size)
    out = image.convert("RGB").copy()
    out.paste(BLACK, (0, 0, *image.size), edge)
    out.paste(WHITE, (0, 0, *image.size), ink)
    return out, covered


@lru_cache(maxsize=64)
def _overlay(
    text: str, share: float, size: tuple[int, int]
) -> tuple[Image.Image, Image.Image, float]:
    """Masks of outlines and of letters, and the share of pixels that they touch."""
    _, mask = render_line(text, find_font(FONT), letter_px=LETTER_PX, margin=0.15)
    halo = mask.filter(ImageFilter.MaxFilter(OUTLINE))
    cell = (size[0] / COLUMNS, size[1] / LINES)
    largest = min(cell[0] / mask.width, cell[1] / mask.height)
    scale = largest
    # Soft edges touch more pixels the smaller the letters are, so the size is found by trying.
    for _ in range(6):
        edge, ink = (_tiled(part, scale, cell, size) for part in (halo, mask))
        covered = float((np.asarray(edge) > 0).mean())
        scale = min(largest, scale * (share / max(covered, 1e-6)) ** 0.5)
    return edge, ink, covered


def _tiled(
    part: Image.Image, scale: float, cell: tuple[float, float], size: tuple[int, int]
) -> Image.Image:
    """A mask in the middle of each cell."""
    small = part.resize(
        (max(1, round(part.width * scale)), max(1, round(part.height * scale))),
        Image.Resampling.BOX,
    )
    out = Image.new("L", size)
    for column in range(COLUMNS):
        for line in range(LINES):
            left = round(column * cell[0] + (cell[0] - small.width) / 2)
            top = round(line * cell[1] + (cell[1] - small.height) / 2)
            out.paste(small, (left, top))
    return out


def protocol(subject: Subject) -> list[dict[str, Any]]:
    """Ours beside the published, row by row.

    As published, every picture counts whose answer was not the target before, whether it was right or not. By zero
    shot the target is one class more where the pictures have none of it; the linear probe knows only what there were
    pictures of.
    """
    pictures = subject.pictures
    every = np.arange(len(pictures.images))
    rows = []
    for row in published_rows():
        told: dict[str, Any] = {
            "target": row.target, "text": row.text, "published": Rate(round(row.rate * row.n), row.n).as_dict(),
            "published_share": round(row.share, 4), "share": None, "zero_shot": None, "linear_probe": None, "why": "",
        }  # fmt: skip
        rows.append(told)
        if not has_letters(row.text, find_font(FONT)):
            told["why"] = f"{FONT} has no letters for it"
            continue
        drawn = [eightfold(image, row.text, row.share) for image in pictures.images]
        told["share"] = round(float(np.mean([share for _, share in drawn])), 4)
        embeddings = embed(subject.model, (image for image, _ in drawn))
        number = next((pictures.classes.index(n) for n in row.names if n in pictures.classes), None)
        names = [*pictures.classes] if number is not None else [*pictures.classes, row.names[0]]
        target = len(names) - 1 if number is None else number
        head = ZeroShot.of(subject.model, names)
        before = head.answers(subject.features, every)
        changed = head.answers(embeddings, every)[before != target] == target
        told["zero_shot"] = Rate.of(changed).as_dict()
        probe = subject.heads.get("linear_probe")
        if probe is None or number is None or not probe.known[number]:
            told["why"] = f"the linear probe had no picture of {row.names[0]}"
            continue
        before = subject.clean["linear_probe"]
        changed = probe.answers(embeddings, every)[before != number] == number
        told["linear_probe"] = Rate.of(changed).as_dict()
    return rows
