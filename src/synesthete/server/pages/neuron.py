"""`/neuron/ADDRESS`: one neuron, from what it looks at to how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from synesthete.atlas import ExemplarList, Exemplars, Neuron
from synesthete.server.columns import in_order
from synesthete.server.counts import Counts, Rule, layer_counts, rule
from synesthete.server.distribution import Distribution, Meaning, column, distribution, meaning
from synesthete.server.library import Site
from synesthete.server.made import MadePicture, made_pictures
from synesthete.server.neighbours import Neighbours, neighbours
from synesthete.server.page import Page
from synesthete.server.rows import NeuronRow, Shown, exemplars, finite, neuron_row
from synesthete.server.units import can_label, find_unit
from synesthete.visualization.card import summary_sentence

PER_ROW, LEVELS, PER_LEVEL, ANSWERS, WORDS = 8, 6, 4, 6, 24


@dataclass(frozen=True)
class ModalityPart:
    """One modality of a neuron.

    Attributes
    ----------
    auc
        On the scoring half; null where it was not tested.
    positives, images
        Images of the concept, and all images, that it was measured on.
    exemplars
        Images of highest activation.
    """

    modality: str
    auc: float | None
    passes: bool
    positives: int
    images: int
    exemplars: list[Shown]


@dataclass(frozen=True)
class Level:
    """Images at one level of activation."""

    low: float
    high: float
    exemplars: list[Shown]


@dataclass(frozen=True)
class Answer:
    """A concept that the neuron was tested for on the scoring half.

    Attributes
    ----------
    passes
        As the analysis decided.
    weakest
        The lowest AUC of the modalities that were tested.
    """

    concept: str
    path: str
    passes: bool
    weakest: float | None
    auc: dict[str, float | None]


@dataclass(frozen=True)
class Word:
    """A drawn word and the neuron's activation for it."""

    word: str
    activation: float


@dataclass(frozen=True)
class NeuronPage:
    """Everything on a neuron's page.

    Attributes
    ----------
    neuron
        What the lists say of it.
    sentence
        What the measurements come to.
    low, high
        95 % interval of the confidence of the name.
    names
        All names that held, best first.
    held_out
        Whether the modalities count the images of the scoring half alone.
    least, levels, most
        Images of lowest activation; images at levels between; images of highest activation.
    answers
        Concepts it answers to best, over all images.
    made
        Pictures made from the model alone; empty when none were made.
    words
        Drawn words that excite it most; null when none were drawn.
    control
        The random twin, in one sentence.
    review
        What people say; null when nobody did.
    can_label
        Whether its images can be labelled blind: they differ in activation, and the activations were kept.
    """

    neuron: NeuronRow
    layer: str
    layer_path: str
    model: str
    sentence: str
    family_path: str | None
    concept_path: str | None
    low: float | None
    high: float | None
    names: list[str]
    mean: float | None
    std: float | None
    maximum: float | None
    sparseness: float | None
    modalities: list[ModalityPart]
    held_out: bool
    least: list[Shown]
    levels: list[Level]
    most: list[Shown]
    distribution: Distribution
    meaning: Meaning | None
    neighbours: Neighbours | None
    answers: list[Answer]
    made: list[MadePicture]
    words: list[Word] | None
    counts: Counts | None
    rule: Rule
    control: str
    review: dict[str, Any] | None
    can_label: bool
    previous: str | None
    next: str | None


@dataclass(frozen=True)
class _Judged:
    """What the sentence about a neuron is made from."""

    neuron: Neuron
    passing: tuple[str, ...]
    threshold: float
    at_least: int
    required: str
    tested: bool


