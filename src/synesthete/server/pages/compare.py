"""`/compare` and `/models`: two neurons side by side, of one atlas or of two; two models, and which neurons match."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from fastapi import Query

from synesthete.analysis.compare import (
    Comparison,
    ConceptSets,
    MatchCount,
    compare_models,
    concept_sets,
    eligible_concepts,
    hashes,
    shared_rows,
)
from synesthete.errors import SynestheteError
from synesthete.report.columns import Unit
from synesthete.report.counts import Counts, all_counts
from synesthete.report.images import Shown, exemplars, standing
from synesthete.report.neuron import (
    Distribution,
    NeuronRow,
    activations,
    distribution,
    neuron_row,
    standardised,
)
from synesthete.report.source import Near, find_unit
from synesthete.server.library import Site
from synesthete.server.page import Page

SHOWN, MATCHED = 12, 24
IMAGES = 4_000  # at most so many of the shared images are compared, at equal distances
BLOCK = 4_096
Other = Annotated[str, Query(max_length=200, description="Name of another atlas that is served.")]
Address = Annotated[str, Query(max_length=400, description="Address of a neuron, layer:unit.")]


@dataclass(frozen=True)
class Side:
    """One of the two."""

    neuron: NeuronRow
    exemplars: list[Shown]
    distribution: Distribution


@dataclass(frozen=True, kw_only=True)
class ComparePage:
    """Two neurons.

    Attributes
    ----------
    other, atlases
        The atlas of the second neuron (empty: of the first), and those to choose from.
    correlation
        Of their activations over the probe images; null where no matrix was kept, or the images differ.
    shared
        How many of the strongest images they have in common.
    """

    a: str
    b: str
    other: str
    atlases: list[str]
    sides: list[Side]
    correlation: float | None
    shared: int | None


def compare_page(site: Site, a: Address = "", b: Address = "", other: Other = "") -> ComparePage:
    """Two neurons side by side, of one atlas or of two, and how alike their activations are."""
    a, b, second = a.strip(), b.strip(), site.of(other.strip())
    atlases = [name for name, _ in site.others]
    if not (a and b):
        return ComparePage(
            a=a, b=b, other=other, atlases=atlases, sides=[], correlation=None, shared=None
        )
    pair = ((site, a), (second, b))
    sides = [_side(here, address) for here, address in pair]
    probes = [here.atlas.manifest["probes"]["fingerprint"] for here, _ in pair]
    same = probes[0] == probes[1]
    values = [activations(here, *find_unit(here, address)) for here, address in pair]
    top = [{image.image for image in side.exemplars} for side in sides]
    return ComparePage(
        a=a,
        b=b,
        other=other,
        atlases=atlases,
        sides=sides,
        correlation=_correlation(site, values) if same else None,
        shared=len(top[0] & top[1]) if same else None,
    )


def _side(site: Site, address: str) -> Side:
    columns, unit = find_unit(site, address)
    row = neuron_row(site, columns, unit)
    top = site.atlas.exemplars(columns.layer).top(unit, None, limit=SHOWN)
    shown = exemplars(site, top, columns.layer, standing(site, columns, unit).concepts)
    return Side(row, shown, distribution(site, columns, unit))


def _correlation(site: Site, values: list[np.ndarray | None]) -> float | None:
    if values[0] is None or values[1] is None:
        return None
    rows = site.opened.probes.readable & np.isfinite(values[0]) & np.isfinite(values[1])
    first, second = values[0][rows], values[1][rows]
    if not (len(first) > 1 and first.std() and second.std()):
        return None
    return float(np.corrcoef(first, second)[0, 1])


COMPARE = Page(
    path="/compare", template="compare.html", view=compare_page, label="Compare", exported=False
)


@dataclass(frozen=True, kw_only=True)
class ModelSide:
    """One of the two atlases; `counts` is null before an analysis."""

    atlas: str
    model: str
    path: str
    images: int
    counts: Counts | None


@dataclass(frozen=True)
class Pair:
    """A multimodal neuron of the first, the neuron of the second that is most like it, and their correlation."""

    first: NeuronRow
    second: NeuronRow
    correlation: float


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Units of the last main layers matched in one way, chosen on one half of the artists and scored on the other.

    Attributes
    ----------
    way
        `profile` (mean responses to concepts) or `activation` (on shared images).
    points
        How many concepts or images they were chosen on.
    counts
        Of the units of the first and of the second.
    mutual
        Pairs that pass and are each other's partner.
    pairs
        The most alike, as far as both atlases are analysed.
    """

    way: str
    points: int
    counts: list[MatchCount]
    mutual: int
    pairs: list[Pair]


