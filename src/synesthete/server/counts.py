"""The count that stands on every page with its controls: the model, its random twin, shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synesthete.analysis import wilson_interval
from synesthete.atlas import multimodal_counts
from synesthete.server.library import Site


@dataclass(frozen=True)
class Count:
    """So many of so many neurons, with the 95 % Wilson interval of the share; null where not measured.

    `concepts` is how many concepts they have between them.
    """

    label: str
    count: int | None
    share: float | None
    low: float | None
    high: float | None
    concepts: int | None = None


@dataclass(frozen=True)
class Counts:
    """How many neurons are multimodal, and how many would be by chance.

    Attributes
    ----------
    layer
        Its name; empty for all layers together.
    units, live_units
        Neurons, and those that do not give the same value for every image.
    model, random_twin, shuffled
        The three counts that belong together.
    """

    layer: str
    path: str
    units: int
    live_units: int
    model: Count
    random_twin: Count
    shuffled: Count


@dataclass(frozen=True)
class Rule:
    """When a neuron counts as multimodal."""

    threshold: float
    q: float
    at_least: int
    required: str
    sentence: str


LABELS = {
    "": "in the model",
    "_random_twin": "in its random twin",
    "_shuffled": "with shuffled labels",
}


def layer_counts(site: Site, layer: str) -> Counts | None:
    """The counts of one layer; None before an analysis, and where the images did not allow to count."""
    analysis = site.atlas.manifest["analysis"]
    if analysis is None or layer not in analysis["layers"]:
        return None
    facts = analysis["layers"][layer]
    if facts["multimodal"] is None:
        return None
    return _counts(layer, site.links.layer(layer), {**facts, **multimodal_counts([facts])})


def all_counts(site: Site) -> Counts | None:
    """The counts of all layers together; None as for one layer."""
    facts = site.atlas.summary()
    return None if facts["multimodal"] is None else _counts("", site.links.home(), facts)


def why_not_counted(site: Site) -> str:
    """Why there are no counts: the images do not allow it, or there is no analysis."""
    reason = site.atlas.summary()["not_tested"]
    return f"no count of multimodal neurons: {reason}" if reason else "not analysed yet"


def rule(site: Site) -> Rule | None:
    """When a neuron counts as multimodal here; None before an analysis."""
    analysis = site.atlas.manifest["analysis"]
    if analysis is None:
        return None
    said = analysis.get("rule", {})
    at_least, required = int(said.get("at_least", 3)), str(said.get("required", "word"))
    threshold, level = float(analysis["threshold"]), float(analysis["q"])
    sentence = (
        f"A neuron counts as multimodal when, for one concept, its AUC reaches {threshold:g} with a false "
        f"discovery rate of at most {level:g} in at least {at_least} modalities, the written {required} among "
        "them. The concept is chosen on one half of the artists and the AUC measured on the other half."
    )
    return Rule(threshold, level, at_least, required, sentence)


def _counts(layer: str, path: str, facts: Mapping[str, Any]) -> Counts:
    units = int(facts["units"])
    model, twin, shuffled = (
        _count(label, facts.get(f"multimodal{key}"), units, facts[f"multimodal_concepts{key}"])
        for key, label in LABELS.items()
    )
    return Counts(layer, path, units, int(facts["live_units"]), model, twin, shuffled)


def _count(label: str, number: int | None, units: int, concepts: int | None) -> Count:
    if number is None:
        return Count(label, None, None, None, None)
    low, high = wilson_interval(number, units)
    return Count(label, number, number / units, low, high, concepts)


def counts_told(counts: Counts) -> str:
    """The three counts in words."""
    return "; ".join(
        f"{_count_told(row)} {row.label}"
        for row in (counts.model, counts.random_twin, counts.shuffled)
    )


def _count_told(row: Count) -> str:
    return "not measured" if row.count is None else f"{row.count} multimodal neurons"
