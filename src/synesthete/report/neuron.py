"""Everything known of a neuron, gathered once: what lists, the page, its JSON, the card, MCP, notebooks and `show` render."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from synesthete._core.arrays import Bool, Float16, Float32, Float64, Floating
from synesthete.analysis.conditional import conditional
from synesthete.analysis.design import tower_of
from synesthete.analysis.joint_scores import CLASSES, joint_scores
from synesthete.analysis.towers import TowerPairs, default_layers, tower_pairs
from synesthete.atlas import Atlas, ExemplarList
from synesthete.atlas.arrays import arrow_mask, column_numbers
from synesthete.atlas.exemplars import Exemplars
from synesthete.atlas.words import activations_file
from synesthete.errors import SynestheteError
from synesthete.published import published_name
from synesthete.report.cite import bibtex
from synesthete.report.columns import Columns, Unit, in_order
from synesthete.report.counts import Counts, Rule, layer_counts, rule_of
from synesthete.report.images import (
    Shown,
    ShownVisualization,
    exemplars,
    grid_of,
    standing,
    visualizations,
)
from synesthete.report.source import Opened, Source, can_label, find_unit
from synesthete.report.svg import small

PER_ROW, LEVELS, PER_LEVEL, ANSWERS, WORDS, NEIGHBOURS = 8, 6, 4, 6, 24, 12
BINS, MEANING_BINS = 64, 10
# Activations looked at for the neighbours of one neuron, at most: of a larger layer, images at equal distances are taken.
ENTRIES = 6_000_000


@dataclass(frozen=True, kw_only=True)
class NeuronRow:
    """A neuron in a list.

    Attributes
    ----------
    heading, also
        What it is called: its tested name or its concept, whichever predicts held-out activation better; and the other of the two in words.
        Empty for none.
    called
        What people call it, most of them; empty where nobody gave it a name.
    shows
        Whose images stand for it: the heading where the probe set has images of that, else `concept`.
    name, confidence
        The tested name and its AUC on held-out images; null when no name held.
    auc, ap
        Modality → AUC and average precision for `concept`, null where it was not tested.
    verdict
        `untested`, `none`, `selective`, `multimodal` or `concept cell`.
    passes
        The modalities whose AUC and average precision reach their thresholds.
    path, image
        Of its page, and of its strongest image in each modality.
    """

    address: str
    unit: int
    heading: str
    also: str
    called: str
    shows: str
    name: str | None
    confidence: float | None
    concept: str
    family: str
    multimodality: float | None
    q: float | None
    verdict: str
    multimodal: bool
    dead: bool
    n_concepts: int
    auc: dict[str, float | None]
    ap: dict[str, float | None]
    passes: list[str]
    path: str
    image: str

    @property
    def untested(self) -> list[str]:
        """The modalities that its concept has no images in to test."""
        return [name for name, value in self.auc.items() if value is None]


@dataclass(frozen=True, kw_only=True)
class ModalityPart:
    """One modality of a neuron.

    Attributes
    ----------
    auc, ap
        On the scoring half; null where it was not tested.
    positives, images
        Images of the concept, and all images, that it was measured on.
    exemplars
        Images of highest activation.
    """

    modality: str
    auc: float | None
    ap: float | None
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


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Activations over all images.

    Attributes
    ----------
    edges
        `[bins + 1]`.
    counts
        `[bins]` images.
    own
        `[bins]` images of what the neuron `shows`; null where only the histogram was kept.
    images, lowest
        All images counted; those that tie at the lowest activation, null where it is not known.
    own_values
        Modality → activations of those images, each once, rising; empty where only the histogram was kept. Not in JSON.
    """

    edges: list[float]
    counts: list[int]
    own: list[int] | None
    images: int
    lowest: int | None
    own_values: Annotated[dict[str, list[float]], Field(exclude=True)]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """P(concept | activation) with its 95 % Wilson interval; null in a bin without images."""

    concept: str
    path: str
    base: float
    share: list[float | None]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Meaning:
    """What an activation says of concepts.

    Attributes
    ----------
    edges
        `[bins + 1]` in standard deviations from zero.
    images
        `[bins]` labelled images.
    """

    edges: list[float]
    images: list[int]
    curves: list[Curve]


@dataclass(frozen=True)
class Neighbour:
    """A neuron and its Pearson correlation with another."""

    neuron: NeuronRow
    correlation: float


