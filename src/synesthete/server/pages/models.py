"""`/models?other=NAME`: two atlases side by side: counts with their controls, concepts, and neurons that match."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Query

from synesthete.report.counts import Counts, all_counts
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.server.errors import Near
from synesthete.server.library import Site
from synesthete.server.matching import Match, matches
from synesthete.server.page import Page

MATCHED = 24
Other = Annotated[str, Query(max_length=200, description="Name of another atlas that is served.")]


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
    return ModelsPage(
        other=name,
        atlases=atlases,
        sides=[_side(site), _side(second)],
        both=_near(site, both),
        only_first=_near(site, first),
        only_second=_near(second, other_only),
        shared=found.images,
        pairs=[_pair(site, second, one) for one in found.pairs[:MATCHED]],
        median=found.median,
    )


def _side(site: Site) -> ModelSide:
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


MODELS = Page("/models", "models.html", models_page, exported=False)
