"""Everything known of a concept, gathered once: its images in all modalities, and the neurons that know it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from synesthete.errors import near
from synesthete.report.columns import Part, by_multimodality, ranked
from synesthete.report.counts import Rule, rule_of
from synesthete.report.images import Shown, images
from synesthete.report.neuron import NeuronRow, rows_of
from synesthete.report.source import Missing, Near, Source

PER_MODALITY, NEURONS, OTHERS = 24, 48, 14


@dataclass(frozen=True)
class Guise:
    """A concept in one modality: how many images, and the first of them."""

    modality: str
    count: int
    images: list[Shown]


@dataclass(frozen=True, kw_only=True)
class ConceptReport:
    """Everything known of a concept.

    Attributes
    ----------
    family
        Of the probe set; empty for none.
    multimodal, neurons
        How many neurons are multimodal for it, and those that answer to it best, the most multimodal first.
    known_by
        How many neurons answer to it best of all concepts.
    others
        Neurons that answer better to another concept and to this one too, the best first.
    """

    concept: str
    family: str
    guises: list[Guise]
    multimodal: int
    known_by: int
    neurons: list[NeuronRow]
    others: list[NeuronRow]
    rule: Rule | None


def concept_report(source: Source, concept: str) -> ConceptReport:
    """One concept: its images by modality, and the neurons that answer to it best.

    Raises
    ------
    Missing
        No probe image shows it.
    """
    probes = source.opened.probes
    code = probes.concept.code(concept)
    if not code:
        known = [text for text in probes.concept.texts if text]
        close = _near(concept, known)
        raise Missing(
            f"there is no concept {concept[:200]!r} among the probe images",
            hint=near(concept[:200], known),
            near=[Near(name, source.links.concept(name)) for name in close],
        )
    name = probes.concept.texts[code]
    guises = [
        Guise(modality, len(rows), images(source, _spread(rows)))
        for modality, rows in probes.of_concept(name).items()
    ]
    first = next((int(rows[0]) for rows in probes.of_concept(name).values() if len(rows)), None)
    family = "" if first is None else str(probes.rows([first])[0].get("family") or "")
    parts: list[Part] = []
    multimodal = 0
    for layer in source.atlas.layers if source.atlas.analysed else ():
        columns = source.opened.columns(layer)
        own = np.flatnonzero(columns.concept.rows(name) & ~columns.dead)
        multimodal += int(columns.multimodal[own].sum())
        parts.append(by_multimodality(columns, own))
    return ConceptReport(
        concept=name,
        family=family,
        guises=guises,
        multimodal=multimodal,
        known_by=sum(len(part.units) for part in parts),
        neurons=rows_of(source, ranked(parts, 0, NEURONS)),
        others=_others(source, name),
        rule=rule_of(source.atlas),
    )


def _others(source: Source, name: str) -> list[NeuronRow]:
    """By the lowest AUC of the modalities tested, over all images."""
    parts: list[Part] = []
    for layer in source.atlas.layers if source.atlas.analysed else ():
        columns, table = source.opened.columns(layer), source.opened.selectivity(layer)
        own = table.filter(pc.equal(table["concept"], name))
        units = own["unit"].to_numpy()
        tested = [column for column in own.column_names if column.startswith("auc_")]
        auc = np.array([own[column].cast("float64").to_numpy() for column in tested])
        weakest = np.nanmin(np.where(np.isnan(auc), np.inf, auc), axis=0, initial=np.inf)
        found = ~columns.concept.rows(name)[units] & np.isfinite(weakest)
        parts.append(Part(layer, units[found], (-weakest[found],)))
    return rows_of(source, ranked(parts, 0, OTHERS))


def _spread(rows: np.ndarray) -> list[int]:
    """At most `PER_MODALITY` of the images, at equal distances, so that every artist has a chance."""
    if len(rows) <= PER_MODALITY:
        return [int(i) for i in rows]
    places = np.linspace(0, len(rows) - 1, PER_MODALITY).round().astype(int)
    return [int(rows[i]) for i in places]


def _near(text: str, known: list[str]) -> list[str]:
    import difflib

    inside = [name for name in known if text.casefold() in name.casefold()]
    close = difflib.get_close_matches(text[:200], known, n=6, cutoff=0.5)
    return list(dict.fromkeys([*close, *inside]))[:8]
