"""What a neuron card shows, gathered from an atlas: plain values that the drawing needs no atlas for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synesthete.atlas import ExemplarList, Neuron
from synesthete.visualization.drawing import amount, data_uri

if TYPE_CHECKING:
    from synesthete.atlas import Atlas

ORDER = ("photo", "drawing", "symbol", "word")
PER_ROW = 8
BINS = 64


@dataclass(frozen=True)
class Exemplar:
    """One image with the neuron's activation.

    Attributes
    ----------
    picture
        Data URI of what the model saw.
    box
        Left, top, width, height of the region where the maximum lies, as parts of the picture.
    own
        Whether the image shows the neuron's concept.
    """

    image: int
    value: float
    picture: str
    concept: str
    alt: str
    own: bool
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class ModalityRow:
    """One modality: how well the concept is told from the rest, and the images of highest activation.

    Attributes
    ----------
    auc
        On the scoring half of the artists; NaN where it could not be tested.
    positives, images
        Images of the concept, and all images, in this modality.
    """

    modality: str
    auc: float
    positives: int
    images: int
    exemplars: tuple[Exemplar, ...]


@dataclass(frozen=True)
class Distribution:
    """Activations over all images.

    Attributes
    ----------
    edges
        `[bins + 1]`, in units of the activation.
    counts
        `[bins]` images.
    own
        Modality → activations of the concept's images; empty where only the histogram was kept.
    at_lowest
        Images that tie at the lowest activation; None where only the histogram was kept.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    own: dict[str, NDArray[np.float64]]
    at_lowest: int | None = None


@dataclass(frozen=True)
class CardFacts:
    """Everything on a neuron card.

    Attributes
    ----------
    counts
        The analysis' counts for the neuron's layer: multimodal neurons, and its controls.
    threshold, level
        AUC and false discovery rate at which a modality passes.
    at_least, required
        A multimodal neuron passes in so many modalities, this one among them.
    held_out
        Whether the rows count the images of the scoring half alone, or those of both halves.
    """

    neuron: Neuron
    model: str
    grid: tuple[int, int] | None
    rows: tuple[ModalityRow, ...]
    least: tuple[Exemplar, ...]
    distribution: Distribution
    counts: dict[str, int | None]
    threshold: float
    level: float
    at_least: int
    required: str
    held_out: bool
    fingerprint: str

    @property
    def passing(self) -> tuple[str, ...]:
        """The modalities whose AUC reaches the threshold."""
        return tuple(row.modality for row in self.rows if row.auc >= self.threshold)

    @property
    def tested(self) -> bool:
        """Whether the probe images allowed to test for multimodality."""
        return self.counts.get("multimodal") is not None


def gather(atlas: Atlas, neuron: Neuron, *, per_row: int = PER_ROW) -> CardFacts:
    """Collect what the card of a neuron shows.

    Parameters
    ----------
    atlas
        An analysed atlas.
    neuron
        One of its neurons.
    per_row
        Exemplars per modality.

    Raises
    ------
    SynestheteError
        When the atlas is damaged.
    """
    layer, exemplars = atlas.layer(neuron.layer), atlas.exemplars(neuron.layer)
    grid = (int(layer["grid"][0]), int(layer["grid"][1])) if layer.get("grid") else None
    images = _Images(atlas, neuron.concept, grid)
    groups = [name for name in ORDER if name in exemplars.groups]
    groups += [name for name in exemplars.groups if name not in ORDER]
    rows = tuple(
        ModalityRow(
            modality=name,
            auc=neuron.auc.get(name, math.nan),
            positives=int((images.scoring & images.own & (images.modality == name)).sum()),
            images=int((images.scoring & (images.modality == name)).sum()),
            exemplars=images.describe(exemplars.top(neuron.unit, name, limit=per_row)),
        )
        for name in groups
    )
    analysis = atlas.manifest["analysis"]
    counts, rule = analysis["layers"][neuron.layer], analysis.get("rule", {})
    return CardFacts(
        neuron=neuron,
        model=str(atlas.manifest["model"]["name"]),
        grid=grid,
        rows=rows,
        least=images.describe(exemplars.bottom(neuron.unit, limit=per_row)),
        distribution=_distribution(atlas, neuron, images, groups),
        counts=dict(counts),
        threshold=float(analysis["threshold"]),
        level=float(analysis["q"]),
        at_least=int(rule.get("at_least", 3)),
        required=str(rule.get("required", "word")),
        held_out=images.held_out,
        fingerprint=atlas.fingerprint,
    )