@dataclass(frozen=True)
class Neighbours:
    """The most like, and over how many images that was measured."""

    images: int
    neurons: list[Neighbour]


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class ReadBy:
    """The neuron of the other tower, images or texts, that answers most alike to the same concepts.

    Attributes
    ----------
    neuron
        Chosen on one half of the artists.
    tower
        What it reads: `image` or `text`.
    concept
        What both answer to most.
    r, q, passes
        Correlation of the responses to concepts on held-out artists, its false discovery rate, and whether both pass.
    concepts
        How many that was measured over.
    counts
        How many neurons of both layers have a partner that passes, with the controls; null for an atlas analysed before they were counted.
    sentence
        The counts, in words; empty without.
    """

    neuron: NeuronRow
    tower: str
    concept: str
    r: float
    q: float
    passes: bool
    concepts: int
    counts: dict[str, int | None] | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Scores that others give to units of a space that images and texts share.

    Attributes
    ----------
    dominance
        Modality Dominance Score (arXiv 2502.14888): 1 for images alone, 0 for texts alone; null for a silent neuron.
    dominant
        `text`, `cross-modal` or `image`: beyond a standard deviation over the neurons of the layer from their mean, as in that article.
    bridge, partner
        Bridge Score (arXiv 2504.11695) with the neuron, often itself, that it bridges to most from images to texts.
    pairs
        Pairs of an image and a text of the same concept that both were measured over.
    """

    dominance: float | None
    dominant: str
    bridge: float
    partner: NeuronRow
    pairs: int


@dataclass(frozen=True, kw_only=True)
class NeuronReport:
    """Everything known of a neuron.

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
    grid
        Rows and columns of the positions that its layer is read at; null where it has none.
    held_out
        Whether the modalities count the images of the scoring half alone.
    least, levels, most
        Images of lowest activation; images at levels between; images of highest activation.
    answers
        Concepts it answers to best, over all images.
    visualizations
        Feature visualizations; empty when there are none.
    words
        Drawn words that excite it most, without those at the least value of all; null when none were drawn.
    read_by
        The neuron of the other tower that shares its concepts; null where there is no such layer, or too few concepts are both
        images and texts.
    joint
        Scores of a neuron that reads images and texts alike; null for others.
    control
        The random twin, in one sentence.
    review
        What people say; null when nobody did.
    published
        What Goh et al. 2021 call it; null but for units that they name of the very weights that they read.
    can_label
        Whether its images can be labelled blind: they differ in activation, and the activations were kept.
    fingerprint
        Of the atlas.
    cite
        A BibTeX entry.
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
    grid: tuple[int, int] | None
    modalities: list[ModalityPart]
    held_out: bool
    least: list[Shown]
    levels: list[Level]
    most: list[Shown]
    distribution: Distribution
    meaning: Meaning | None
    neighbours: Neighbours | None
    answers: list[Answer]
    visualizations: list[ShownVisualization]
    words: list[Word] | None
    read_by: ReadBy | None
    joint: Joint | None
    counts: Counts | None
    rule: Rule
    control: str
    review: dict[str, Any] | None
    published: str | None
    can_label: bool
    previous: str | None
    next: str | None
    fingerprint: str
    cite: str

    @property
    def title(self) -> str:
        """Which neuron, of which model, for what."""
        return f"{self.neuron.heading or 'unknown'}: neuron {self.neuron.address} of {self.model}"


