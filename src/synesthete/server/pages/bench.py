"""`/bench`: the edit bench, laid out (what the model answers comes from `benching`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import Query

from synesthete.report.neuron import NeuronRow, neuron_rows
from synesthete.report.source import find_unit
from synesthete.server.library import Site
from synesthete.server.page import Page

MOST, BUILT_IN, SUGGESTED = 64, 12, 12
Deed = Literal["ablate", "double", "steer"]
Unit = Annotated[
    list[str] | None, Query(max_length=MOST, description="Addresses of neurons to lay out.")
]


@dataclass(frozen=True)
class Answer:
    """A concept with its probability before and after, at the model's own temperature."""

    concept: str
    path: str
    before: float
    after: float


@dataclass(frozen=True)
class Ticked:
    """A neuron on the bench; whether it is edited."""

    neuron: NeuronRow
    edited: bool


@dataclass(frozen=True)
class Leaning:
    """A neuron that the first answer leans on; the probability that is left of it when this one alone is switched off."""

    neuron: NeuronRow
    without: float


@dataclass(frozen=True)
class BuiltIn:
    """An image of the atlas to try: its opaque id, and what it shows."""

    key: str
    path: str
    concept: str


@dataclass(frozen=True)
class Bench:
    """What lies on the bench.

    Attributes
    ----------
    held
        Key of the picture on the bench, to send again; empty for none.
    picture
        Path of it as the model sees it.
    label
        The word that is written on it.
    do
        What is done to the ticked neurons.
    answers
        The best concepts, before or after; empty without a picture.
    leaning
        Neurons that the first answer, before, leans on most against the second, and that are not on the bench yet; empty without
        a picture, and where the layer's path to the embedding is not linear.
    control
        Probability of the first answer after the same was done to as many random neurons; null when nothing is ticked.
    """

    model: str
    held: str
    picture: str
    label: str
    do: Deed
    units: list[Ticked]
    built_in: list[BuiltIn]
    answers: list[Answer]
    leaning: list[Leaning]
    control: float | None


def bench_page(site: Site, unit: Unit = None) -> Bench:
    """An empty bench with the neurons named in the address, or those that read words best. POST it, or `/bench.json`."""
    return lay_out(site, list(unit or ()), [])


def lay_out(
    site: Site, listed: list[str], ticked: list[str], *, do: Deed = "ablate", label: str = ""
) -> Bench:
    """The bench without a picture.

    Raises
    ------
    Missing
        An address of no neuron.
    """
    own = [address(site, one) for one in ticked]
    rows = list(dict.fromkeys([*own, *(address(site, one) for one in listed)])) or _suggested(site)
    units = []
    for one in rows[:MOST]:
        columns, number = find_unit(site, one)
        units.append(Ticked(neuron_rows(site, columns, [number])[0], one in own))
    name = str(site.atlas.manifest["model"]["name"])
    return Bench(name, "", "", label, do, units, _built_in(site), [], [], None)


def address(site: Site, text: str) -> str:
    """The address of a neuron, checked."""
    columns, unit = find_unit(site, text.strip())
    return columns.address(unit)


def _suggested(site: Site) -> list[str]:
    """The live neurons that words excite most selectively, of the first layer."""
    columns = site.opened.columns(site.atlas.layers[0])
    score = np.zeros(columns.units)
    if "word" in columns.modalities:
        score = np.nan_to_num(columns.auc[columns.modalities.index("word")], nan=-1.0)
    order = np.argsort(-np.where(columns.dead, -2.0, score), kind="stable")
    return [columns.address(int(unit)) for unit in order[:SUGGESTED]]


def _built_in(site: Site) -> list[BuiltIn]:
    """A few readable images of different concepts that are no words."""
    made: dict[str, BuiltIn] = {}
    probes = site.opened.probes
    step = max(1, probes.readable.size // 400)
    for number in np.flatnonzero(probes.readable)[::step].tolist():
        concept, modality = probes.concept[number], probes.modality[number]
        if concept and concept not in made and modality != "word":
            key = site.opened.ids.key(number)
            made[concept] = BuiltIn(key, site.links.image(key), concept)
        if len(made) == BUILT_IN:
            break
    return list(made.values())


BENCH = Page("/bench", "bench.html", bench_page, label="Edit", exported=False)
