"""The neuron card: a neuron's report on one sheet, as a drawing, and as files that open anywhere."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.atlas.files import write_together
from synesthete.errors import SynestheteError
from synesthete.report.charts import ticks
from synesthete.report.neuron import ModalityPart, NeuronReport, neuron_report
from synesthete.report.source import Source, source_of
from synesthete.report.svg import (
    DARK,
    DISPLAY,
    LIGHT,
    STACK,
    amount,
    auc,
    data_uri,
    element,
    embedded_image,
    escape,
    frame,
    group,
    line,
    number,
    rectangle,
    render,
    shorten,
    small,
    style,
    text,
    text_width,
)
from synesthete.visualization import FONTS, font_bytes

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.atlas import Atlas, Neuron
    from synesthete.report.images import Shown

Thumbnails = Callable[[int], "Image.Image"]
MARGIN, RIGHT = 44, 1028
WIDTH = RIGHT + MARGIN
GRID_X, THUMB, GAP, PITCH = 256, 86, 12, 136
BAR, STRIP, TALL = 168, 15, 92
REGION = LIGHT["where"]


@dataclass(frozen=True)
class CardFiles:
    """Where a card was written; `png` is None where no image of it was."""

    html: Path
    png: Path | None


def neuron_card(atlas: Atlas, address: str | Neuron) -> str:
    """The card of a neuron as SVG.

    Parameters
    ----------
    atlas
        An analysed atlas.
    address
        `layer:unit`, or a neuron of the atlas.

    Returns
    -------
    str
        A self-contained SVG document with embedded images.

    Raises
    ------
    SynestheteError
        When the atlas has no such neuron, is not analysed, or is damaged.
    """
    neuron = atlas.neuron(address) if isinstance(address, str) else address
    return draw(neuron_report(source_of(atlas), neuron.address), atlas.thumbnail)


def write_card(atlas: Atlas, neuron: Neuron, folder: str | Path) -> CardFiles:
    """Write the card of a neuron as `ADDRESS.html` and `ADDRESS.png`.

    Parameters
    ----------
    atlas, neuron
        An analysed atlas and one of its neurons.
    folder
        Where to; made when it does not exist.

    Raises
    ------
    SynestheteError
        When the folder cannot be made or the atlas is damaged.
    """
    return write_report(neuron_report(source_of(atlas), neuron.address), atlas.thumbnail, folder)


def write_report(
    report: NeuronReport, thumbnails: Thumbnails, folder: str | Path, *, png: bool = True
) -> CardFiles:
    """Write a report that was gathered already, as `write_card` does; without the image where `png` is false."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise SynestheteError(f"{folder} is a file; the card needs a folder")
    name = file_name(report.neuron.address)
    files = CardFiles(folder / f"{name}.html", folder / f"{name}.png" if png else None)
    card = draw(report, thumbnails)
    page = card_page(report, card).encode()
    image = {files.png.name: render(card)} if files.png else {}
    write_together(folder, image | {files.html.name: page})
    return files