def neuron_report(source: Source, address: str, *, towers: bool = True) -> NeuronReport:
    """One neuron: name, multimodality by modality, images at every level, what is like it, the controls.

    Parameters
    ----------
    source, address
        The atlas, and one of its neurons.
    towers
        Find its partner in the other tower, for which all units of both are matched once; without it `read_by` is None.

    Raises
    ------
    Missing
        There is no such neuron.
    SynestheteError
        The atlas is not analysed, or damaged.
    """
    columns, unit = find_unit(source, address)
    layer, row, probes = columns.layer, neuron_row(source, columns, unit), source.opened.probes
    rule, counts = rule_of(source.atlas, layer), layer_counts(source, layer)
    assert rule is not None  # columns are of analysed atlases
    concepts = standing(source, columns, unit).concepts
    kept, review = source.atlas.exemplars(layer), source.opened.reviews().get(row.address)

    def shown(found: ExemplarList) -> list[Shown]:
        return exemplars(source, found, layer, concepts)

    return NeuronReport(
        neuron=row,
        layer=layer,
        layer_path=source.links.layer(layer),
        model=str(source.atlas.manifest["model"]["name"]),
        sentence=summary_sentence(row, rule, tested=counts is not None),
        family_path=source.links.family(row.family) if row.family else None,
        concept_path=source.links.concept(row.concept) if row.concept else None,
        low=finite(columns.low[unit]),
        high=finite(columns.high[unit]),
        names=_names(source, layer, unit),
        mean=finite(columns.mean[unit]),
        std=finite(columns.std[unit]),
        maximum=finite(columns.maximum[unit]),
        sparseness=finite(columns.sparseness[unit]),
        grid=grid_of(source.atlas, layer),
        modalities=[
            _modality(source, row, name, shown(kept.top(unit, name, limit=PER_ROW)))
            for name in in_order(_groups(source.atlas, kept))
        ],
        held_out=probes.held_out,
        least=shown(kept.bottom(unit, limit=PER_ROW)),
        levels=[
            Level(low, high, shown(found)) for low, high, found in _levels(kept.stratified(unit))
        ],
        most=shown(kept.top(unit, None, limit=PER_LEVEL)),
        distribution=distribution(source, columns, unit),
        meaning=meaning(source, columns, unit),
        neighbours=neighbours(source, columns, unit),
        answers=answers(source, layer, unit),
        visualizations=visualizations(source, layer, unit),
        words=_words(source, layer, unit),
        read_by=read_by(source, layer, unit) if towers else None,
        joint=joint(source, columns, unit),
        counts=counts,
        rule=rule,
        control=_control(counts),
        review=None if review is None else review.as_dict(row.name),
        published=published_name(str(source.atlas.manifest["model"]["name"]), row.address),
        can_label=can_label(source, columns, unit),
        previous=source.links.neuron(columns.address(unit - 1)) if unit else None,
        next=source.links.neuron(columns.address(unit + 1)) if unit + 1 < columns.units else None,
        fingerprint=source.atlas.fingerprint,
        cite=bibtex(
            row.address,
            row.heading,
            str(source.atlas.manifest["model"]["name"]),
            source.atlas.fingerprint,
        ),
    )


def _groups(atlas: Atlas, kept: Exemplars) -> list[str]:
    """The modalities that a layer reads: of images, texts, or both."""
    if "texts" not in atlas.manifest["probes"]:
        return list(kept.groups)
    return [name for name, ids in zip(kept.groups, kept.top_ids, strict=True) if (ids >= 0).any()]


def neuron_row(source: Source, columns: Columns, unit: int) -> NeuronRow:
    """One unit of a layer as a row of a list."""
    address = columns.address(unit)
    review = source.opened.reviews().get(address)
    return NeuronRow(
        address=address,
        unit=unit,
        heading=columns.heading[unit],
        also=columns.also(unit),
        called=review.called if review else "",
        shows=standing(source, columns, unit).text,
        name=columns.name[unit] or None,
        confidence=finite(columns.confidence[unit]),
        concept=columns.concept[unit],
        family=columns.family[unit],
        multimodality=finite(columns.multimodality[unit]),
        q=finite(columns.q[unit]),
        verdict=columns.verdict[unit],
        multimodal=bool(columns.multimodal[unit]),
        dead=bool(columns.dead[unit]),
        n_concepts=int(columns.n_concepts[unit]),
        auc={
            name: finite(columns.auc[place, unit]) for place, name in enumerate(columns.modalities)
        },
        ap={name: finite(columns.ap[place, unit]) for place, name in enumerate(columns.modalities)},
        passes=list(columns.profile(unit)),
        path=source.links.neuron(address),
        image=source.links.mosaic(address),
    )


def neuron_rows(source: Source, columns: Columns, units: Iterable[int]) -> list[NeuronRow]:
    """Units of a layer as rows of a list."""
    return [neuron_row(source, columns, int(unit)) for unit in units]


def rows_of(source: Source, units: Sequence[Unit]) -> list[NeuronRow]:
    """Units of any layers as rows of a list."""
    return [neuron_row(source, source.opened.columns(layer), unit) for layer, unit in units]


def finite(value: float | None) -> float | None:
    """A number as JSON can write it."""
    return float(value) if value is not None and math.isfinite(value) else None


