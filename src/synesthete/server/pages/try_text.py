"""`/try-text`: show the model a text: what it takes it for, which text and joint units fire, and on which word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import Query

from synesthete._core.arrays import Float32, Float64
from synesthete.analysis.design import tower_of
from synesthete.probes.labels import usable_text
from synesthete.report.images import Token as Span
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.server.errors import Refused
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.pages.try_image import Guess, guesses

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.models.activations import TextReading
    from synesthete.models.tokens import Token

FIRED, TEXT_LENGTH, WORDS, JOINT = 12, 4_000, 128, "joint"

Text = Annotated[
    str,
    Query(description=f"The text; of a longer one the first {TEXT_LENGTH:,} characters are taken."),
]


@dataclass(frozen=True, kw_only=True)
class FiredByText:
    """A unit that the text excites.

    Attributes
    ----------
    activation
        Its activation.
    z
        In standard deviations from its mean over the atlas's texts.
    share
        Of the atlas's texts, those that excite it at least as much; null without the dense matrix.
    token, word
        Where in the text, and what stands there; null where that is not known.
    """

    neuron: NeuronRow
    activation: float
    z: float
    share: float | None
    token: Span | None
    word: str | None


@dataclass(frozen=True, kw_only=True)
class LayerOfText:
    """The units of one layer that the text excites most.

    Attributes
    ----------
    tower
        `text`, or `joint` for the embedding's dimensions, which answer to images too.
    compared
        Texts of the atlas that its units' means are over.
    """

    layer: str
    tower: str
    path: str
    compared: int
    fired: list[FiredByText]


@dataclass(frozen=True, kw_only=True)
class TryTextResult:
    """The model's answer for a text.

    Attributes
    ----------
    text
        The text without control characters.
    read
        How many of its characters the model reads.
    truncated
        Whether the text goes on behind them.
    guesses
        The concepts whose names are nearest, best first.
    layers
        Those of the atlas that read texts.
    """

    text: str
    read: int
    truncated: bool
    model: str
    guesses: list[Guess]
    layers: list[LayerOfText]

    @property
    def parts(self) -> list[tuple[str, int]]:
        """The part that was read, cut where words begin and end, each with how many of the units fire on it."""
        found = [one.token for layer in self.layers for one in layer.fired if one.token]
        edges = {0, self.read, *(edge for token in found for edge in (token.start, token.stop))}
        order = sorted(edge for edge in edges if edge <= self.read)
        return [
            (
                self.text[start:stop],
                sum(token.start <= start and stop <= token.stop for token in found),
            )
            for start, stop in pairwise(order)
        ]


def try_text(site: Site, text: Text) -> TryTextResult:
    """Show the model a text: labels, the text and joint units that fire, and on which word. Loads the model on first use."""
    from synesthete.analysis.provenance import own_model

    kept, _ = usable_text(text[:TEXT_LENGTH])
    if not kept:
        raise Refused(409, "there is no text to read", hint="type a sentence")
    model = own_model(site.atlas)
    tokens = model.tokens(kept)
    layers = [name for name in site.atlas.layers if tower_of(site.atlas, name) != "image"]
    reading = model.read_texts([kept], layers, site.atlas.manifest.get("text_reduction", "end"))
    cut, read = bool(reading.truncated[0]), len(kept)
    if cut:
        # Of a text that is cut, the last position is its end.
        read = max(token.stop for token in tokens[: model.context_length - 1])
    return TryTextResult(
        text=kept,
        read=read,
        truncated=cut or len(text) > TEXT_LENGTH,
        model=model.name,
        guesses=guesses(site, reading.embeddings[0]),
        layers=[
            _layer(site, layer, reading, _Places(model, kept[:read], tokens)) for layer in layers
        ],
    )


def _layer(site: Site, layer: str, reading: TextReading, places: _Places) -> LayerOfText:
    columns, entry = site.opened.columns(layer), site.atlas.layer(layer)
    probes, values = site.opened.probes, reading.activations[layer][0]
    rows = np.flatnonzero(probes.read_by(entry) & probes.of_text)
    dense = site.atlas.activations(layer) if site.atlas.manifest["dense"] and len(rows) else None
    if dense is None:
        z = columns.z_scores(values)
    else:
        # The mean of images lies elsewhere in the joint space, so texts are compared with texts.
        mean, std = site.opened.computed(("of texts", layer), lambda: _moments(dense[rows]))
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.where(columns.dead, -np.inf, (values - mean) / std)
        z[~np.isfinite(z)] = -np.inf
    chosen = [int(unit) for unit in np.argsort(-z, kind="stable")[:FIRED] if z[unit] > 0]
    found = places.of_units(layer, chosen, reading)
    fired = []
    for unit, token in zip(chosen, found, strict=True):
        share = None
        if dense is not None:
            share = float((np.asarray(dense[:, unit])[rows] >= values[unit]).mean())
        one = FiredByText(
            neuron=neuron_row(site, columns, unit),
            activation=float(values[unit]),
            z=float(z[unit]),
            share=share,
            token=token,
            word=places.text[token.start : token.stop] if token else None,
        )
        fired.append(one)
    return LayerOfText(
        layer=layer,
        tower=tower_of(site.atlas, layer),
        path=site.links.layer(layer),
        compared=len(rows),
        fired=fired,
    )


def _moments(values: Any) -> tuple[Float64, Float64]:
    """Mean and standard deviation of `[texts, units]`."""
    exact = np.asarray(values, np.float64)
    return exact.mean(axis=0), exact.std(axis=0)


class _Places:
    """Where in a text units answer.

    Parameters
    ----------
    text
        As far as it was read.
    tokens
        Of the model, by position.
    """

    def __init__(self, model: ImageTextModel, text: str, tokens: Sequence[Token]) -> None:
        self.model, self.text, self.tokens = model, text, tokens

    def of_units(self, layer: str, units: list[int], reading: TextReading) -> list[Span | None]:
        """Of a text layer the strongest token; of the joint space, which has none, the word without which it falls most."""
        if layer == JOINT:
            return self._without(reading.embeddings[0], units)
        positions = reading.positions[layer][0]
        return [self._token(int(positions[unit])) for unit in units]

    def _token(self, position: int) -> Span | None:
        if not 0 <= position < len(self.tokens):
            return None
        token = self.tokens[position]
        return Span(token.start, token.stop) if token.stop > token.start else None

    def _without(self, whole: Float32, units: list[int]) -> list[Span | None]:
        words = [Span(*match.span()) for match in re.finditer(r"\S+", self.text)][:WORDS]
        if len(words) < 2 or not units:
            return [None] * len(units)
        rest = [f"{self.text[: word.start]}{self.text[word.stop :]}" for word in words]
        falls = whole[None, units] - self.model.encode_texts(rest)[:, units]
        best = falls.argmax(axis=0)
        return [
            words[at] if falls[at, place] > 0 else None for place, at in enumerate(best.tolist())
        ]


TRY_TEXT = Page(path="/try-text", template="try_text.html", view=try_text, exported=False)