def file_name(address: str) -> str:
    """An address as the name of a file, on any system.

    Examples
    --------
    >>> file_name("visual.layer4.1:pre:12")
    'visual.layer4.1-pre-12'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", address)


def draw(report: NeuronReport, thumbnails: Thumbnails) -> str:
    """Draw the card.

    Parameters
    ----------
    thumbnails
        Gives what the model saw of an image, by its number: `Atlas.thumbnail`.
    """
    pieces = [_header(report), _scale(report)]
    y = 226.0
    for part in report.modalities:
        pieces.append(_modality(report, part, y))
        pieces.append(_strip(part.exemplars, thumbnails, y))
        y += PITCH
    weakest, height = _least(report, thumbnails, y)
    pieces.append(weakest)
    y += height + 14
    chart, height = _distribution(report, GRID_X, RIGHT, y)
    pieces += [chart, _statistics(report, y)]
    y += height
    pieces.append(_footer(report, y))
    return _document(report, pieces, y + 118)


def card_of(source: Source, address: str) -> tuple[str, str]:
    """The card of a neuron as a `data:` address, and its title in plain text.

    Raises
    ------
    SynestheteError
        No such neuron, or an atlas that is gone or damaged.
    """
    report = neuron_report(source, address)
    data = base64.b64encode(draw(report, source.atlas.thumbnail).encode()).decode("ascii")
    return f"data:image/svg+xml;base64,{data}", report.title


def _header(report: NeuronReport) -> str:
    neuron = report.neuron
    weakest = min(
        report.modalities, key=lambda part: (part.auc is None, part.auc or 0.0), default=None
    )
    of = f" (AUC as {weakest.modality}, its weakest)" if weakest and neuron.concept else ""
    heading = neuron.heading or "unknown"
    size = max(min(58.0, 58.0 * 640 / max(text_width(heading, 58.0), 1.0)), 26.0)
    more = f"answers to {neuron.n_concepts} concepts" if neuron.n_concepts > 1 else ""
    verdict = "accent" if neuron.multimodal else "faint"
    model = shorten(f"neuron of {report.model}", 420, 15)
    about = "  ·  ".join(part for part in (neuron.also, neuron.family, more) if part)
    score = auc(neuron.multimodality, 2)
    return group(
        [
            text(MARGIN, 54, neuron.address, size=15, colour="soft"),
            text(RIGHT, 54, model, size=15, colour="soft", anchor="end"),
            group(
                [
                    text(MARGIN - 2, 122, shorten(heading, 640, size), size=size),
                    text(RIGHT, 122, score, size=58, colour=verdict, anchor="end"),
                ],
                font_family=DISPLAY,
                font_weight=600,
                letter_spacing="-0.02em",
            ),
            text(MARGIN, 154, report.sentence, size=15),
            text(RIGHT, 154, f"multimodality{of}", size=13, colour="soft", anchor="end"),
            text(MARGIN, 176, about, size=13, colour="soft"),
            text(RIGHT, 176, f"q = {small(neuron.q)}", size=13, colour="soft", anchor="end"),
            line(MARGIN, 194, RIGHT, 194, "line"),
        ]
    )


def _scale(report: NeuronReport) -> str:
    """The line above the rows: the scale of the bars, and what the frames mean."""
    y, threshold = 214.0, report.rule.threshold
    at = MARGIN + BAR * _along(threshold)
    marks = [
        text(MARGIN, y, "0.5", size=10.5, colour="faint"),
        text(at, y, f"{threshold:g}", size=10.5, colour="faint", anchor="middle"),
        text(GRID_X, y, "images of highest activation, by modality", size=11, colour="faint"),
        _legend(report, y),
    ]
    if BAR * (1 - _along(threshold)) > 20:
        marks.append(text(MARGIN + BAR, y, "1", size=10.5, colour="faint", anchor="end"))
    return group(marks)


def _along(value: float) -> float:
    """Where an AUC lies on the bar: 0 at 0.5 (chance) and below, 1 at 1."""
    return min(max((value - 0.5) / 0.5, 0.0), 1.0)


def _legend(report: NeuronReport, y: float) -> str:
    """What the two kinds of frame mean, at the right end of a line."""
    shown = f"shows {shorten(report.neuron.shows or 'its concept', 140, 11)}"
    x = RIGHT - text_width(shown, 11)
    pieces = [
        text(RIGHT, y, shown, size=11, colour="soft", anchor="end"),
        frame(x - 16, y - 9, 9, 9, "accent", stroke=2, radius=1.5),
    ]
    if report.grid is not None and report.grid != (1, 1):
        where = f"where its maximum lies ({report.grid[0]} × {report.grid[1]} positions)"
        x -= 36
        pieces.append(text(x, y, where, size=11, colour="soft", anchor="end"))
        x -= text_width(where, 11) + 16
        pieces.append(frame(x, y - 8.5, 8.5, 8.5, REGION, stroke=1.25, radius=1.5, raw=True))
    return group(pieces)


def _modality(report: NeuronReport, part: ModalityPart, y: float) -> str:
    """A modality: its AUC as a bar, and how many images that was measured on."""
    tick = MARGIN + BAR * _along(report.rule.threshold)
    name = shorten(part.modality or "no modality", 110, 15)
    held_out = "held out" if report.held_out else "half held out"
    tested = f"n = {part.positives:,} of {part.images:,}, {held_out}"
    score = text(
        MARGIN + BAR,
        y + 18,
        "not tested" if part.auc is None else auc(part.auc, 2),
        size=12 if part.auc is None else 15,
        weight=600 if part.passes else None,
        colour="ink" if part.passes else "soft",
        anchor="end",
    )
    pieces = [
        text(MARGIN, y + 18, name, size=15, weight=600),
        score,
    ]
    # No bar at all is not the same as one that is empty.
    if part.auc is not None:
        pieces.append(rectangle(MARGIN, y + 30, BAR, 7, "track", radius=1.5))
    if part.auc is not None and part.auc > 0.5:
        colour = "accent" if part.passes else "other"
        pieces.append(rectangle(MARGIN, y + 30, BAR * _along(part.auc), 7, colour, radius=1.5))
    if part.auc is not None:
        pieces.append(line(tick, y + 26, tick, y + 41, "ink", stroke=1.25))
    pieces.append(text(MARGIN, y + 58, tested, size=11.5, colour="faint"))
    return group(pieces)


def _least(report: NeuronReport, thumbnails: Thumbnails, y: float) -> tuple[str, float]:
    """The images of lowest activation, and the height in pixels that they take.

    After a ReLU most images tie at zero; then a sentence says so in place of arbitrary images.
    """
    values = [image.value or 0.0 for image in report.least]
    label = "most inhibited" if values and values[0] < 0 else "least excited"
    name = text(MARGIN, y + 18, label, size=15, weight=600)
    if len(values) > 1 and min(values) == max(values):
        ties, total = report.distribution.lowest, report.distribution.images
        many = f"{ties:,} of {total:,} images" if ties is not None else "the weakest images all"
        note = f"none stands out: {many} give the lowest value, {amount(values[0])}"
        return group([name, text(GRID_X, y + 18, note, size=13, colour="soft")]), 54
    notes = [
        text(MARGIN, y + 38, "lowest activation,", size=11.5, colour="faint"),
        text(MARGIN, y + 53, "in any modality", size=11.5, colour="faint"),
    ]
    return group([name, *notes, _strip(report.least, thumbnails, y)]), PITCH


def _strip(images: Sequence[Shown], thumbnails: Thumbnails, y: float) -> str:
    return group(
        _thumbnail(image, thumbnails, GRID_X + place * (THUMB + GAP), y)
        for place, image in enumerate(images)
    )


def _thumbnail(image: Shown, thumbnails: Thumbnails, x: float, y: float) -> str:
    alt = f"{image.alt}; activation {amount(image.value)}"
    pieces = [embedded_image(x, y, THUMB, data_uri(thumbnails(image.image)), alt)]
    if box := image.box:
        width, height = THUMB / box.columns, THUMB / box.rows
        left, top = x + box.column * width, y + box.row * height
        region = (left + 1.5, top + 1.5, width - 3, height - 3)
        pieces.append(frame(*region, "#ffffff", stroke=2.5, radius=2, raw=True))
        pieces.append(frame(*region, REGION, stroke=1.25, radius=2, raw=True))
    if image.own:
        pieces.append(frame(x - 2, y - 2, THUMB + 4, THUMB + 4, "accent", stroke=2, radius=3))
    else:
        pieces.append(frame(x - 0.5, y - 0.5, THUMB + 1, THUMB + 1, "line", radius=2))
    colour = "ink" if image.own else "soft"
    pieces.append(text(x, y + THUMB + 16, amount(image.value), size=12, colour=colour))
    if image.token or not image.own:
        token = f"“{image.parts[1]}”" if image.token else ""
        other = shorten(token or image.concept or "no concept", THUMB, 11)
        pieces.append(text(x, y + THUMB + 30, other, size=11, colour="faint"))
    return group(pieces)


def _distribution(report: NeuronReport, left: float, right: float, y: float) -> tuple[str, float]:
    """The histogram (counts on a logarithmic scale) with a strip of ticks per modality beneath, and its height in pixels."""
    found = report.distribution
    low, high = found.edges[0], found.edges[-1]
    scale = (right - left) / (high - low)
    base = y + TALL
    highest = max([*found.counts, 1])
    unit = (TALL - 14) / math.log10(1 + highest)
    pieces = [text(left, y + 4, "images (logarithmic)", size=11, colour="faint")]
    for power in range(int(math.log10(highest)) + 1):
        level, mark = base - unit * math.log10(1 + 10**power), f"{10**power:,}"
        pieces.append(line(left, level, right, level, "track"))
        pieces.append(text(left - 8, level + 3.5, mark, size=10.5, colour="faint", anchor="end"))
    step = (right - left) / len(found.counts)
    for place, count in enumerate(found.counts):
        if count:
            tall = unit * math.log10(1 + count)
            pieces.append(
                rectangle(left + place * step + 0.5, base - tall, step - 1, tall, "other")
            )
    pieces.append(line(left, base, right, base, "soft"))
    strips = base + 8.0
    for name, values in found.own_values.items():
        label = name or "no modality"
        pieces.append(text(left - 8, strips + 9, label, size=10.5, colour="faint", anchor="end"))
        pieces.append(rectangle(left, strips, right - left, STRIP - 4, "track"))
        for value in values:
            at = left + (value - low) * scale
            pieces.append(line(at, strips, at, strips + STRIP - 4, "accent", stroke=1.5))
        strips += STRIP
    for value in ticks(low, high):
        at, mark = left + (value - low) * scale, f"{value:g}".replace("-", "−")
        pieces.append(line(at, base, at, base + 4, "soft"))
        pieces.append(text(at, strips + 14, mark, size=10.5, colour="soft", anchor="middle"))
    if found.own_values:
        note = f"ticks: activation of each image of {report.neuron.concept or 'its concept'}"
        pieces.append(text(left, strips + 32, note, size=11, colour="faint"))
    return group(pieces), strips + 40 - y


def _statistics(report: NeuronReport, y: float) -> str:
    rows = (
        ("mean", amount(report.mean)),
        ("standard deviation", amount(report.std)),
        ("maximum", amount(report.maximum)),
        ("sparseness", number(report.sparseness)),
    )
    pieces = [text(MARGIN, y + 18, "activation", size=15, weight=600)]
    for place, (name, value) in enumerate(rows):
        at = y + 40 + 17 * place
        pieces.append(text(MARGIN, at, name, size=11.5, colour="faint"))
        pieces.append(text(MARGIN + BAR - STRIP, at, value, size=11.5, colour="soft", anchor="end"))
    return group(pieces)


COUNTED = (
    "multimodal in this layer",
    "in its random twin",
    "with permuted weights",
    "in random mixtures",
    "with shuffled labels",
)


def _footer(report: NeuronReport, y: float) -> str:
    pieces = [line(MARGIN, y + 14, RIGHT, y + 14, "line")]
    for place, (label, row) in enumerate(
        zip(COUNTED, report.counts.rows if report.counts else (), strict=False)
    ):
        x = MARGIN + 170 * place
        units = report.counts.units if report.counts else 0
        count = "not measured" if row.count is None else f"{row.count:,} of {units:,}"
        pieces.append(text(x, y + 44, count, size=15, weight=600))
        pieces.append(text(x, y + 62, label, size=11.5, colour="soft"))
    first, second = _halved(report.rule.sentence)
    atlas = f"atlas {report.fingerprint[:12]}"
    pieces += [
        text(MARGIN, y + 88, first, size=10.5, colour="faint"),
        text(MARGIN, y + 102, second, size=10.5, colour="faint"),
        text(RIGHT, y + 44, "Synesthete", size=13, weight=600, colour="soft", anchor="end"),
        text(RIGHT, y + 62, atlas, size=11.5, colour="faint", anchor="end"),
    ]
    return group(pieces)


def _halved(sentence: str) -> tuple[str, str]:
    """A sentence on two lines of about the same length."""
    words = sentence.split(" ")
    cut = next(
        place
        for place in range(1, len(words) + 1)
        if 2 * len(" ".join(words[:place])) >= len(sentence)
    )
    return " ".join(words[:cut]), " ".join(words[cut:])


def _document(report: NeuronReport, pieces: Sequence[str], height: float) -> str:
    measured = (
        f"AUC as {part.modality or 'no modality'}: {auc(part.auc, 2)} (n = {part.positives})."
        for part in report.modalities
        if part.auc is not None
    )
    return element(
        "svg",
        element("title", escape(report.title), id="card-title"),
        element("desc", escape(" ".join([report.sentence, *measured])), id="card-description"),
        rectangle(0, 0, WIDTH, height, "ground"),
        *pieces,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        width=WIDTH,
        height=f"{height:.0f}",
        font_family=STACK,
        aria_labelledby="card-title card-description",
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<figure aria-label="{title}">
{card}
</figure>
<details>
<summary>The same in numbers</summary>
<p>{sentence}</p>
<table>
<thead><tr><th>modality</th><th>AUC</th><th>images of the concept</th><th>images</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</details>
</main>
</body>
</html>
"""


