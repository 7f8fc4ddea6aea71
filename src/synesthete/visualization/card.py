"""The neuron card: one drawing of what a neuron answers to, how well, and against which controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from synesthete.visualization.chart import STRIP, distribution_chart
from synesthete.visualization.drawing import (
    DISPLAY,
    STACK,
    amount,
    element,
    escape,
    group,
    line,
    rectangle,
    shorten,
    small,
    text,
    text_width,
)
from synesthete.visualization.facts import CardFacts, gather
from synesthete.visualization.rows import BAR, GRID_X, MARGIN, PITCH, RIGHT, least, modality, scale

if TYPE_CHECKING:
    from synesthete.atlas import Atlas, Neuron

WIDTH = RIGHT + MARGIN


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
        A complete SVG document; pictures are inside it, and nothing is loaded from elsewhere.

    Raises
    ------
    SynestheteError
        When the atlas has no such neuron, is not analysed, or is damaged.
    """
    neuron = atlas.neuron(address) if isinstance(address, str) else address
    return draw(gather(atlas, neuron))


def draw(facts: CardFacts) -> str:
    """Draw the card from its facts."""
    pieces = [_header(facts), scale(facts)]
    y = 226.0
    for row in facts.rows:
        pieces.append(modality(facts, row, y))
        y += PITCH
    weakest, height = least(facts, y)
    pieces.append(weakest)
    y += height + 14
    chart, height = distribution_chart(facts, GRID_X, RIGHT, y)
    pieces += [chart, _statistics(facts, y)]
    y += height
    pieces.append(_footer(facts, y))
    return _document(facts, pieces, y + 118)


class Judged(Protocol):
    """What the sentence about a neuron is made from."""

    @property
    def neuron(self) -> Neuron:
        """The neuron."""
        ...

    @property
    def passing(self) -> tuple[str, ...]:
        """Modalities whose AUC reaches the threshold."""
        ...

    @property
    def threshold(self) -> float:
        """The AUC to reach."""
        ...

    @property
    def at_least(self) -> int:
        """In so many modalities."""
        ...

    @property
    def required(self) -> str:
        """One of which is this."""
        ...

    @property
    def tested(self) -> bool:
        """Whether the images allowed to test for multimodality."""
        ...


def summary_sentence(facts: Judged) -> str:
    """What the measurements say of the neuron, in one sentence."""
    neuron = facts.neuron
    if neuron.dead:
        return "Dead: it gives the same value for every image."
    if not neuron.concept:
        return "No concept stands out."
    passing, reached = facts.passing, f"AUC for {neuron.concept} reaches {facts.threshold:g}"
    if not facts.tested:
        best = f"It tells {neuron.concept} from everything else as {_listed(passing)}"
        told = best if passing else f"{neuron.concept} is only its best match"
        return f"{told}; multimodality was not tested."
    if neuron.multimodal:
        return f"Multimodal: it tells {neuron.concept} from everything else as {_listed(passing)}."
    if len(passing) >= facts.at_least and facts.required in passing:
        return f"Not multimodal: its {reached} as {_listed(passing)}, but q is {small(neuron.q)}."
    if passing:
        return f"Not multimodal: its {reached} only as {_listed(passing)}."
    return f"Not multimodal: {neuron.concept} is only its best match."


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def _header(facts: CardFacts) -> str:
    neuron = facts.neuron
    number = "–" if math.isnan(neuron.multimodality) else f"{neuron.multimodality:.2f}"
    weakest = min(facts.rows, key=lambda row: (math.isnan(row.auc), row.auc), default=None)
    of = f" (AUC as {weakest.modality}, its weakest)" if weakest and neuron.concept else ""
    concept = neuron.concept or "unknown"
    size = min(58.0, 58.0 * 640 / max(text_width(concept, 58.0), 1.0))
    more = f"  ·  answers to {neuron.n_concepts} concepts" if neuron.n_concepts > 1 else ""
    family = f"{neuron.family}{more}" if neuron.family else more.lstrip(" ·")
    return group(
        [
            text(MARGIN, 54, neuron.address, size=15, colour="soft"),
            text(
                RIGHT,
                54,
                shorten(f"neuron of {facts.model}", 420, 15),
                size=15,
                colour="soft",
                anchor="end",
            ),
            group(
                [
                    text(
                        MARGIN - 2,
                        122,
                        shorten(concept, 640, max(size, 26.0)),
                        size=max(size, 26.0),
                    ),
                    text(RIGHT, 122, number, size=58, colour=_verdict(facts), anchor="end"),
                ],
                font_family=DISPLAY,
                font_weight=600,
                letter_spacing="-0.02em",
            ),
            text(MARGIN, 154, summary_sentence(facts), size=15),
            text(RIGHT, 154, f"multimodality{of}", size=13, colour="soft", anchor="end"),
            text(MARGIN, 176, family, size=13, colour="soft"),
            text(RIGHT, 176, f"q = {small(neuron.q)}", size=13, colour="soft", anchor="end"),
            line(MARGIN, 194, RIGHT, 194, "line"),
        ]
    )


