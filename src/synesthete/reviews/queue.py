"""The queue: what a review would settle first; and blind labelling sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Bool, Float64, Int64
from synesthete.atlas import Atlas
from synesthete.atlas.arrays import arrow_mask, column_numbers
from synesthete.errors import SynestheteError
from synesthete.reviews.acts import read
from synesthete.reviews.state import Reviewed, State, belongs, current, image_hash

SENSITIVE = frozenset({"person", "person trait", "religion", "region", "emotion"})
WEIGHTS = {"requested": 8.0, "disputed": 4.0, "undecided": 2.0, "sensitive": 1.0, "use": 1.0}
BINS, PER_BIN, CONTROLS = 8, 3, 6


@dataclass(frozen=True)
class Item:
    """One unit that waits for a person: its score, and what it is made of (`WEIGHTS`)."""

    address: str
    name: str | None
    score: float
    why: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """What the queue of a layer rests on besides reviews: the same until the atlas is written again.

    Attributes
    ----------
    table
        The names, one row per named unit, as text.
    row
        `[units]`: of each unit its row of `table`, or -1.
    undecided, sensitive, use
        `[units]`: parts of the score; see `queue`.
    """

    table: pa.Table | None
    row: Int64
    undecided: Float64
    sensitive: Float64
    use: Float64


def grounds(atlas: Atlas, layer: str) -> Grounds:
    """What the queue of a layer rests on besides reviews. To be kept, where the queue is asked for often."""
    table = atlas.unit_table(layer, "names")
    best = None if table is None else table.filter(arrow_mask(column_numbers(table["rank"]) == 0))
    spread = atlas.statistics(layer).std
    row, undecided = np.full(len(spread), -1), np.zeros(len(spread))
    if best is not None:
        named = column_numbers(best["unit"]).astype(np.int64)
        row[named] = np.arange(len(named))
        notes = atlas.manifest.get("names", {}).get("layers", {}).get(layer, {})
        low, high = (column_numbers(best[f"confidence_{end}"]) for end in ("low", "high"))
        undecided[named] = _undecided(low, high, notes.get("threshold"))
    return Grounds(
        table=best,
        row=row,
        undecided=undecided,
        sensitive=_sensitive(atlas, layer, len(spread)).astype(float),
        use=np.argsort(np.argsort(np.nan_to_num(spread))) / max(len(spread) - 1, 1),
    )


def queue(
    atlas: Atlas,
    *,
    limit: int | None = None,
    reviews: Mapping[str, State] | None = None,
    known: Callable[[str], Grounds] | None = None,
) -> list[Item]:
    """Units whose review would settle most, first.

    The score sums, by `WEIGHTS`: whether the program asked (until a person gives a verdict); whether raters
    disagree; how near the interval of the name's confidence has the threshold to its middle (1 in the middle,
    0 outside); whether the family is sensitive; and the rank of the unit's standard deviation in its layer, 0
    to 1, as how much it is used. Units with a verdict that nobody disputes do not wait, nor do those without
    a name that nobody asked about. Ties by address.

    Parameters
    ----------
    limit
        At most so many.
    reviews
        What people say, where it was read already.
    known
        Layer → its `grounds`, where they were computed already.
    """
    reviews = current(atlas) if reviews is None else reviews
    known = known or (lambda layer: grounds(atlas, layer))
    waiting = [
        (layer, ground := known(layer), *_waiting(layer, ground, reviews)) for layer in atlas.layers
    ]
    scores = [np.sum([WEIGHTS[k] * v for k, v in parts.items()], axis=0) for *_, parts in waiting]
    every = np.concatenate(scores)
    # Only those that can be among the first become objects: an atlas may have 100,000 units.
    least = -np.inf
    if limit is not None and 0 < limit < len(every):
        least = np.partition(every, -limit)[-limit]
    items = [
        Item(
            f"{layer}:{units[place]}",
            _name(ground, int(units[place])),
            float(score[place]),
            {key: float(values[place]) for key, values in parts.items()},
        )
        for (layer, ground, units, parts), score in zip(waiting, scores, strict=True)
        for place in np.flatnonzero(score >= least)
    ]
    items.sort(key=lambda item: (-item.score, item.address))
    return items[:limit]


def _name(ground: Grounds, unit: int) -> str | None:
    row = int(ground.row[unit])
    return None if ground.table is None or row < 0 else str(ground.table["name"][row])


def _waiting(
    layer: str, ground: Grounds, reviews: Mapping[str, State]
) -> tuple[Int64, dict[str, Float64]]:
    """The units of a layer that wait: numbers, and the parts of their scores, each `[units]`."""
    own = {
        int(address.rpartition(":")[2]): state
        for address, state in reviews.items()
        if address.rpartition(":")[0] == layer
    }
    settled = [unit for unit, one in own.items() if one.verdicts and not one.disputed]
    requested = [unit for unit, one in own.items() if one.requests and not one.verdicts]
    disputed = [unit for unit, one in own.items() if one.disputed]
    waits = ground.row >= 0
    waits[[*requested, *disputed]] = True
    waits[settled] = False
    units = np.flatnonzero(waits)
    return units, {
        "requested": np.isin(units, requested).astype(float),
        "disputed": np.isin(units, disputed).astype(float),
        "undecided": ground.undecided[units],
        "sensitive": ground.sensitive[units],
        "use": ground.use[units],
    }


def _undecided(low: Float64, high: Float64, threshold: float | None) -> Float64:
    """How near each interval has the threshold to its middle: 1 in the middle, 0 at the ends and outside."""
    near: Float64 = np.zeros(len(low))
    wide = high > low
    if threshold is not None:
        off = np.abs(2 * threshold - low - high)
        near[wide] = np.maximum(0.0, 1 - off[wide] / (high - low)[wide])
    return near


def _sensitive(atlas: Atlas, layer: str, units: int) -> Bool:
    """Which units are of a family about people: as assigned, else as the probe set has it."""
    found = np.zeros(units, bool)
    table = atlas.unit_table(layer, "families")
    if table is None and atlas.analysed:
        table = atlas.neuron_table(layer)
    elif table is not None:
        table = table.filter(arrow_mask(column_numbers(table["rank"]) == 0))
    if table is not None:
        found[column_numbers(table["unit"])] = [
            one in SENSITIVE for one in table["family"].to_pylist()
        ]
    return found


def session(
    atlas: Atlas, address: str, *, bins: int = BINS, per_bin: int = PER_BIN, seed: int = 0
) -> list[int]:
    """Images to label blind for a unit: spread evenly over its activations, mixed with images drawn at random.

    Nothing in the order tells how strongly the unit answers. The same seed gives the same session. Of an atlas without the dense matrix they are of its sample.

    Raises
    ------
    SynestheteError
        No such unit, no dense matrix and no sample, or a unit that gives the same value for every image.
    """
    neuron = atlas.neuron(address)
    values = np.asarray(atlas.sampled.activations(neuron.layer)[:, neuron.unit], np.float64)
    fine = np.flatnonzero(np.isfinite(values))
    low, high = values[fine].min(), values[fine].max()
    if low == high:
        raise SynestheteError(f"{address} gives the same value for every image")
    place = np.minimum(((values[fine] - low) / (high - low) * bins).astype(int), bins - 1)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for one in range(bins):
        here = fine[place == one]
        chosen += rng.choice(here, min(per_bin, len(here)), replace=False).tolist()
    others = np.setdiff1d(fine, chosen)
    chosen += rng.choice(others, min(CONTROLS, len(others)), replace=False).tolist()
    return [int(i) for i in atlas.sampled_rows[rng.permutation(chosen)]]


def labels(atlas: Atlas, address: str, question: str) -> dict[int, str]:
    """Image id → what most raters said to a question about a unit's images; ties are left out.

    For `synesthete.analysis.conditional`, which takes them instead of the probe labels.
    """
    votes: dict[str, Reviewed] = {}
    for act in read(atlas.path):
        answers = (act.kind, act.address, act.question) == ("label", address, question)
        if answers and belongs(act, atlas):
            votes.setdefault(act.image, Reviewed()).record(act.rater, act.kind, act.value)
    found = {}
    for image in range(atlas.probes.num_rows):
        if label := votes.get(image_hash(atlas, image), Reviewed()).majority():
            found[image] = label[1]
    return found
