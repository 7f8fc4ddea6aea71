"""How many neurons are multimodal, beside the controls: the one place that puts the rows together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synesthete._core.intervals import wilson_interval
from synesthete.atlas import curves, multimodal_counts, other_counts

if TYPE_CHECKING:
    from synesthete.atlas import Atlas
    from synesthete.report.source import Source


@dataclass(frozen=True, kw_only=True)
class Count:
    """So many of so many neurons, with the 95 % Wilson interval of the share; null where not measured.

    Attributes
    ----------
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
        The same test made harder, in sentences: without what statistics of the images explain, among words of equal length.
    warnings
        A line for every control that reaches a tenth of the model's count.
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

    @property
    def rows(self) -> tuple[Count, ...]:
        """The counts that belong together, in their order."""
        return self.model, self.random_twin, self.permuted, self.rotation, self.shuffled


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


RULED_OUT = {
    "kept_without_statistics": "pass for the same concept with ink, edges, colours and other statistics of the images regressed out",
    "equal_length": "pass among written words of equal length too",
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


def layer_counts(source: Source, layer: str) -> Counts | None:
    """The counts of one layer; None before an analysis, and where the images did not allow to count."""
    analysis = source.atlas.manifest["analysis"]
    if analysis is None or layer not in analysis["layers"]:
        return None
    facts = analysis["layers"][layer]
    if facts["multimodal"] is None:
        return None
    merged = {**facts, **multimodal_counts([facts]), **other_counts([facts])}
    merged["curve"] = curves({**analysis, "layers": {layer: facts}})
    return counts_of(merged, layer=layer, path=source.links.layer(layer))


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
    )


def _count(facts: Mapping[str, Any], control: str, label: str, units: int) -> Count:
    number = facts.get(f"multimodal{control}")
    if control == "_rotation" and (facts.get("rotation_blocks") or 1) > 1:
        label += " (in blocks)"
    if number is None:
        return Count(label=label)
    low, high = wilson_interval(number, units)
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

    for what, said in RULED_OUT.items():
        if facts.get(f"multimodal_{what}") is not None:
            yield f"{said}: {of('multimodal', what)}, {of('selective', what)}"


def _warnings(facts: Mapping[str, Any]) -> Iterator[str]:
    """Of each verdict that is shown, the controls that reach a tenth of the model's count."""
    for verdict, what in VERDICTS.items():
        own = facts.get(verdict)
        for control, label in LABELS.items():
            number = facts.get(f"{verdict}{control}")
            if control and own is not None and number and 10 * number >= own:
                yield f"{number:,} {what} {label}: at least a tenth of the model's {own:,}"


def rule_of(atlas: Atlas) -> Rule | None:
    """When a neuron counts as multimodal in an atlas; None before an analysis."""
    analysis = atlas.manifest["analysis"]
    if analysis is None:
        return None
    rule = analysis.get("rule", {})
    at_least, required = int(rule.get("at_least", 3)), str(rule.get("required", "word"))
    threshold, level = float(analysis["threshold"]), float(analysis["q"])
    ap, cell = float(analysis["ap"]), float(analysis["cell"])
    sentence = (
        f"A neuron is selective when, for one concept, its AUC reaches {threshold:g} with a false discovery rate of at most {level:g} "
        f"in at least {at_least} modalities, the written {required} among them; multimodal when its average precision there reaches "
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
    )


def counts_in_words(counts: Counts) -> str:
    """The counts in one sentence."""
    return "; ".join(
        f"{'not measured' if row.count is None else f'{row.count} multimodal neurons'} {row.label}"
        for row in counts.rows
    )