def _verdict(facts: CardFacts) -> str:
    return "accent" if facts.neuron.multimodal else "faint"


def _statistics(facts: CardFacts, y: float) -> str:
    neuron = facts.neuron
    rows = (
        ("mean", amount(neuron.mean)),
        ("standard deviation", amount(neuron.std)),
        ("maximum", amount(neuron.maximum)),
        ("sparseness", "–" if math.isnan(neuron.sparseness) else f"{neuron.sparseness:.2f}"),
    )
    pieces = [text(MARGIN, y + 18, "activation", size=15, weight=600)]
    for place, (name, value) in enumerate(rows):
        at = y + 40 + 17 * place
        pieces.append(text(MARGIN, at, name, size=11.5, colour="faint"))
        pieces.append(text(MARGIN + BAR - STRIP, at, value, size=11.5, colour="soft", anchor="end"))
    return group(pieces)


def _footer(facts: CardFacts, y: float) -> str:
    counts = facts.counts
    x = float(MARGIN)
    pieces = [line(MARGIN, y + 14, RIGHT, y + 14, "line")]
    for label, key in (
        ("multimodal neurons in this layer", "multimodal"),
        ("in its random twin", "multimodal_random_twin"),
        ("with shuffled labels", "multimodal_shuffled"),
    ):
        number = counts.get(key)
        told = "not measured" if number is None else f"{number:,} of {counts['units']:,}"
        pieces.append(text(x, y + 44, told, size=15, weight=600))
        pieces.append(text(x, y + 62, label, size=11.5, colour="soft"))
        x += 248
    rule = (
        f"Multimodal: AUC ≥ {facts.threshold:g} with q ≤ {facts.level:g} for one concept in at least three "
        "modalities, the written word among them. The concept is chosen on one half of the artists"
    )
    rest = "and the AUC measured on the other half, against images of other concepts in the same modality."
    pieces += [
        text(MARGIN, y + 88, rule, size=10.5, colour="faint"),
        text(MARGIN, y + 102, rest, size=10.5, colour="faint"),
        text(RIGHT, y + 44, "Synesthete", size=13, weight=600, colour="soft", anchor="end"),
        text(
            RIGHT,
            y + 62,
            f"atlas {facts.fingerprint[:12]}",
            size=11.5,
            colour="faint",
            anchor="end",
        ),
    ]
    return group(pieces)


def title(facts: CardFacts) -> str:
    """The card's title: which neuron, of which model, for what."""
    concept = facts.neuron.concept or "unknown"
    return f"{concept}: neuron {facts.neuron.address} of {facts.model}"


def _document(facts: CardFacts, pieces: Sequence[str], height: float) -> str:
    described = " ".join(
        [
            summary_sentence(facts),
            *(
                f"AUC as {row.modality or 'no modality'}: {row.auc:.2f} (n = {row.positives})."
                for row in facts.rows
                if not math.isnan(row.auc)
            ),
        ]
    )
    return element(
        "svg",
        element("title", escape(title(facts)), id="card-title"),
        element("desc", escape(described), id="card-description"),
        rectangle(0, 0, WIDTH, height, "ground"),
        *pieces,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        width=WIDTH,
        height=f"{height:.0f}",
        font_family=STACK,
        aria_labelledby="card-title card-description",
    )