def card_page(report: NeuronReport, card: str) -> str:
    """A self-contained HTML page of a neuron's card.

    Nothing is loaded from elsewhere and no script runs: the page's own policy forbids both.
    """
    rows = "\n".join(
        f"<tr><th>{escape(part.modality or 'no modality')}</th>"
        f"<td>{'not tested' if part.auc is None else auc(part.auc)}</td>"
        f"<td>{part.positives:,}</td><td>{part.images:,}</td></tr>"
        for part in report.modalities
    )
    return _PAGE.format(
        title=escape(report.title),
        style=_style(),
        card=card,
        sentence=escape(report.sentence),
        rows=rows,
    )


def _style() -> str:
    faces = "".join(
        "@font-face{"
        f"font-family:'{'Inter Display' if 'Display' in name else 'Inter'}';"
        f"font-weight:{600 if name.endswith('SemiBold') else 400};"
        "src:url(data:font/otf;base64,"
        f"{base64.b64encode(font_bytes(name)).decode()}) format('opentype')}}"
        for name in FONTS
    )
    return (
        f"{faces}"
        f"body{{margin:0;font:15px/1.5 {STACK};background:{LIGHT['ground']};color:{LIGHT['ink']}}}"
        "main{max-width:1072px;margin:0 auto;padding:0 0 48px}"
        "figure{margin:0}svg{display:block;width:100%;height:auto;font-variant-numeric:tabular-nums}"
        "details{margin:8px 4.1%}summary{cursor:pointer}"
        "table{border-collapse:collapse}"
        "td,th{padding:4px 20px 4px 0;text-align:right;font-weight:400}th:first-child{text-align:left}"
        f"thead th{{border-bottom:1px solid {LIGHT['line']}}}"
        f"{style(dark=False)}"
        f"@media(prefers-color-scheme:dark){{body{{background:{DARK['ground']};color:{DARK['ink']}}}"
        f"thead th{{border-color:{DARK['line']}}}{style(dark=True)}}}"
    )