@dataclass(frozen=True, kw_only=True)
class ModelsPage:
    """Two atlases.

    Attributes
    ----------
    other, atlases
        The second, and those to choose from.
    both, only_first, only_second
        Concepts with a multimodal neuron in both, in the first or in the second alone.
    shared
        Probe images that both were shown; null without activations of single images.
    pairs
        Multimodal neurons of the first with their nearest of the second, the most alike first.
    median
        Of the correlations of all multimodal neurons with their nearest; null where none could be matched.
    overlap
        How many concepts both would have by chance, and which neither has; null where they cannot be tested.
    layers
        Whose units `tested` matches.
    tested
        As `synesthete compare` has it.
    missing
        Why something is not there.
    """

    other: str
    atlases: list[str]
    sides: list[ModelSide] = field(default_factory=list)
    both: list[Near] = field(default_factory=list)
    only_first: list[Near] = field(default_factory=list)
    only_second: list[Near] = field(default_factory=list)
    shared: int | None = None
    pairs: list[Pair] = field(default_factory=list)
    median: float | None = None
    overlap: ConceptSets | None = None
    layers: list[str] = field(default_factory=list)
    tested: list[Tested] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def models_page(site: Site, other: Other = "") -> ModelsPage:
    """Two models on the same images: how many multimodal neurons, of what, and which neurons match."""
    atlases = [name for name, _ in site.others]
    name = other.strip()
    if not name:
        return ModelsPage(other="", atlases=atlases)
    second = site.of(name)
    known = [_known(one) for one in (site, second)]
    both, first, other_only = known[0] & known[1], known[0] - known[1], known[1] - known[0]
    found = matches(site, second)
    compared, why = comparison(site, second)
    return ModelsPage(
        other=name,
        atlases=atlases,
        sides=[_model_side(site), _model_side(second)],
        both=_near(site, both),
        only_first=_near(site, first),
        only_second=_near(second, other_only),
        shared=found.images,
        pairs=[_pair(site, second, one) for one in found.pairs[:MATCHED]],
        median=found.median,
        overlap=_overlap(site, second, known),
        layers=list(compared.layers) if compared else [],
        tested=_tested(site, second, compared) if compared else [],
        missing=[why] if why else [],
    )


def comparison(site: Site, second: Site) -> tuple[Comparison | None, str]:
    """Their last main layers compared, or why they cannot be."""

    def compare() -> tuple[Comparison | None, str]:
        try:
            found = compare_models(site.atlas, second.atlas)
        except SynestheteError as error:
            return None, str(error)
        return found, "; ".join(one for way, one in found.missing.items() if way != "concepts")

    key = ("comparison", second.opened.name, second.atlas.manifest["checksum"])
    return site.opened.computed(key, compare)


def _tested(site: Site, second: Site, found: Comparison) -> list[Tested]:
    shown = site.atlas.analysed and second.atlas.analysed
    columns = [one.opened.columns(layer) for one, layer in zip((site, second), found.layers, strict=True)] if shown else []  # fmt: skip
    return [
        Tested(
            way=way,
            points=len(matching.points),
            counts=[matching.first, matching.second],
            mutual=matching.mutual,
            pairs=[
                Pair(neuron_row(site, columns[0], unit), neuron_row(second, columns[1], partner), r)
                for unit, partner, r, _ in (matching.pairs(MATCHED) if shown else ())
            ],
        )
        for way, matching in (("profile", found.by_profile), ("activation", found.by_activation))
        if matching is not None
    ]


