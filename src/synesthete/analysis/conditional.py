"""What an activation means: the probability of a category given how strongly a unit answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Int64
from synesthete._core.intervals import wilson_interval
from synesthete.atlas import Atlas
from synesthete.atlas.arrays import arrow_text, column_numbers
from synesthete.errors import SynestheteError

BINS, SHOWN = 12, 5
FIELDS = ("concept", "family", "modality")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """P(category | activation) over the bins.

    Attributes
    ----------
    category
        Its name.
    base
        Its share of all labelled images.
    count
        `[bins]` images of the category.
    share, low, high
        `[bins]` P with its 95 % Wilson interval; NaN, 0 and 1 in a bin without images.
    """

    category: str
    base: float
    count: list[int]
    share: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True, kw_only=True)
class Conditional:
    """P(category | activation) of a unit, for several categories.

    Attributes
    ----------
    address, by
        The unit, and what the categories are.
    edges
        `[bins + 1]` in standard deviations of the activation, from zero (not from the mean).
    images
        `[bins]` labelled images.
    curves
        What the unit is called and its concept first, then those that the strongest images show most.
    """

    address: str
    by: str
    edges: list[float]
    images: list[int]
    curves: list[Curve]

    def as_dict(self) -> dict[str, Any]:
        """As JSON can write it: a row per bin and category; nothing where a bin is empty."""
        rows = [
            {
                "category": curve.category,
                "base": curve.base,
                "from": self.edges[i],
                "to": self.edges[i + 1],
                "images": self.images[i],
                "count": curve.count[i],
                "p": None if math.isnan(curve.share[i]) else curve.share[i],
                "low": curve.low[i],
                "high": curve.high[i],
            }
            for curve in self.curves
            for i in range(len(self.images))
        ]
        return {"address": self.address, "by": self.by, "rows": rows}


def conditional(
    atlas: Atlas,
    address: str,
    *,
    by: str = "concept",
    categories: Sequence[str] | None = None,
    labels: Mapping[int, str] | None = None,
    bins: int = BINS,
) -> Conditional:
    """P(category | activation) of a unit, in bins of equal width over its whole range.

    Bins are measured in standard deviations from zero (Goh et al. 2021, doi 10.23915/distill.00030, fig.
    "person neurons"). The images are those of the probe set: P depends on how many of a category there are,
    which is why each curve has its base rate.

    Parameters
    ----------
    by
        `concept`, `family` or `modality` of the probe labels; ignored with `labels`.
    categories
        Which ones; by default what the unit is called, its concept, and the commonest among the images of the highest bins, five
        in all. The bin of zero, where a ReLU piles up images of anything, and those below are never looked at for that.
    labels
        Image id → what a person labelled it with, instead of the probe labels; images without a label do
        not count, nor those whose activations were not kept.
    bins
        How many.

    Raises
    ------
    SynestheteError
        No dense matrix, no such unit, field or category, no labelled image, a unit without variation.
    """
    if bins < 2:
        raise SynestheteError(f"{bins} bins are too few", hint="two or more")
    if by not in FIELDS and labels is None:
        raise SynestheteError(f"no categories by {by!r}", hint=f"one of {', '.join(FIELDS)}")
    layer, unit = atlas.locate(address)
    address = f"{layer}:{unit}"
    shown = atlas.sampled
    values = np.asarray(shown.activations(layer)[:, unit], np.float64)
    known, codes = _coded(shown, by) if labels is None else _labelled(atlas, labels)
    rows = np.flatnonzero((codes >= 0) & np.isfinite(values))
    if not len(rows):
        raise SynestheteError(f"no image of {atlas.path} has a {'label' if labels else by}")
    spread = float(np.nanstd(values))
    if spread == 0:
        raise SynestheteError(f"{address} gives the same value for every image")
    scaled = values[rows] / spread
    edges = np.linspace(scaled.min(), scaled.max(), bins + 1)
    place = np.clip(np.searchsorted(edges, scaled, side="right") - 1, 0, bins - 1)
    present, codes = np.unique(codes[rows], return_inverse=True)
    names = [known[i] for i in present]
    counts = np.zeros((len(names), bins), np.int64)
    np.add.at(counts, (codes, place), 1)
    total = counts.sum(axis=0)
    if categories is None:
        peak = np.full(len(names), -np.inf)
        np.maximum.at(peak, codes, scaled)
        own = _own(atlas, address, by) if atlas.analysed else []
        chosen = _commonest(names, counts, edges, own=own, peak=peak)
    else:
        chosen = _requested(names, categories)
    curves = [_curve(names[i], counts[i], total) for i in chosen]
    return Conditional(
        address=address,
        by="label" if labels is not None else by,
        edges=edges.tolist(),
        images=total.tolist(),
        curves=curves,
    )


def _coded(atlas: Atlas, by: str) -> tuple[list[str], Int64]:
    """All categories, sorted, and which of them each image shows; -1 for none."""
    import pyarrow.compute as pc

    texts = pc.fill_null(atlas.probes[by], arrow_text("")).combine_chunks().dictionary_encode()
    return _sorted(texts.dictionary.to_pylist(), column_numbers(texts.indices).astype(np.int64))


def _labelled(atlas: Atlas, labels: Mapping[int, str]) -> tuple[list[str], Int64]:
    """The same by labels of the atlas's images, for the images of its sample."""
    images = atlas.probes.num_rows
    unknown = [i for i in labels if not 0 <= i < images]
    if unknown:
        raise SynestheteError(f"no image {unknown[0]}; the atlas has images 0 to {images - 1}")
    given = list(dict.fromkeys(["", *labels.values()]))
    number = {text: place for place, text in enumerate(given)}
    codes = [number[labels.get(i, "")] for i in atlas.sampled_rows.tolist()]
    return _sorted(given, np.array(codes, np.int64))


