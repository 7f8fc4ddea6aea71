"""`/models?other=NAME`: two atlases side by side: counts with their controls, concepts, and neurons that match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from synesthete.server.counts import Counts, all_counts
from synesthete.server.errors import Near
from synesthete.server.library import Site
from synesthete.server.matching import Match, matches
from synesthete.server.page import Page
from synesthete.server.rows import NeuronRow, neuron_row

MATCHED = 24
Other = Annotated[str, Query(max_length=200, description="Name of another atlas that is served.")]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
    sides: list[ModelSide]
    both: list[Near]
    only_first: list[Near]
    only_second: list[Near]
    shared: int | None
    pairs: list[Pair]
    median: float | None


def models_page(site: Site, other: Other = "") -> ModelsPage:
    """Two models on the same images: how many multimodal neurons, of what, and which neurons match."""
    atlases = [name for name, _ in site.others]
    name = other.strip()
    if not name:
        return ModelsPage("", atlases, [], [], [], [], None, [], None)
    second = site.of(name)
    known = [_known(one) for one in (site, second)]
    both, first, other_only = known[0] & known[1], known[0] - known[1], known[1] - known[0]
    found = matches(site, second)
    found_pairs = [_pair(site, second, one) for one in found.pairs[:MATCHED]]
    return ModelsPage(
        name, atlases, [_side(site), _side(second)],
        _near(site, both), _near(site, first), _near(second, other_only),
        found.images, found_pairs, found.median,
    )  # fmt: skip


def _side(site: Site) -> ModelSide:
    model, images = (
        str(site.atlas.manifest["model"]["name"]),
        int(site.atlas.manifest["probes"]["images"]),
    )
    return ModelSide(site.opened.name, model, site.links.home(), images, all_counts(site))


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
