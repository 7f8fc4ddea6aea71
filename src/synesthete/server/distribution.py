"""How often a neuron is how active, and what an activation means: numbers for two charts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.analysis.conditional import conditional
from synesthete.atlas import Neuron
from synesthete.errors import SynestheteError
from synesthete.server.library import Site
from synesthete.server.rows import finite
from synesthete.visualization.facts import equal_bins

MEANING_BINS = 10


@dataclass(frozen=True)
class Distribution:
    """Activations over all images.

    Attributes
    ----------
    edges
        `[bins + 1]`.
    counts
        `[bins]` images.
    own
        `[bins]` images of the neuron's concept; null where only the histogram was kept.
    images, lowest
        All images counted; those that tie at the lowest activation, null where it is not known.
    """

    edges: list[float]
    counts: list[int]
    own: list[int] | None
    images: int
    lowest: int | None


@dataclass(frozen=True)
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


def column(site: Site, neuron: Neuron) -> npt.NDArray[np.float64] | None:
    """A neuron's activations over all images; None without the dense matrix."""
    if not site.atlas.manifest["dense"]:
        return None
    return np.asarray(site.atlas.activations(neuron.layer)[:, neuron.unit], np.float64)


def distribution(
    site: Site, neuron: Neuron, values: npt.NDArray[np.float64] | None
) -> Distribution:
    """How many images excite a neuron how much."""
    if values is None:
        return _from_histogram(site, neuron)
    probes = site.opened.probes
    there = probes.readable & np.isfinite(values)
    edges = equal_bins(values[there])
    own = there & probes.concept.rows(neuron.concept) if neuron.concept else np.zeros_like(there)
    counts, of_own = (np.histogram(values[rows], edges)[0] for rows in (there, own))
    lowest = int((values[there] == values[there].min(initial=np.inf)).sum())
    return Distribution(edges.tolist(), counts.tolist(), of_own.tolist(), int(there.sum()), lowest)


def _from_histogram(site: Site, neuron: Neuron) -> Distribution:
    kept = site.atlas.statistics(neuron.layer)
    ends = [kept.minimum[neuron.unit], kept.maximum[neuron.unit]]
    edges = equal_bins(np.array(ends, np.float64))
    middle = np.clip(np.nan_to_num(kept.bounds.mean(axis=1)), edges[0], edges[-1])
    counts = np.histogram(middle, edges, weights=kept.histogram[neuron.unit])[0]
    whole = counts.astype(np.int64)
    return Distribution(edges.tolist(), whole.tolist(), None, int(whole.sum()), None)


def meaning(site: Site, neuron: Neuron) -> Meaning | None:
    """P(concept | activation) of the concepts that the strongest images show; None where it cannot be told."""
    key = ("meaning", neuron.address)
    found: Meaning | None = site.opened.computed(key, lambda: _meaning(site, neuron))
    return found


def _meaning(site: Site, neuron: Neuron) -> Meaning | None:
    try:
        found = conditional(site.atlas, neuron.address, bins=MEANING_BINS)
    except SynestheteError:  # no dense matrix, no labels, a unit without variation
        return None
    made = [
        Curve(
            one.category,
            site.links.concept(one.category),
            one.base,
            [finite(share) for share in one.share],
            one.low,
            one.high,
        )
        for one in found.curves
    ]
    return Meaning(found.edges, found.images, made)
