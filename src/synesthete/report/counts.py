"""How many neurons are multimodal, beside the controls: the one place that puts the rows together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from synesthete.atlas import curves, multimodal_counts, other_counts
from synesthete.atlas.summary import TEXT_CONTROLS
from synesthete.probes.probe_set import NAMELESS

if TYPE_CHECKING:
    from synesthete.atlas import Atlas
    from synesthete.report.source import Source


@dataclass(frozen=True, kw_only=True)
class Count:
    """So many of so many neurons; null where not measured.

    Attributes
    ----------
    low, high
        The range of the share over other splits of the artists (the model, its random twin) or over the control's runs. Artists
        are what is sampled, not neurons: an interval over neurons would be too narrow.
    label
        Where they were counted, as it stands in a sentence: `in the model`.
    concepts
        How many concepts they have between them.
    distinct
        How many distinct findings they are: neurons whose activations correlate above 0.8 are one.
    mean
        Of a control the mean count over its initialisations or seeds; `count` is the largest.
    directions
        In how many directions all the neurons there vary (participation ratio).
    curve
        Counts over the thresholds of average precision of `Counts.thresholds`.
    """

    label: str
    count: int | None = None
    share: float | None = None
    low: float | None = None
    high: float | None = None
    concepts: int | None = None
    distinct: int | None = None
    mean: float | None = None
    directions: float | None = None
    curve: list[int] | None = None

    @property
    def name(self) -> str:
        """The label as it stands in a table: `the model`."""
        return self.label.split(" ", 1)[1]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many neurons are multimodal, and how many would be by chance.

    Attributes
    ----------
    layer
        Its name; empty for all layers together.
    units, live_units
        Neurons, and those that do not give the same value for every image.
    model, random_twin, permuted, rotation, shuffled
        The counts of multimodal neurons that belong together; of a control the largest over its runs.
    selective, concept_cells
        How many neurons of the model have the weaker and the stronger verdict, multimodal ones included and among those.
    thresholds
        Of average precision, that the rows' curves are over.
    beside
        The same test made harder, in sentences: without what statistics of the images explain, among words of equal length, among
        matched texts.
    texts
        Of a layer that reads texts, how descriptions and anecdotes are answered to, beside the controls of text; `texts_note` says what
        is counted there.
    warnings
        A line for every control that reaches a tenth of the model's count, and one where all counts are of a sample of the images.
    """

    layer: str
    path: str
    units: int
    live_units: int
    model: Count
    random_twin: Count
    permuted: Count
    rotation: Count
    shuffled: Count
    selective: int
    concept_cells: int
    thresholds: list[float]
    beside: list[str]
    warnings: list[str]
    texts: list[TextRow]
    texts_note: str

    @property
    def rows(self) -> tuple[Count, ...]:
        """The counts that belong together, in their order."""
        return self.model, self.random_twin, self.permuted, self.rotation, self.shuffled


@dataclass(frozen=True, kw_only=True)
class TextModality:
    """Held-out descriptions, or anecdotes, none of which names its concept; null where not measured.

    Attributes
    ----------
    passing
        Units that pass in this modality.
    n, top_1, low, high, median_rank
        How many texts were read by nearest centroid, for which share of them their concept came first (with 95 % interval), and its
        median rank among all.
    """

    passing: int | None = None
    n: int | None = None
    top_1: float | None = None
    low: float | None = None
    high: float | None = None
    median_rank: float | None = None