class _Images:
    """The probe images of an atlas as a card needs them."""

    def __init__(self, atlas: Atlas, concept: str, grid: tuple[int, int] | None) -> None:
        self.atlas, self.grid = atlas, grid
        table = atlas.probes
        self.concept = _column(table, "concept")
        self.modality = _column(table, "modality")
        self.caption = _column(table, "caption")
        self.artist = _column(table, "artist")
        self.readable = _column(table, "status") == "ok"
        self.own = (self.concept == concept) & (concept != "")
        halves = atlas.manifest["analysis"].get("halves", {})
        # Images of unknown artist lie in either half, one by one, and the analysis keeps no list.
        self.held_out = bool(halves) and not halves.get("images_of_unknown_artist", 0)
        self.scoring = self.readable & (self.concept != "")
        if self.held_out:
            self.scoring &= ~np.isin(self.artist, halves["selection"])

    def describe(self, found: ExemplarList) -> tuple[Exemplar, ...]:
        """Exemplars with their pictures and boxes."""
        return tuple(
            Exemplar(
                image=int(image),
                value=float(value),
                picture=data_uri(self.atlas.thumbnail(int(image))),
                concept=str(self.concept[image]),
                alt=self._alt(int(image), float(value)),
                own=bool(self.own[image]),
                # Where nothing is passed on by the ReLU, every position is the maximum: none is shown.
                box=_box(int(position), self.grid) if value else None,
            )
            for image, value, position in zip(found.ids, found.values, found.positions, strict=True)
        )

    def _alt(self, image: int, value: float) -> str:
        told = str(self.caption[image] or self.concept[image] or "image without a caption")
        by = f", by {self.artist[image]}" if self.artist[image] else ""
        kind = f"{self.modality[image]}: " if self.modality[image] else ""
        return f"{kind}{told}{by}; activation {amount(value)}"


def _column(table: Any, name: str) -> NDArray[np.object_]:
    values = [value if value is not None else "" for value in table[name].to_pylist()]
    return np.asarray(values, dtype=object)


def _box(position: int, grid: tuple[int, int] | None) -> tuple[float, float, float, float] | None:
    if grid is None or position < 0:
        return None
    row, column = divmod(position, grid[1])
    return column / grid[1], row / grid[0], 1 / grid[1], 1 / grid[0]


def _distribution(
    atlas: Atlas, neuron: Neuron, images: _Images, modalities: Sequence[str]
) -> Distribution:
    if atlas.manifest["dense"]:
        column = np.asarray(atlas.activations(neuron.layer)[:, neuron.unit], dtype=np.float64)
        there = images.readable & np.isfinite(column)
        edges = equal_bins(column[there])
        counts = np.histogram(column[there], edges)[0]
        own = {
            name: np.sort(column[there & images.own & (images.modality == name)])
            for name in modalities
        }
        lowest = int((column[there] == column[there].min(initial=np.inf)).sum())
        return Distribution(edges, counts.astype(np.int64), own, lowest)
    statistics = atlas.statistics(neuron.layer)
    limits = np.array([statistics.minimum[neuron.unit], statistics.maximum[neuron.unit]])
    edges = equal_bins(limits.astype(np.float64))
    counted = statistics.histogram[neuron.unit]
    middle = np.nan_to_num(statistics.bounds.mean(axis=1))
    inside = np.clip(middle, edges[0], edges[-1])
    counts = np.histogram(inside, edges, weights=counted)[0]
    return Distribution(edges, counts.astype(np.int64), {})


def equal_bins(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equal bins from the lowest value (or zero) to the highest; one wide bin around a constant."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    low = min(low, 0.0)
    if high <= low:
        high = low + 1.0
    return np.linspace(low, high, BINS + 1)