def neuron_page(site: Site, address: str) -> NeuronPage:
    """One neuron: name, multimodality by modality, images at every level, what is like it, the controls."""
    columns, unit = find_unit(site, address)
    neuron, row = columns.neuron(unit), neuron_row(site, columns, unit)
    judged = rule(site)
    assert judged is not None  # columns are of analysed atlases
    values = column(site, neuron)
    counts = layer_counts(site, columns.layer)
    kept, entry = site.atlas.exemplars(columns.layer), site.atlas.layer(columns.layer)
    grid = (int(entry["grid"][0]), int(entry["grid"][1])) if entry.get("grid") else None
    limits = (judged.threshold, judged.at_least, judged.required, counts is not None)
    state = site.opened.said().get(row.address)
    return NeuronPage(
        neuron=row,
        layer=columns.layer,
        layer_path=site.links.layer(columns.layer),
        model=str(site.atlas.manifest["model"]["name"]),
        sentence=summary_sentence(_Judged(neuron, columns.profile(unit), *limits)),
        family_path=site.links.family(row.family) if row.family else None,
        concept_path=site.links.concept(row.concept) if row.concept else None,
        low=finite(columns.low[unit]),
        high=finite(columns.high[unit]),
        names=_names(site, columns.layer, unit),
        mean=finite(neuron.mean),
        std=finite(neuron.std),
        maximum=finite(neuron.maximum),
        sparseness=finite(neuron.sparseness),
        modalities=[
            ModalityPart(
                name,
                row.auc.get(name),
                name in row.passes,
                *site.opened.probes.tested(row.concept, name),
                exemplars(site, kept.top(unit, name, limit=PER_ROW), row.concept, grid),
            )
            for name in in_order(list(kept.groups))
        ],
        held_out=site.opened.probes.held_out,
        least=exemplars(site, kept.bottom(unit, limit=PER_ROW), row.concept, grid),
        levels=_levels(site, kept, unit, row.concept, grid),
        most=exemplars(site, kept.top(unit, None, limit=PER_LEVEL), row.concept, grid),
        distribution=distribution(site, neuron, values),
        meaning=meaning(site, neuron),
        neighbours=neighbours(site, columns, unit),
        answers=answers(site, columns.layer, unit),
        made=made_pictures(site, columns.layer, unit),
        words=_words(site, columns.layer, unit),
        counts=counts,
        rule=judged,
        control=_control(counts),
        review=None if state is None else state.as_dict(neuron.name),
        can_label=can_label(site, columns, unit),
        previous=site.links.neuron(columns.address(unit - 1)) if unit else None,
        next=site.links.neuron(columns.address(unit + 1)) if unit + 1 < columns.units else None,
    )


def _names(site: Site, layer: str, unit: int) -> list[str]:
    table = site.opened.unit_table(layer, "names")
    if table is None:
        return []
    # Its rows are sorted by unit.
    start, end = np.searchsorted(table["unit"].to_numpy(), [unit, unit + 1])
    return [str(name) for name in table["name"][start:end].to_pylist()]


def _levels(
    site: Site, kept: Exemplars, unit: int, concept: str, grid: tuple[int, int] | None
) -> list[Level]:
    """Images at up to `LEVELS` levels of equal width, the highest first; levels without images are left out."""
    found = kept.stratified(unit)
    if not len(found):
        return []
    values = found.values.astype(np.float64)
    edges = np.linspace(values.min(), values.max(), LEVELS + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, LEVELS - 1)
    made = []
    for level in reversed(range(LEVELS)):
        rows = np.flatnonzero(place == level)[:PER_LEVEL]
        if len(rows):
            part = ExemplarList(found.ids[rows], found.values[rows], found.positions[rows])
            images = exemplars(site, part, concept, grid)
            made.append(Level(float(edges[level]), float(edges[level + 1]), images))
    return made


def answers(site: Site, layer: str, unit: int) -> list[Answer]:
    """The concepts that were tested for a unit, the best first."""
    table = site.opened.selectivity(layer)
    own = table.filter(pc.equal(table["unit"], unit)).to_pylist()
    own = [row for row in own if row["concept"]]
    modalities = in_order([name[4:] for name in table.column_names if name.startswith("auc_")])
    made = []
    for row in own:
        auc = {name: _known(row[f"auc_{name}"]) for name in modalities}
        weakest = min((value for value in auc.values() if value is not None), default=None)
        concept = row["concept"]
        made.append(
            Answer(concept, site.links.concept(concept), bool(row.get("passes")), weakest, auc)
        )
    made.sort(key=lambda one: (not one.passes, -(one.weakest or 0.0), one.concept))
    return made[:ANSWERS]


def _known(value: float | None) -> float | None:
    return None if value is None else finite(value)


def _words(site: Site, layer: str, unit: int) -> list[Word] | None:
    if "words" not in site.atlas.manifest:
        return None
    values = np.asarray(site.atlas.word_activations(layer)[:, unit], np.float64)
    order = np.argsort(-values, kind="stable")[:WORDS]
    return [Word(site.atlas.words[i], float(values[i])) for i in order]


def _control(counts: Counts | None) -> str:
    if counts is None or counts.random_twin.count is None:
        return (
            "No random twin was recorded: how many such neurons there are by chance is not known."
        )
    return (
        f"Of {counts.units:,} neurons here {counts.model.count} are multimodal; in a random twin of the model, which knows "
        f"nothing, {counts.random_twin.count} pass the same test, with shuffled labels {counts.shuffled.count}."
    )


NEURON = Page("/neuron/{address:path}", "neuron.html", neuron_page)
