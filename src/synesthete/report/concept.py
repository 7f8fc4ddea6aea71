"""Everything known of a concept, gathered once: its images and texts in all modalities, and the units that answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synesthete.atlas.arrays import arrow_text, column_numbers
from synesthete.errors import near
from synesthete.report.columns import Columns, Part, by_multimodality, ranked
from synesthete.report.counts import Rule, rule_of
from synesthete.report.images import Shown, images
from synesthete.report.neuron import NeuronRow, finite, rows_of
from synesthete.report.source import Missing, Near, Source

PER_MODALITY, PER_LAYER, NEURONS, OTHERS = 24, 6, 48, 14


@dataclass(frozen=True, kw_only=True)
class ConceptUnit:
    """A unit whose concept this is, in one modality.

    Attributes
    ----------
    tower
        What its layer reads: `image`, `text` or `joint`.
    heading
        Its tested name, else the concept.
    path
        Of its page.
    auc, ap
        In this modality, on artists who had no part in choosing the concept.
    passes
        Whether both reach their thresholds here.
    verdict
        Over all modalities: `untested`, `none`, `selective`, `multimodal` or `concept cell`.
    """

    address: str
    layer: str
    tower: str
    unit: int
    heading: str
    path: str
    auc: float | None
    ap: float | None
    passes: bool
    verdict: str
    multimodal: bool


@dataclass(frozen=True, kw_only=True)
class ConceptModality:
    """A concept in one modality.

    Attributes
    ----------
    texts
        Whether it is one of texts.
    count, tested
        Images or texts of the concept, and those of them that its units were measured with.
    exemplars
        Some of them.
    answering
        Layer → units whose concept this is and that pass in this modality, null where that was not tested; layers that do
        not read it are left out.
    units
        The best of those of each layer, by average precision; of a layer where none passes the one that comes nearest.
    """

    modality: str
    texts: bool
    count: int
    tested: int
    exemplars: list[Shown]
    answering: dict[str, int | None]
    units: list[ConceptUnit]


@dataclass(frozen=True, kw_only=True)
class ConceptLayer:
    """How many units of a layer are multimodal for a concept, and how many would be by chance; null where not tested.

    Attributes
    ----------
    known_by
        Units that answer to it best of all concepts.
    random_twin, rotation, shuffled
        The same count as `multimodal` in the controls.
    """

    layer: str
    tower: str
    path: str
    units: int
    known_by: int
    multimodal: int | None
    random_twin: int | None
    rotation: int | None
    shuffled: int | None


@dataclass(frozen=True, kw_only=True)
class ConceptReport:
    """Everything known of a concept.

    Attributes
    ----------
    family
        Of the probe set; empty for none.
    modalities
        It in each modality, those of images first.
    layers
        Each layer of the atlas with its controls; empty before an analysis.
    cell
        The unit that passes in most modalities, the higher average precision where two pass in as many; null where none
        passes in two.
    multimodal, known_by
        How many neurons of the main layers are multimodal for it, and answer to it best of all concepts.
    neurons
        Those that answer to it best, the most multimodal first.
    others
        Neurons that answer better to another concept and to this one too, the best first.
    """

    concept: str
    family: str
    modalities: list[ConceptModality]
    layers: list[ConceptLayer]
    cell: NeuronRow | None
    multimodal: int
    known_by: int
    neurons: list[NeuronRow]
    others: list[NeuronRow]
    rule: Rule | None


def concept_report(source: Source, concept: str) -> ConceptReport:
    """One concept: its images and texts by modality, and the units of every layer that answer to each.

    Raises
    ------
    Missing
        No probe image or text is of it.
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
    of_concept = probes.of_concept(name)
    first = next((int(rows[0]) for rows in of_concept.values() if len(rows)), None)
    family = "" if first is None else str(probes.rows([first])[0].get("family") or "")
    found = [
        _Found(columns, np.flatnonzero(columns.concept.rows(name) & ~columns.dead))
        for layer in (source.atlas.layers if source.atlas.analysed else ())
        for columns in [source.opened.columns(layer)]
    ]
    layers = [_layer(source, name, one) for one in found]
    main = [one for one in found if one.columns.layer in source.atlas.main_layers]
    parts = [by_multimodality(one.columns, one.units) for one in main]
    return ConceptReport(
        concept=name,
        family=family,
        modalities=[
            ConceptModality(
                modality=modality,
                texts=bool((probes.of_text & probes.modality.rows(modality)).any()),
                count=len(rows),
                tested=probes.tested(name, modality)[0],
                exemplars=images(source, _spread(rows)),
                answering={
                    one.columns.layer: one.answering(modality)
                    for one in found
                    if modality in one.columns.modalities
                },
                units=[unit for one in found for unit in _units(source, one, modality)],
            )
            for modality, rows in of_concept.items()
        ],
        layers=layers,
        cell=_cell(source, found),
        multimodal=sum(int(one.columns.multimodal[one.units].sum()) for one in main),
        known_by=sum(len(one.units) for one in main),
        neurons=rows_of(source, ranked(parts, 0, NEURONS)),
        others=_others(source, name),
        rule=rule_of(source.atlas),
    )


