"""The queue: what a review would settle first; and blind labelling sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError
from synesthete.reviews.acts import Act
from synesthete.reviews.state import State, belongs, current, image_hash
from synesthete.reviews.store import read

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
    said = current(atlas)
    items = []
    for layer in atlas.layers:
        names = atlas.unit_table(layer, "names")
        rows = {
            r["unit"]: r for r in (names.to_pylist() if names is not None else []) if not r["rank"]
        }
        notes = atlas.manifest.get("names", {}).get("layers", {}).get(layer, {})
        spread = atlas.statistics(layer).std
        use = np.argsort(np.argsort(np.nan_to_num(spread))) / max(len(spread) - 1, 1)
        families = {n.unit: n.family for n in atlas.neurons(layer)} if atlas.analysed else {}
        for unit in range(len(spread)):
            state = said.get(f"{layer}:{unit}", State())
            settled = bool(state.verdicts) and not state.disputed
            asked = bool(state.requests) and not state.verdicts
            if settled or not (unit in rows or asked or state.disputed):
                continue
            parts = {
                "requested": float(asked),
                "disputed": float(state.disputed),
                "undecided": _undecided(rows.get(unit), notes.get("threshold")),
                "sensitive": float(families.get(unit, "") in SENSITIVE),
                "use": float(use[unit]),
            }
            score = sum(WEIGHTS[key] * value for key, value in parts.items())
            name = rows[unit]["name"] if unit in rows else None
            items.append(Item(f"{layer}:{unit}", name, score, parts))
    items.sort(key=lambda item: (-item.score, item.address))
    return items[:limit]


def _undecided(row: dict[str, Any] | None, threshold: float | None) -> float:
    if row is None or threshold is None:
        return 0.0
    low, high = row["confidence_low"], row["confidence_high"]
    if high <= low:
        return 0.0
    return float(max(0.0, 1 - abs(2 * threshold - low - high) / (high - low)))


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
    votes: dict[str, dict[str, str]] = {}
    for act in read(atlas.path):
        if is_label(act, atlas, address, question):
            votes.setdefault(act.image, {})[act.rater] = act.value
    found = {}
    for image in range(atlas.probes.num_rows):
        said = list(votes.get(image_hash(atlas, image), {}).values())
        counts = sorted(((said.count(one), one) for one in set(said)), reverse=True)
        if counts and (len(counts) == 1 or counts[0][0] > counts[1][0]):
            found[image] = counts[0][1]
    return found


def is_label(act: Act, atlas: Atlas, address: str, question: str) -> bool:
    """Whether an act is a label of this unit's images, given to this question."""
    asked = act.kind == "label" and act.address == address and act.question == question
    return asked and belongs(act, atlas)
