"""`/`: the bench, and below it the model card, with the headline and the neurons that show it best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synesthete._core.arrays import Int64
from synesthete.report.columns import Columns, Keys, Part, ranked
from synesthete.report.counts import (
    MOVED,
    RANGES,
    Counts,
    Moved,
    Rule,
    all_counts,
    layer_counts,
    moved,
    rule_of,
    why_not_counted,
)
from synesthete.report.images import Shown, exemplars, images, standing, strongest
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.pages.bench import Bench, bench, why_no_bench

SHOWN = 6


@dataclass(frozen=True)
class Guises:
    """A neuron and its strongest image of its concept in each modality."""

    neuron: NeuronRow
    images: dict[str, Shown]


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """A layer that was read; `counts` is null where nothing was counted."""

    name: str
    path: str
    units: int
    kind: str
    grid: list[int] | None
    counts: Counts | None


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the atlas is of, and what was found; `not_counted` says why `counts` is null.

    `bench` is a word on a photo and what it does; null where there is none, and then `no_bench` says why. `ranges` says what the ranges of the counts are over, `moved` what moves with other artists, `moved_note` how that was found.
    """

    bench: Bench | None
    no_bench: str
    atlas: str
    model: str
    architecture: str
    parameters: int | None
    images: int
    quarantined: int
    concepts: int
    modalities: dict[str, int]
    probes: str
    reduction: str
    counts: Counts | None
    not_counted: str | None
    ranges: str
    moved: Moved | None
    moved_note: str
    rule: Rule | None
    layers: list[LayerFacts]
    best: list[Guises]
    fingerprint: str
    versions: dict[str, str]
    preprocessing: dict[str, Any]


def model_card(site: Site) -> ModelCard:
    """What the atlas is of, and how many neurons are multimodal: in the model, its random twin, by chance."""
    facts, manifest = site.atlas.summary(), site.atlas.manifest
    described = manifest["model"].get("description", {})
    no_bench = why_no_bench(site)
    return ModelCard(
        bench=None if no_bench else bench(site),
        no_bench=no_bench,
        atlas=site.opened.name,
        model=str(facts["model"]),
        architecture=str(described.get("architecture", "")),
        parameters=described.get("parameters"),
        images=facts["images"],
        quarantined=facts["quarantined"],
        concepts=facts["concepts"],
        modalities=facts["modalities"],
        probes=str(manifest["probes"]["name"]),
        reduction=str(manifest["reduction"]),
        counts=(counts := all_counts(site)),
        not_counted=why_not_counted(site) if counts is None else None,
        ranges=RANGES,
        moved=moved(facts),
        moved_note=MOVED,
        rule=rule_of(site.atlas),
        layers=[_layer(site, name) for name in site.atlas.layers],
        best=site.opened.computed(("best", site.links), lambda: _best(site)),
        fingerprint=site.atlas.fingerprint,
        versions={key: str(value) for key, value in manifest["versions"].items()},
        preprocessing=manifest["model"]["preprocessing"],
    )


def _layer(site: Site, name: str) -> LayerFacts:
    entry = site.atlas.layer(name)
    return LayerFacts(
        name=name,
        path=site.links.layer(name),
        units=int(entry["units"]),
        kind=str(entry.get("kind", "")),
        grid=entry.get("grid"),
        counts=layer_counts(site, name),
    )


def _best(site: Site) -> list[Guises]:
    """The most multimodal neurons, one for each concept."""
    if not site.atlas.analysed:
        return []
    parts = []
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        units = np.flatnonzero(columns.multimodal)
        parts.append(Part(layer, units, _order(columns, units)))
    best: dict[str, Guises] = {}
    for layer, unit in ranked(parts):
        concept = site.opened.columns(layer).concept[unit]
        if concept not in best:
            best[concept] = _guises(site, layer, unit)
        if len(best) == SHOWN:
            break
    return list(best.values())


def _order(columns: Columns, units: Int64) -> Keys:
    """First the neurons that are not named after something else, then by modalities passed, then by multimodality."""
    other = [columns.heading[unit] != columns.concept[unit] for unit in units]
    passed = columns.passes[:, units].sum(axis=0)
    return np.array(other, np.int64), -passed, -columns.multimodality[units]


def _guises(site: Site, layer: str, unit: int) -> Guises:
    columns, kept = site.opened.columns(layer), site.atlas.exemplars(layer)
    row, shown = neuron_row(site, columns, unit), {}
    for name in columns.modalities:
        if name in kept.groups:
            top = exemplars(
                site, kept.top(unit, name), layer, standing(site, columns, unit).concepts
            )
            own = [image for image in top if image.own]
            number = strongest(site, columns, unit, name)
            if own:
                shown[name] = own[0]
            elif number is not None:
                shown[name] = images(site, [number])[0]
    return Guises(row, shown)


MODEL_CARD = Page(path="/", template="model_card.html", view=model_card, label="Home")