def concept_facts(report: ConceptReport) -> dict[str, Any]:
    """A concept as JSON can hold it: what the page's representation is."""
    from pydantic import TypeAdapter  # takes long to import

    facts: dict[str, Any] = TypeAdapter(ConceptReport).dump_python(report, mode="json")
    return facts


@dataclass(frozen=True)
class _Found:
    """The units of a layer whose concept it is."""

    columns: Columns
    units: np.ndarray

    def column(self, kind: str, modality: str) -> np.ndarray:
        """`[units]`: `auc`, `ap` or `passes` in a modality that the layer reads."""
        place = self.columns.modalities.index(modality)
        values: np.ndarray = getattr(self.columns, kind)[place, self.units]
        return values

    def answering(self, modality: str) -> int | None:
        """How many pass in a modality; None where neither they nor, without any, other units were tested."""
        auc = self.columns.auc[self.columns.modalities.index(modality)]
        known = auc[self.units] if len(self.units) else auc
        return None if np.isnan(known).all() else int(self.column("passes", modality).sum())


def _layer(source: Source, name: str, found: _Found) -> ConceptLayer:
    layer, columns = found.columns.layer, found.columns
    facts = source.atlas.manifest["analysis"]["layers"].get(layer, {})
    multimodal = int(columns.multimodal[found.units].sum())

    def by_chance(control: str) -> int | None:
        counted = facts.get(f"concepts_{control}")
        return None if counted is None else int(counted.get(name, 0))

    return ConceptLayer(
        layer=layer,
        tower=_tower(source, layer),
        path=source.links.layer(layer),
        units=columns.units,
        known_by=len(found.units),
        multimodal=None if facts.get("multimodal") is None else multimodal,
        random_twin=by_chance("random_twin"),
        rotation=by_chance("rotation"),
        shuffled=by_chance("shuffled"),
    )


def _tower(source: Source, layer: str) -> str:
    return str(source.atlas.layer(layer).get("tower", "image"))


def _units(source: Source, found: _Found, modality: str) -> list[ConceptUnit]:
    """The units of one layer that pass in a modality, the best first; else the one that comes nearest."""
    columns = found.columns
    if modality not in columns.modalities:
        return []
    auc, ap, passes = (found.column(kind, modality) for kind in ("auc", "ap", "passes"))
    keys = [np.nan_to_num(values, nan=-1.0) for values in (ap, auc)]
    order = np.lexsort((found.units, -keys[1], -keys[0], ~passes))
    order = order[~np.isnan(auc[order])]
    shown = order[: min(PER_LAYER, max(int(passes.sum()), 1))]
    return [
        ConceptUnit(
            address=columns.address(unit),
            layer=columns.layer,
            tower=_tower(source, columns.layer),
            unit=unit,
            heading=columns.heading[unit],
            path=source.links.neuron(columns.address(unit)),
            auc=finite(auc[place]),
            ap=finite(ap[place]),
            passes=bool(passes[place]),
            verdict=columns.verdict[unit],
            multimodal=bool(columns.multimodal[unit]),
        )
        for place in shown.tolist()
        for unit in [int(found.units[place])]
    ]


def _cell(source: Source, found: list[_Found]) -> NeuronRow | None:
    parts = []
    for one in found:
        passes = one.columns.passes[:, one.units]
        ap = np.where(passes, np.nan_to_num(one.columns.ap[:, one.units]), 0.0).sum(axis=0)
        count = passes.sum(axis=0)
        enough = count >= 2
        keys = (-count[enough], -ap[enough])
        parts.append(Part(one.columns.layer, one.units[enough], keys))
    best = rows_of(source, ranked(parts, 0, 1))
    return best[0] if best else None


def _others(source: Source, name: str) -> list[NeuronRow]:
    """By the lowest AUC of the modalities tested, over all images."""
    import pyarrow.compute as pc

    parts: list[Part] = []
    for layer in source.atlas.main_layers if source.atlas.analysed else ():
        columns, table = source.opened.columns(layer), source.opened.selectivity(layer)
        own = table.filter(pc.equal(table["concept"], arrow_text(name)))
        units = column_numbers(own["unit"])
        tested = [column for column in own.column_names if column.startswith("auc_")]
        auc = np.array([column_numbers(own[column].cast("float64")) for column in tested])
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