def summary_sentence(neuron: NeuronRow, rule: Rule, *, tested: bool) -> str:
    """What the measurements say of a neuron, in one sentence."""
    if neuron.dead:
        return "Dead: it gives the same value for every image."
    if not neuron.concept:
        return "No concept stands out."
    passing, reached = neuron.passes, f"AUC for {neuron.concept} reaches {rule.threshold:g}"
    if not tested:
        best = f"It tells {neuron.concept} from everything else as {_listed(passing)}"
        verdict = best if passing else f"{neuron.concept} is only its best match"
        return f"{verdict}; multimodality was not tested."
    if neuron.multimodal:
        verdict = neuron.verdict.capitalize()
        return f"{verdict}: it tells {neuron.concept} from everything else as {_listed(passing)}."
    if neuron.verdict == "untested":
        among = "the written word" if rule.required == "word" else f"a {rule.required}"
        return f"Not tested as {rule.at_least} modalities, {among} among them, for {neuron.concept}, its best match."
    if neuron.verdict == "selective":
        only = f"only as {_listed(passing)}" if passing else "nowhere"
        return (
            f"Selective, not multimodal: its {reached} in {rule.at_least} modalities or more, but its average precision "
            f"reaches {rule.ap:g} {only}."
        )
    if rule.met_by(passing):
        return f"Not multimodal: its {reached} as {_listed(passing)}, but q is {small(neuron.q)}."
    if passing:
        return f"Not multimodal: its {reached} and its average precision {rule.ap:g} only as {_listed(passing)}."
    return f"Not multimodal: {neuron.concept} is only its best match."


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def _modality(
    source: Source, row: NeuronRow, modality: str, strongest: list[Shown]
) -> ModalityPart:
    positives, images = source.opened.probes.tested(row.concept, modality)
    return ModalityPart(
        modality=modality,
        auc=row.auc.get(modality),
        ap=row.ap.get(modality),
        passes=modality in row.passes,
        positives=positives,
        images=images,
        exemplars=strongest,
    )


def _names(source: Source, layer: str, unit: int) -> list[str]:
    table = source.opened.unit_table(layer, "names")
    if table is None:
        return []
    # Its rows are sorted by unit.
    start, end = np.searchsorted(column_numbers(table["unit"]), [unit, unit + 1])
    return [str(name) for name in table["name"][start:end].to_pylist()]


def _levels(found: ExemplarList) -> list[tuple[float, float, ExemplarList]]:
    """Images at up to `LEVELS` levels of equal width, the highest first; levels without images are left out."""
    if not len(found):
        return []
    values = found.values.astype(np.float64)
    edges = np.linspace(values.min(), values.max(), LEVELS + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, LEVELS - 1)
    levels = []
    for level in reversed(range(LEVELS)):
        rows = np.flatnonzero(place == level)[:PER_LEVEL]
        if len(rows):
            part = ExemplarList(found.ids[rows], found.values[rows], found.positions[rows])
            levels.append((float(edges[level]), float(edges[level + 1]), part))
    return levels


def answers(source: Source, layer: str, unit: int) -> list[Answer]:
    """The concepts that were tested for a unit, the best first."""
    table = source.opened.selectivity(layer)
    rows = table.filter(arrow_mask(column_numbers(table["unit"]) == unit)).to_pylist()
    modalities = in_order(name[4:] for name in table.column_names if name.startswith("auc_"))
    found = []
    for row in rows:
        if concept := row["concept"]:
            auc = {name: finite(row[f"auc_{name}"]) for name in modalities}
            found.append(
                Answer(
                    concept=concept,
                    path=source.links.concept(concept),
                    passes=bool(row.get("passes")),
                    weakest=min((v for v in auc.values() if v is not None), default=None),
                    auc=auc,
                )
            )
    found.sort(key=lambda one: (not one.passes, -(one.weakest or 0.0), one.concept))
    return found[:ANSWERS]


def _words(source: Source, layer: str, unit: int) -> list[Word] | None:
    if activations_file(layer) not in source.atlas.manifest["files"]:
        return None
    values = np.asarray(source.atlas.word_activations(layer)[:, unit], np.float64)
    order = np.argsort(-values, kind="stable")[:WORDS]
    # What gives the least of all excites nothing: most words, where a unit is mostly silent.
    least = values.min()
    return [Word(source.atlas.words[i], float(values[i])) for i in order if values[i] > least]


