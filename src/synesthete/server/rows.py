"""What pages say of a neuron in a list, and of an image wherever one is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from synesthete.atlas import ExemplarList
from synesthete.server.columns import Columns
from synesthete.server.library import Site


@dataclass(frozen=True)
class NeuronRow:
    """A neuron in a list.

    Attributes
    ----------
    called
        Its tested name, else the concept that it answers to best; empty for none.
    name, confidence
        The tested name and its AUC on held-out images; null when no name held.
    auc
        Modality → AUC for `concept`, null where it was not tested.
    passes
        The modalities whose AUC reaches the threshold.
    path, picture
        Of its page, and of its strongest image in each modality.
    """

    address: str
    unit: int
    called: str
    name: str | None
    confidence: float | None
    concept: str
    family: str
    multimodality: float | None
    q: float | None
    multimodal: bool
    dead: bool
    n_concepts: int
    auc: dict[str, float | None]
    passes: list[str]
    path: str
    picture: str


@dataclass(frozen=True)
class Box:
    """The position of the layer's grid where a maximum lies: row and column of so many."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Shown:
    """An image as a page shows it.

    Attributes
    ----------
    id
        Opaque and permanent.
    path, page
        Of the thumbnail, and of its page (empty where there is none).
    alt
        For those who do not see it.
    value
        The neuron's activation; null where the image stands for itself.
    own
        Whether it shows the neuron's concept.
    box
        Where the maximum lies; null where every position is the maximum or there is no grid.
    """

    id: str
    path: str
    page: str
    alt: str
    concept: str
    modality: str
    caption: str
    artist: str
    value: float | None = None
    own: bool = False
    box: Box | None = None


def finite(value: float) -> float | None:
    """A number as JSON can write it."""
    return float(value) if math.isfinite(value) else None


def neuron_row(site: Site, columns: Columns, unit: int) -> NeuronRow:
    """One unit of a layer as a row of a list."""
    address = columns.address(unit)
    return NeuronRow(
        address=address,
        unit=unit,
        called=columns.called(unit),
        name=columns.name[unit] or None,
        confidence=finite(columns.confidence[unit]),
        concept=columns.concept[unit],
        family=columns.family[unit],
        multimodality=finite(columns.multimodality[unit]),
        q=finite(columns.q[unit]),
        multimodal=bool(columns.multimodal[unit]),
        dead=bool(columns.dead[unit]),
        n_concepts=int(columns.n_concepts[unit]),
        auc={
            name: finite(columns.auc[place, unit]) for place, name in enumerate(columns.modalities)
        },
        passes=list(columns.profile(unit)),
        path=site.links.neuron(address),
        picture=site.links.mosaic(address),
    )


def neuron_rows(site: Site, columns: Columns, units: Iterable[int]) -> list[NeuronRow]:
    """Units of a layer as rows of a list."""
    return [neuron_row(site, columns, int(unit)) for unit in units]


def images(site: Site, numbers: Sequence[int]) -> list[Shown]:
    """Images that stand for themselves."""
    return [_shown(site, number, row) for number, row in _rows(site, numbers)]


def exemplars(
    site: Site, found: ExemplarList, concept: str, grid: tuple[int, int] | None
) -> list[Shown]:
    """Images with a neuron's activation, the concept's own marked, the strongest position boxed."""
    made = []
    pairs = zip(
        _rows(site, found.ids.tolist()),
        found.values.tolist(),
        found.positions.tolist(),
        strict=True,
    )
    for (number, row), value, position in pairs:
        # Where nothing is passed on by the ReLU, every position is the maximum: none is shown.
        box = _box(int(position), grid) if value else None
        own = bool(concept) and row["concept"] == concept
        made.append(_shown(site, number, row, value=float(value), own=own, box=box))
    return made


def strongest(site: Site, columns: Columns, unit: int, modality: str) -> int | None:
    """The image of a neuron's own concept that excites it most in a modality; None where there is none.

    Without the dense matrix only the exemplars that were kept are looked at.
    """
    concept, probes = columns.concept[unit], site.opened.probes
    if not concept:
        return None
    if site.atlas.manifest["dense"]:
        own = probes.of_concept(concept).get(modality, np.zeros(0, np.int64))
        if not len(own):
            return None
        values = np.nan_to_num(np.asarray(site.atlas.activations(columns.layer)[own, unit]))
        return int(own[int(np.argmax(values))])
    kept = site.atlas.exemplars(columns.layer)
    ids = kept.top(unit, modality).ids.tolist() if modality in kept.groups else []
    return next((int(i) for i in ids if probes.concept[int(i)] == concept), None)


def _rows(site: Site, numbers: Sequence[int]) -> list[tuple[int, dict[str, str]]]:
    wanted = [int(number) for number in numbers]
    return list(zip(wanted, site.opened.probes.rows(wanted), strict=True))


def _shown(
    site: Site,
    number: int,
    row: dict[str, str],
    *,
    value: float | None = None,
    own: bool = False,
    box: Box | None = None,
) -> Shown:
    key = site.opened.ids.key(number)
    told = row["caption"] or row["concept"] or "image without a caption"
    kind = f"{row['modality']}: " if row["modality"] else ""
    by = f", by {row['artist']}" if row["artist"] else ""
    return Shown(
        id=key,
        path=site.links.image(key),
        page=site.links.picture(key),
        alt=f"{kind}{told}{by}",
        concept=row["concept"] or "",
        modality=row["modality"] or "",
        caption=row["caption"] or "",
        artist=row["artist"] or "",
        value=value,
        own=own,
        box=box,
    )


def _box(position: int, grid: tuple[int, int] | None) -> Box | None:
    if grid is None or position < 0 or grid == (1, 1):
        return None
    row, column = divmod(position, grid[1])
    return Box(row, column, grid[0], grid[1])