def _overlap(site: Site, second: Site, known: list[set[str]]) -> ConceptSets | None:
    def compute() -> ConceptSets | None:
        try:
            eligible = [eligible_concepts(one.atlas) for one in (site, second)]
        except SynestheteError:
            return None
        return concept_sets(known, eligible)

    key = ("overlap", second.opened.name, second.atlas.manifest["checksum"])
    return site.opened.computed(key, compute)


def _model_side(site: Site) -> ModelSide:
    manifest = site.atlas.manifest
    return ModelSide(
        atlas=site.opened.name,
        model=str(manifest["model"]["name"]),
        path=site.links.home(),
        images=int(manifest["probes"]["images"]),
        counts=all_counts(site),
    )


def _known(site: Site) -> set[str]:
    """Concepts with a multimodal neuron."""
    found: set[str] = set()
    for layer in site.atlas.layers if site.atlas.analysed else ():
        columns = site.opened.columns(layer)
        found |= set(columns.concept.counts(columns.multimodal))
    return found


def _near(site: Site, names: set[str]) -> list[Near]:
    return [Near(name, site.links.concept(name)) for name in sorted(names, key=str.casefold)]


def _pair(site: Site, second: Site, one: Match) -> Pair:
    rows = [
        neuron_row(here, here.opened.columns(layer), unit)
        for here, (layer, unit) in ((site, one.first), (second, one.second))
    ]
    return Pair(rows[0], rows[1], one.correlation)


@dataclass(frozen=True)
class Match:
    """A neuron of the first, its nearest of the second, and their Pearson correlation."""

    first: Unit
    second: Unit
    correlation: float


@dataclass(frozen=True)
class Matches:
    """The nearest neuron of each multimodal neuron, the most alike first.

    Attributes
    ----------
    images
        Shared images that it was measured on; None where an atlas keeps no activations of single images.
    median
        Of all correlations; None without any.
    """

    images: int | None
    pairs: list[Match]
    median: float | None


def matches(site: Site, second: Site) -> Matches:
    """Match the multimodal neurons of one atlas with the neurons of another."""
    atlases = (site.atlas, second.atlas)
    if not all(one.analysed and one.manifest["dense"] for one in atlases):
        return Matches(None, [], None)
    # The first atlas forgets what was computed when it is replaced; the second is named by its content.
    key = ("matches", second.opened.name, second.atlas.manifest["checksum"])
    return site.opened.computed(key, lambda: _matches(site, second))


def _matches(site: Site, second: Site) -> Matches:
    here, there = shared_rows(hashes(site.atlas), hashes(second.atlas))
    step = max(1, -(-len(here) // IMAGES))
    here, there = here[::step], there[::step]
    best: dict[Unit, tuple[float, Unit]] = {}
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        wanted = np.flatnonzero(columns.multimodal & (columns.std > 0))
        own = standardised(np.asarray(site.atlas.activations(layer)[here][:, wanted]))
        for other in second.atlas.layers:
            units = int(second.atlas.layer(other)["units"])
            for start in range(0, units, BLOCK):
                block = second.atlas.activations(other)[there, start : start + BLOCK]
                r = own.T @ standardised(np.asarray(block))
                for place, unit in enumerate(wanted if r.size else ()):
                    column = int(np.argmax(r[place]))
                    score = float(r[place, column])
                    key = (layer, int(unit))
                    if score > best.get(key, (-2.0, key))[0]:
                        best[key] = (score, (other, start + column))
    pairs = [Match(unit, found, min(score, 1.0)) for unit, (score, found) in best.items()]
    pairs.sort(key=lambda one: (-one.correlation, one.first))
    middle = float(np.median([one.correlation for one in pairs])) if pairs else None
    return Matches(len(here), pairs if len(here) > 1 else [], middle if len(here) > 1 else None)


MODELS = Page(path="/models", template="models.html", view=models_page, exported=False)