def read_by(source: Source, layer: str, unit: int) -> ReadBy | None:
    """The neuron of the other tower that answers most alike."""
    atlas, own = source.atlas, tower_of(source.atlas, layer)
    last = default_layers(atlas)
    if last is None or own == "joint" or not atlas.manifest["dense"]:
        return None
    pair = (layer, last[1]) if own == "image" else (last[0], layer)
    found = pairs_of(source.opened, *pair)
    if found is None:
        return None
    other, matches = (pair[1], found.of_images) if own == "image" else (pair[0], found.of_texts)
    partner = int(matches.partner[unit])
    if partner < 0:
        return None
    noted = (atlas.manifest["analysis"] or {}).get("pairs")
    counts = noted["counts"] if noted and pair == last else None
    return ReadBy(
        neuron=neuron_row(source, source.opened.columns(other), partner),
        tower="text" if own == "image" else "image",
        concept=found.concepts[int(matches.shared[unit])],
        r=float(matches.r[unit]),
        q=float(matches.q[unit]),
        passes=bool(matches.passes[unit]),
        concepts=len(found.concepts),
        counts=counts,
        sentence="" if counts is None else _pairs_sentence(counts, own),
    )


def pairs_of(opened: Opened, image_layer: str, text_layer: str) -> TowerPairs | None:
    """The units of two towers that answer alike, computed once for an opened atlas (seconds); None where too few concepts are shown both ways."""

    def pairs() -> TowerPairs | None:
        try:
            return tower_pairs(opened.atlas, image_layer, text_layer, controls=False)
        except SynestheteError:
            return None

    return opened.computed(("pairs", image_layer, text_layer), pairs)


def _pairs_sentence(counts: dict[str, int | None], tower: str) -> str:
    of, twin = (counts[f"{tower}_units{kind}"] for kind in ("", "_random_twin"))
    mixtures, mixed = (counts[f"{tower}_units_{kind}"] for kind in ("rotation", "shuffled"))
    chance = "was not recorded" if twin is None else f"has {twin}"
    return (
        f"{of} neurons of this layer have such a partner; the random twin {chance}, random mixtures of the neurons of both "
        f"layers {mixtures}, texts of shuffled concepts {mixed}."
    )


def joint(source: Source, columns: Columns, unit: int) -> Joint | None:
    """Modality Dominance Score and Bridge Score of a neuron that reads both."""
    layer = columns.layer
    found = source.opened.computed(("joint", layer), lambda: joint_scores(source.atlas, layer))
    if found is None:
        return None
    return Joint(
        dominance=finite(found.dominance[unit]),
        dominant=CLASSES[found.dominant[unit]],
        bridge=float(found.bridge[unit]),
        partner=neuron_row(source, columns, int(found.partner[unit])),
        pairs=found.pairs,
    )


def _control(counts: Counts | None) -> str:
    if counts is None or counts.random_twin.count is None:
        return (
            "No random twin was recorded: how many such neurons there are by chance is not known."
        )
    permuted = counts.permuted.count
    return (
        f"Of {counts.units:,} neurons here {counts.model.count} are multimodal; in a random twin of the model, which knows "
        f"nothing, {counts.random_twin.count} pass the same test, "
        f"{'' if permuted is None else f'with the trained weights permuted {permuted}, '}"
        f"of random mixtures of the neurons {counts.rotation.count}, with shuffled labels {counts.shuffled.count}."
    )


def activations(source: Source, columns: Columns, unit: int) -> Float64 | None:
    """A unit's activations over all images; None without the dense matrix."""
    if not source.atlas.manifest["dense"]:
        return None
    return np.asarray(source.atlas.activations(columns.layer)[:, unit], np.float64)


def distribution(source: Source, columns: Columns, unit: int) -> Distribution:
    """How many images excite a unit how much."""
    values, probes = activations(source, columns, unit), source.opened.probes
    if values is None:
        return _from_histogram(source, columns, unit)
    there = probes.readable & np.isfinite(values)
    edges = _equal_bins(values[there])
    own = there & probes.showing(standing(source, columns, unit).concepts)
    counts, of_own = (np.histogram(values[rows], edges)[0] for rows in (there, own))
    groups = in_order(_groups(source.atlas, source.atlas.exemplars(columns.layer)))
    return Distribution(
        edges=edges.tolist(),
        counts=counts.tolist(),
        own=of_own.tolist(),
        images=int(there.sum()),
        lowest=int((values[there] == values[there].min(initial=np.inf)).sum()),
        own_values={
            name: np.unique(values[own & probes.modality.rows(name)]).tolist() for name in groups
        },
    )


def _from_histogram(source: Source, columns: Columns, unit: int) -> Distribution:
    kept = source.atlas.statistics(columns.layer)
    edges = _equal_bins(np.array([kept.minimum[unit], kept.maximum[unit]], np.float64))
    middle = np.clip(np.nan_to_num(kept.bounds.mean(axis=1)), edges[0], edges[-1])
    counts = np.histogram(middle, edges, weights=kept.histogram[unit])[0].astype(np.int64)
    return Distribution(
        edges=edges.tolist(),
        counts=counts.tolist(),
        own=None,
        images=int(counts.sum()),
        lowest=None,
        own_values={},
    )


