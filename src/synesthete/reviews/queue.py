"""The queue: what a review would settle first; and blind labelling sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def queue(atlas: Atlas, *, limit: int | None = None) -> list[Item]:
    """Units whose review would settle most, first.

    The score sums, by `WEIGHTS`: whether the program asked (until a person gives a verdict); whether raters
    disagree; how near the interval of the name's confidence has the threshold to its middle (1 in the middle,
    0 outside); whether the family is sensitive; and the rank of the unit's standard deviation in its layer, 0
    to 1, as how much it is used. Units with a verdict that nobody disputes do not wait, nor do those without
    a name that nobody asked about. Ties by address.
    """
    reviews = current(atlas)
    waiting = [(layer, *_waiting(atlas, layer, reviews)) for layer in atlas.layers]
    scores = [np.sum([WEIGHTS[k] * v for k, v in parts.items()], axis=0) for *_, parts in waiting]
    every = np.concatenate(scores)
    # Only those that can be among the first become objects: an atlas may have 100,000 units.
    least = -np.inf
    if limit is not None and 0 < limit < len(every):
        least = np.partition(every, -limit)[-limit]
    items = [
        Item(
            f"{layer}:{units[row]}",
            names[row],
            float(score[row]),
            {key: float(values[row]) for key, values in parts.items()},
        )
        for (layer, units, names, parts), score in zip(waiting, scores, strict=True)
        for row in np.flatnonzero(score >= least)
    ]
    items.sort(key=lambda item: (-item.score, item.address))
    return items[:limit]


def _waiting(
    atlas: Atlas, layer: str, reviews: dict[str, State]
) -> tuple[Int64, list[str | None], dict[str, Float64]]:
    """The units of a layer that wait: numbers, names and the parts of their scores, each `[units]`."""
    table = atlas.unit_table(layer, "names")
    best = None if table is None else table.filter(arrow_mask(column_numbers(table["rank"]) == 0))
    named = np.zeros(0, np.int64) if best is None else column_numbers(best["unit"]).astype(np.int64)
    spread = atlas.statistics(layer).std
    own = {
        int(address.rpartition(":")[2]): state
        for address, state in reviews.items()
        if address.rpartition(":")[0] == layer
    }
    settled = [unit for unit, one in own.items() if one.verdicts and not one.disputed]
    requested = [unit for unit, one in own.items() if one.requests and not one.verdicts]
    disputed = [unit for unit, one in own.items() if one.disputed]
    every = np.union1d(named, np.array([*requested, *disputed], np.int64))
    units = np.setdiff1d(every, np.array(settled, np.int64))
    place = np.full(len(spread), -1)
    place[named] = np.arange(len(named))
    row = place[units]
    names = [] if best is None else best["name"].to_pylist()
    notes = atlas.manifest.get("names", {}).get("layers", {}).get(layer, {})
    undecided = np.zeros(len(units))
    if best is not None:
        low, high = (column_numbers(best[f"confidence_{end}"]) for end in ("low", "high"))
        undecided[row >= 0] = _undecided(low, high, notes.get("threshold"))[row[row >= 0]]
    use = np.argsort(np.argsort(np.nan_to_num(spread))) / max(len(spread) - 1, 1)
    return (
        units,
        [names[i] if i >= 0 else None for i in row],
        {
            "requested": np.isin(units, requested).astype(float),
            "disputed": np.isin(units, disputed).astype(float),
            "undecided": undecided,
            "sensitive": _sensitive(atlas, layer, len(spread))[units].astype(float),
            "use": use[units],
        },
    )


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

    Nothing in the order tells how strongly the unit answers. The same seed gives the same session.

    Raises
    ------
    SynestheteError
        No such unit, no dense matrix, or a unit that gives the same value for every image.
    """
    neuron = atlas.neuron(address)
    values = np.asarray(atlas.activations(neuron.layer)[:, neuron.unit], np.float64)
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
    return [int(i) for i in rng.permutation(chosen)]


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