@dataclass(frozen=True, kw_only=True)
class TextRow:
    """A layer that reads texts, or a control of it: its multimodal units, and what it makes of `description` and `anecdote`."""

    label: str
    multimodal: int | None
    modalities: dict[str, TextModality]

    @property
    def name(self) -> str:
        """The label as it stands in a table: `the model`."""
        return self.label.split(" ", 1)[1]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a neuron counts as multimodal."""

    threshold: float
    q: float
    ap: float
    cell: float
    at_least: int
    required: str
    sentence: str
    groups: Annotated[list[list[str]], Field(exclude=True)]

    def met_by(self, modalities: Sequence[str]) -> bool:
        """Whether these modalities are enough: so many, and one of each group that is needed among them."""
        fine = all(set(group) & set(modalities) for group in self.groups)
        return fine and len(modalities) >= self.at_least


RANGES = (
    "Ranges: of the model and its random twin over ten random splits of the artists, of the mixtures and the shuffled labels over "
    "their runs. The counts are of the one split that makes most concepts testable."
)

RULED_OUT = {
    "kept_without_statistics": "pass for the same concept with ink, edges, colours and other statistics of the images regressed out",
    "equal_length": "pass among written words of equal length too",
    "matched_texts": "pass among texts matched in length, word frequency and spelling too",
}
VERDICTS = {
    "multimodal": "multimodal neurons",
    "selective": "selective neurons",
    "concept_cells": "concept cells",
}
LABELS = {
    "": "in the model",
    "_random_twin": "in its random twin",
    "_permuted": "with its weights permuted",
    "_rotation": "in random mixtures of its neurons",
    "_shuffled": "with shuffled labels",
}
TEXT_LABELS = LABELS | {
    "_word_order": "with shuffled words",
    "_bag_of_words": "in a bag of words",
}
TEXTS_NOTE = (
    "Descriptions and anecdotes do not name their concept. Units that pass: AUC, q and average precision in that modality. First: share of "
    "held-out texts whose concept is the nearest of {concepts:,} centroids of the other half's texts, with the median rank. A bag of words "
    "has one unit a concept, its TF-IDF centroid, fitted to the labels of the other half."
)


def layer_counts(source: Source, layer: str) -> Counts | None:
    """The counts of one layer; None before an analysis, and where the images did not allow to count."""
    return counts_of_layer(source.atlas, layer, path=source.links.layer(layer))


def counts_of_layer(atlas: Atlas, layer: str, *, path: str = "") -> Counts | None:
    """The same of an atlas alone."""
    analysis = atlas.manifest["analysis"]
    if analysis is None or layer not in analysis["layers"]:
        return None
    facts = analysis["layers"][layer]
    if facts["multimodal"] is None:
        return None
    merged = {**facts, **multimodal_counts([facts]), **other_counts([facts])}
    merged["curve"] = curves({**analysis, "layers": {layer: facts}})
    merged["sample"] = analysis.get("sample")
    return counts_of(merged, layer=layer, path=path)


def all_counts(source: Source) -> Counts | None:
    """The counts of all layers together; None before an analysis."""
    return counts_of(source.atlas.summary(), path=source.links.home())


def why_not_counted(source: Source) -> str:
    """Why there are no counts: the images do not allow it, or there is no analysis."""
    reason = source.atlas.summary()["not_tested"]
    return f"no count of multimodal neurons: {reason}" if reason else "not analysed yet"


def counts_of(facts: Mapping[str, Any], *, layer: str = "", path: str = "") -> Counts | None:
    """The counts in a summary of an atlas; None before an analysis."""
    if facts.get("multimodal") is None:
        return None
    units = int(facts["units"])
    model, twin, permuted, rotation, shuffled = (
        _count(facts, control, label, units) for control, label in LABELS.items()
    )
    return Counts(
        layer=layer,
        path=path,
        units=units,
        live_units=int(facts.get("live_units", units)),
        model=model,
        random_twin=twin,
        permuted=permuted,
        rotation=rotation,
        shuffled=shuffled,
        selective=int(facts["selective"]),
        concept_cells=int(facts["concept_cells"]),
        thresholds=list((facts.get("curve") or {}).get("ap", ())),
        beside=list(_beside(facts)),
        warnings=list(_warnings(facts)),
        texts=(texts := text_rows(facts)),
        texts_note=TEXTS_NOTE.format(concepts=facts["reading"]["concepts"]) if texts else "",
    )


def text_rows(facts: Mapping[str, Any]) -> list[TextRow]:
    """Of a layer's entry in the manifest's analysis the rows of `Counts.texts`; empty where it reads no texts, or was analysed before that."""
    reading = facts.get("reading")
    if not reading:
        return []
    modalities = [name for name in NAMELESS if name in reading]

    def modality(name: str, control: str) -> TextModality:
        read = reading[name].get(control.removeprefix("_") or "model", {})
        return TextModality(
            passing=(facts.get(f"passing{control}") or {}).get(name),
            n=reading[name]["n"] if read else None,
            **{key: read.get(key) for key in ("top_1", "low", "high", "median_rank")},
        )

    return [
        TextRow(
            label=label,
            multimodal=facts.get(f"multimodal{control}"),
            modalities={name: modality(name, control) for name in modalities},
        )
        for control, label in TEXT_LABELS.items()
        if facts.get(f"passing{control}") is not None
        or any(control[1:] in reading[name] for name in modalities)
    ]


def _count(facts: Mapping[str, Any], control: str, label: str, units: int) -> Count:
    number = facts.get(f"multimodal{control}")
    if control == "_rotation" and (facts.get("rotation_blocks") or 1) > 1:
        label += " (in blocks)"
    if number is None:
        return Count(label=label)
    span = facts.get(f"multimodal_range{control}")
    low, high = (None, None) if span is None else (bound / units for bound in span)
    return Count(
        label=label,
        count=number,
        share=number / units,
        low=low,
        high=high,
        concepts=facts.get(f"multimodal_concepts{control}"),
        distinct=facts.get(f"multimodal_distinct{control}"),
        mean=facts.get(f"mean_multimodal{control}"),
        directions=facts.get(f"participation_ratio{control}"),
        curve=(facts.get("curve") or {}).get(control[1:] or "model"),
    )


def _beside(facts: Mapping[str, Any]) -> Iterator[str]:
    """The model's counts and its random twin's, where something simple is ruled out."""

    def of(verdict: str, what: str) -> str:
        """Such as `429 of 442 selective neurons (random twin 1 of 25)`."""
        own = f"{facts[f'{verdict}_{what}']:,} of {facts[verdict]:,} {VERDICTS[verdict]}"
        twin = facts.get(f"{verdict}_{what}_random_twin")
        return (
            own
            if twin is None
            else f"{own} (random twin {twin:,} of {facts[f'{verdict}_random_twin']:,})"
        )

    for what, sentence in RULED_OUT.items():
        if facts.get(f"multimodal_{what}") is not None:
            yield f"{sentence}: {of('multimodal', what)}, {of('selective', what)}"


def _warnings(facts: Mapping[str, Any]) -> Iterator[str]:
    """That the counts are of a sample; of each verdict that is shown, the controls that reach a tenth of the model's count."""
    if sample := facts.get("sample"):
        yield f"All counts are of a sample: {sample['images']:,} of {sample['of']:,} images and texts, even over concepts, modalities and artists"
    for verdict, what in VERDICTS.items():
        own = facts.get(verdict)
        for control, label in LABELS.items():
            number = facts.get(f"{verdict}{control}")
            if control and own is not None and number and 10 * number >= own:
                yield f"{number:,} {what} {label}: at least a tenth of the model's {own:,}"