def _sorted(given: list[str], codes: Int64) -> tuple[list[str], Int64]:
    names = sorted({text for text in given if text})
    place = {text: i for i, text in enumerate(names)}
    return names, np.array([place.get(text, -1) for text in given], np.int64)[codes]


def _own(atlas: Atlas, address: str, by: str) -> list[str]:
    """What a unit is called, and its concept; or its family."""
    neuron = atlas.neuron(address)
    return [neuron.family] if by == "family" else [neuron.heading, neuron.concept]


def _commonest(
    names: list[str], counts: Int64, edges: Float64, *, own: Sequence[str], peak: Float64
) -> list[int]:
    """The unit's own categories where there are images of them, then the commonest of the strongest images.

    Parameters
    ----------
    counts, edges
        `[categories, bins]` and `[bins + 1]`.
    peak
        `[categories]`: the strongest image of each, which decides among equally common ones.
    """
    number = {name.casefold(): i for i, name in enumerate(names)}
    chosen = dict.fromkeys(number[name.casefold()] for name in own if name.casefold() in number)
    # The highest bins that hold a hundredth of the images, or twenty of them; all of them above zero, if any bin is.
    total = counts.sum(axis=0)
    wanted = min(max(20, int(total.sum()) // 100), int(total.sum()))
    first = int(np.flatnonzero(np.cumsum(total[::-1])[::-1] >= wanted)[-1])
    above_zero = int(np.searchsorted(edges[:-1], 0.0, side="right"))
    if above_zero < len(total) and total[above_zero:].any():
        first = max(first, above_zero)
    strong = counts[:, first:].sum(axis=1)
    for i in np.lexsort((-peak, -strong)):
        if len(chosen) < SHOWN and strong[i] > 0:
            chosen.setdefault(int(i))
    return list(chosen)


def _requested(names: list[str], categories: Sequence[str]) -> list[int]:
    number = {name.casefold(): i for i, name in enumerate(names)}
    missing = [name for name in categories if name.casefold() not in number]
    if missing:
        raise SynestheteError(f"no image is labelled {missing[0]!r}")
    return [number[name.casefold()] for name in categories]


def _curve(name: str, count: Int64, total: Int64) -> Curve:
    pairs = list(zip(count.tolist(), total.tolist(), strict=True))
    intervals = [wilson_interval(some, n) for some, n in pairs]
    return Curve(
        category=name,
        base=float(count.sum() / total.sum()),
        count=count.tolist(),
        share=[some / n if n else math.nan for some, n in pairs],
        low=[low for low, _ in intervals],
        high=[high for _, high in intervals],
    )