def _equal_bins(values: Float64) -> Float64:
    """Equal bins from the lowest value (or zero) to the highest; one wide bin around a constant."""
    there = values[np.isfinite(values)]
    low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 0.0)
    low = min(low, 0.0)
    return np.linspace(low, high if high > low else low + 1.0, BINS + 1)


def meaning(source: Source, columns: Columns, unit: int) -> Meaning | None:
    """P(concept | activation) of the concepts that the strongest images show.

    None without the dense matrix or a sample that has it, without labelled images, and for a unit that does not vary.
    """
    if not can_label(source, columns, unit) or len(source.opened.probes.concept.texts) < 2:
        return None
    key = ("meaning", columns.layer, unit, source.links)
    return source.opened.computed(key, lambda: _meaning(source, columns.address(unit)))


def _meaning(source: Source, address: str) -> Meaning:
    found = conditional(source.atlas, address, bins=MEANING_BINS)
    curves = [
        Curve(
            concept=one.category,
            path=source.links.concept(one.category),
            base=one.base,
            share=[finite(share) for share in one.share],
            low=one.low,
            high=one.high,
        )
        for one in found.curves
    ]
    return Meaning(found.edges, found.images, curves)


def neighbours(source: Source, columns: Columns, unit: int) -> Neighbours | None:
    """Neurons of the same layer whose activations correlate most; None without the dense matrix."""
    if not source.atlas.manifest["dense"] or columns.dead[unit]:
        return None
    key = ("neighbours", columns.layer, unit)
    images, found = source.opened.computed(key, lambda: _nearest(source, columns, unit))
    rows = [Neighbour(neuron_row(source, columns, other), r) for other, r in found]
    return Neighbours(images, rows)


def _nearest(source: Source, columns: Columns, unit: int) -> tuple[int, list[tuple[int, float]]]:
    compared = source.opened.matrices.get(columns.layer, lambda: _compared(source, columns))
    return len(compared.values), nearest(compared.with_others(unit))


def nearest(r: Floating) -> list[tuple[int, float]]:
    """The units of highest correlation and what it is; of equal ones those of lower number."""
    least = np.partition(r, -NEIGHBOURS)[-NEIGHBOURS] if len(r) > NEIGHBOURS else -np.inf
    best = np.flatnonzero(r >= least)
    best = best[np.argsort(-r[best], kind="stable")][:NEIGHBOURS]
    return [(int(unit), float(r[unit])) for unit in best if np.isfinite(r[unit])]


def _compared(source: Source, columns: Columns) -> Compared:
    readable = np.flatnonzero(source.opened.probes.read_by(source.atlas.layer(columns.layer)))
    step = max(1, -(-len(readable) * columns.units // ENTRIES))
    return Compared.of(np.asarray(source.atlas.activations(columns.layer)[readable[::step]]))


@dataclass(frozen=True)
class Compared:
    """Activations of a layer, standardised so that correlations are products.

    Attributes
    ----------
    values
        `[images, units]`, standardised.
    varies
        `[units]`.

    Examples
    --------
    >>> values = np.array([[1, 2, 4, 0], [3, 6, 2, 0], [2, 4, 3, 0]], np.float16)
    >>> Compared.of(values).with_others(0).round(3).tolist()
    [-inf, 1.0, -1.0, -inf]
    """

    values: Float32
    varies: Bool

    @classmethod
    def of(cls, activations: Float16) -> Compared:
        """From activations `[images, units]`; what is not finite counts as 0."""
        values = standardised(activations)
        return cls(values, np.asarray(values.any(axis=0)))

    def with_others(self, unit: int) -> Float32:
        """Pearson correlation of a unit with every unit, `[units]`; -inf with itself, and where one does not vary."""
        r: Float32 = np.minimum(self.values[:, unit] @ self.values, np.float32(1))
        r[~self.varies] = -np.inf
        r[unit] = -np.inf
        return r if self.varies[unit] else np.full_like(r, -np.inf)


def standardised(values: Floating) -> Float32:
    """Columns of mean 0 and length 1, so that products are correlations; a constant column becomes 0."""
    centred = np.nan_to_num(values.astype(np.float32))
    centred -= centred.mean(axis=0, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=0, keepdims=True)
    result: Float32 = np.zeros_like(centred)
    np.divide(centred, length, out=result, where=length > 1e-6)
    return result