def rule_of(atlas: Atlas, layer: str | None = None) -> Rule | None:
    """When a neuron of a layer (of the main ones by default) counts as multimodal in an atlas; None before an analysis."""
    analysis = atlas.manifest["analysis"]
    if analysis is None:
        return None
    own = analysis["layers"].get(layer, {})
    rule = own.get("design", analysis).get("rule", {})
    at_least, needed = int(rule.get("at_least", 3)), rule.get("required", "word")
    groups = (
        [[needed]] if isinstance(needed, str) else [[str(n) for n in group] for group in needed]
    )
    required = " and ".join(" or ".join(group) for group in groups)
    among = f"the written {required}" if isinstance(needed, str) else f"a {required}"
    threshold, level = float(analysis["threshold"]), float(analysis["q"])
    ap, cell = float(analysis["ap"]), float(analysis["cell"])
    sentence = (
        f"A neuron is selective when, for one concept, its AUC reaches {threshold:g} with a false discovery rate of at most {level:g} "
        f"in at least {at_least} modalities, {among} among them; multimodal when its average precision there reaches "
        f"{ap:g} too; a concept cell from {cell:g}. The concept is chosen on one half of the artists and everything measured on the other half."
    )
    return Rule(
        threshold=threshold,
        q=level,
        ap=ap,
        cell=cell,
        at_least=at_least,
        required=required,
        sentence=sentence,
        groups=groups,
    )


@dataclass(frozen=True)
class Moved:
    """What moves when other artists select and score the neurons.

    Attributes
    ----------
    columns
        What was repeated, and how often.
    rows
        What is counted → the count of the analysis, then for each column that of its only run, or the mean over several and their range.
    """

    columns: list[str]
    rows: dict[str, list[str]]


def moved(facts: Mapping[str, Any]) -> Moved | None:
    """What moves in an atlas, from its summary; None where it was not measured.

    `same concept` are the multimodal neurons of the analysis that were given the same concept, `kept` those that were multimodal again with it.
    """
    found = facts.get("stability")
    if not found:
        return None
    labels = {"exchanged": "halves exchanged", "splits": "{} splits", "resamples": "{} resamples"}
    kinds = [kind for kind in labels if kind in found and found[kind]["runs"]]
    counted = {
        "selective": ("selective", facts["selective"]),
        "multimodal": ("multimodal", facts["multimodal"]),
        "concept cells": ("concept_cells", facts["concept_cells"]),
        "same concept": ("same_concept", facts["multimodal"]),
        "kept": ("kept_multimodal", facts["multimodal"]),
    }
    return Moved(
        [labels[kind].format(found[kind]["runs"]) for kind in kinds],
        {
            label: [f"{printed:,}", *(_moved(found[kind][key]) for kind in kinds)]
            for label, (key, printed) in counted.items()
        },
    )


def _moved(one: Mapping[str, float]) -> str:
    if one["low"] == one["high"]:
        return f"{one['low']:,}"
    return f"{one['mean']:,.0f} ({one['low']:,}–{one['high']:,})"


MOVED = (
    "Splits: random halves of the artists of each modality. Resamples: the artists of a bootstrap sample of each half, every one once "
    "(about two thirds). Same concept: the multimodal neurons that were given the same concept; kept: those that were multimodal again with it."
)


def counts_in_words(counts: Counts) -> str:
    """The counts in one sentence."""
    numbers = [(row.count, row.label) for row in counts.rows]
    of_text = {TEXT_LABELS[f"_{kind}"] for kind in TEXT_CONTROLS}
    numbers += [(row.multimodal, row.label) for row in counts.texts if row.label in of_text]
    return "; ".join(
        f"{'not measured' if number is None else f'{number} multimodal neurons'} {label}"
        for number, label in numbers
    )
