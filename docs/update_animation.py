"""Draws the animation at the top of the README: one neuron of an atlas answers a photo, a drawing, a symbol and a word.

    python docs/update_animation.py demo.atlas [--address LAYER:UNIT]

Reads recorded activations and loads no model. Of each modality it shows the concept's median image among those by held-out
artists, and below the median image of all other concepts: neither is chosen by how well it looks.
"""

from __future__ import annotations

import argparse
import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from update_readme import shown

from synesthete.analysis.design import labelled_design
from synesthete.atlas import Atlas, Neuron, open_atlas
from synesthete.report.svg import LIGHT, STACK, escape

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "neuron-animation.svg"
MODALITIES = ("photo", "drawing", "symbol", "word")
WIDTH, TALL, COLUMN, SIDE, SMALL = 960, 448, 222, 170, 64
LOOP, FIRST, STEP, GROWS = 11.0, 0.6, 1.7, 0.8  # seconds
LARGEST = 300_000


@dataclass(frozen=True)
class Response:
    """What a neuron answers to one image, in standard deviations above its mean over all images."""

    image: int
    concept: str
    value: float


def responses(atlas: Atlas, neuron: Neuron) -> dict[str, tuple[Response, Response]]:
    """Modality → the median image of the neuron's concept, and that of all other concepts, by held-out artists."""
    rows, design = labelled_design(atlas, purpose="an animation")
    held_out = rows[design.split.scoring]
    concepts = np.array(atlas.probes["concept"].to_pylist(), object)[held_out]
    modalities = np.array(atlas.probes["modality"].to_pylist(), object)[held_out]
    column = np.asarray(atlas.activations(neuron.layer)[:, neuron.unit], np.float64)
    everything = column[rows]
    values = (column[held_out] - everything.mean()) / everything.std()

    def median(where: np.ndarray) -> Response:
        places = np.flatnonzero(where)
        middle = places[np.argsort(values[places], kind="stable")[(len(places) - 1) // 2]]
        return Response(int(held_out[middle]), str(concepts[middle]), float(values[middle]))

    found = {}
    for modality in MODALITIES:
        own = (modalities == modality) & (concepts == neuron.concept)
        if own.any():
            other = (modalities == modality) & (concepts != neuron.concept)
            found[modality] = (median(own), median(other))
    return found


def animation(atlas: Atlas, neuron: Neuron) -> str:
    """A self-contained SVG: modality after modality appears, and its bar grows to the recorded activation."""
    found = responses(atlas, neuron)
    top = max(own.value for own, _ in found.values())
    pieces, rules = [], []
    for place, (modality, (own, other)) in enumerate(found.items()):
        x = 40 + place * COLUMN
        start = 100 * (FIRST + place * STEP) / LOOP
        grown = start + 100 * GROWS / LOOP
        rules.append(
            f"@keyframes show{place}{{0%,{start:.1f}%{{opacity:.08}}{grown:.1f}%,97%{{opacity:1}}100%{{opacity:.08}}}}"
            f"@keyframes grow{place}{{0%,{start:.1f}%{{transform:scaleX(0)}}{grown:.1f}%,97%{{transform:scaleX(1)}}100%{{transform:scaleX(0)}}}}"
            f".s{place}{{animation-name:show{place}}}.g{place}{{animation-name:grow{place}}}"
        )
        pieces.append(
            f'<g class="a s{place}">'
            + _image(atlas, own, x, 92, SIDE)
            + _text(x, 84, modality, 15, "soft")
            + _text(x + SIDE, 286, f"{own.value:.1f}", 17, "ink", "end", 600)
            + _image(atlas, other, x, 330, SMALL)
            + _text(x + SMALL + 10, 346, "another concept", 11, "soft")
            + _text(x + SMALL + 10, 363, other.concept, 12, "ink")
            + _text(x + SMALL + 10, 390, f"{other.value:.1f}".replace("-", "−"), 13, "ink")
            + "</g>"
            + _bar(x, 294, SIDE, max(own.value / top, 0.0), 14, f"a g{place}")
            + _bar(
                x + SMALL + 10,
                370,
                SIDE - SMALL - 10,
                max(other.value / top, 0.0),
                5,
                f"a g{place}",
            )
        )
    style = (
        f"text{{font-family:{STACK}}}.a{{animation:{LOOP}s ease-out infinite;transform-box:fill-box;transform-origin:0 50%}}"
        + "".join(rules)
        + "@media(prefers-reduced-motion:reduce){.a{animation:none}}"
    )
    title = f"One neuron of mini, {neuron.concept}, answers " + ", ".join(found)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {TALL}" width="{WIDTH}" height="{TALL}" role="img">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<rect width="{WIDTH}" height="{TALL}" rx="14" fill="{LIGHT["ground"]}"/>'
        + _text(40, 46, neuron.concept, 26, "ink", weight=700)
        + _text(WIDTH - 40, 46, f"one neuron of mini: {neuron.address}", 14, "soft", "end")
        + "".join(pieces)
        + _text(
            40,
            TALL - 16,
            "recorded activation, in standard deviations above the neuron's mean; median images by artists that its concept was not chosen on",
            12,
            "soft",
        )
        + "</svg>\n"
    )


def _text(
    x: float,
    y: float,
    content: str,
    size: int,
    colour: str,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{LIGHT[colour]}" '
        f'text-anchor="{anchor}">{escape(content)}</text>'
    )


def _bar(x: float, y: float, width: float, share: float, tall: int, moves: str) -> str:
    """The whole range, and of it the share that the activation has."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{tall}" rx="2" fill="{LIGHT["track"]}"/>'
        f'<rect class="{moves}" x="{x}" y="{y}" width="{share * width:.1f}" height="{tall}" rx="2" fill="{LIGHT["accent"]}"/>'
    )


def _image(atlas: Atlas, response: Response, x: float, y: float, side: int) -> str:
    small = (
        atlas.thumbnail(response.image)
        .convert("RGB")
        .resize((side, side), Image.Resampling.LANCZOS)
    )
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=82, method=6)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<image x="{x}" y="{y}" width="{side}" height="{side}" href="data:image/webp;base64,{data}"/>'


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument(
        "--address", help="the neuron to show; that of the screenshots when not given"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    atlas = open_atlas(options.atlas)
    neuron = shown(atlas, options.address)
    drawing = animation(atlas, neuron)
    assert len(drawing) < LARGEST, f"{len(drawing)} bytes are too many"
    options.out.write_text(drawing, encoding="utf-8")
    print(f"{options.out}: {neuron.address}, {neuron.concept}, {len(drawing) / 1000:.0f} kB")
    for modality, (own, other) in responses(atlas, neuron).items():
        print(f"{modality}: {own.value:.1f}, {other.concept} {other.value:.1f}")


if __name__ == "__main__":
    main()
