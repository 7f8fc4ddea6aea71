"""Controls: what the same count comes to where units mean nothing by construction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from synesthete._core.arrays import Floating
from synesthete.analysis.design import Design, shuffled
from synesthete.analysis.multimodality import Criteria, Scores, is_constant, score_units
from synesthete.analysis.provenance import RANDOM_TWIN

ROTATION, SHUFFLED = "rotation", "shuffled"
SHUFFLES = 10
ROTATIONS = 2  # seeds, of each of two kinds
BLOCK = 4096  # units that are mixed with each other; wider layers are mixed in random blocks
CURVE = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # thresholds of average precision that counts are given at
_VERDICTS = ("selective", "multimodal", "concept_cells")
KEYS = (
    *_VERDICTS,
    *(f"mean_{verdict}" for verdict in _VERDICTS),
    "curve",
    "concepts",
    "runs",
    "participation_ratio",
)


def rotated(activations: Floating, *, seed: int, standardised: bool) -> Floating:
    """Random orthogonal mixtures of the live units: the same information in another basis.

    Whatever mixtures reach is a property of the layer and not of its units (Bau et al. 2017, section 3.3).

    Parameters
    ----------
    activations
        `[images, units]`.
    seed
        Of the rotation (QR of a Gaussian matrix), and of the blocks of layers with more than `BLOCK` live units.
    standardised
        Whether units are scaled to unit variance before they are mixed; otherwise they are centred only.

    Returns
    -------
    array `[images, live units]`, float16 as recorded activations are

    Examples
    --------
    >>> import numpy as np
    >>> acts = np.random.default_rng(0).normal(size=(50, 4))
    >>> mixed = rotated(acts, seed=0, standardised=False)
    >>> bool(np.allclose(mixed.var(axis=0).sum(), acts.var(axis=0).sum(), rtol=0.01))
    True
    """
    live = np.flatnonzero(~is_constant(activations))
    generator = np.random.default_rng([seed, int(standardised)])
    order = generator.permutation(live)
    found = np.empty((len(activations), len(live)), np.float16)
    for start in range(0, len(order), BLOCK):
        values = activations[:, order[start : start + BLOCK]].astype(np.float32)
        values -= values.mean(axis=0)
        if standardised:
            values /= values.std(axis=0)
        width = values.shape[1]
        basis = np.linalg.qr(generator.normal(size=(width, width)))[0].astype(np.float32)
        found[:, start : start + width] = np.clip(values @ basis, -65504, 65504)
    return found


def participation_ratio(activations: Floating) -> float:
    """In how many directions the live units vary: (sum of eigenvalues)^2 / sum of their squares, of the correlation matrix.

    1 when all units are copies of one, the number of units when none depends on another; NaN without a live unit.

    Examples
    --------
    >>> import numpy as np
    >>> round(participation_ratio(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])), 6)
    1.0
    """
    values = activations[:, ~is_constant(activations)].astype(np.float32)
    if not values.shape[1]:
        return float("nan")
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    # The smaller of the two Gram matrices has the same eigenvalues.
    small = values.T @ values if values.shape[1] <= len(values) else values @ values.T
    small /= np.float32(len(values))
    return float(np.trace(small, dtype=np.float64) ** 2 / np.square(small, dtype=np.float64).sum())


def counts(scores: Scores, design: Design) -> dict[str, Any]:
    """What a set of scores comes to: units of each verdict, the curve over average precision, and units by concept."""
    codes, units = np.unique(scores.concept[scores.multimodal], return_counts=True)
    return {
        "selective": int(scores.selective.sum()),
        "multimodal": int(scores.multimodal.sum()),
        "concept_cells": int(scores.concept_cell.sum()),
        "curve": [int(scores.at(ap, design.needed).sum()) for ap in CURVE],
        "concepts": {design.concepts[c]: int(n) for c, n in zip(codes, units, strict=True)},
    }


def control_counts(
    activations: Floating,
    twin: Floating | None,
    design: Design,
    *,
    criteria: Criteria,
    seed: int,
    more: Mapping[str, Floating] = MappingProxyType({}),
) -> dict[str, Any]:
    """Counts of every control of a layer.

    Parameters
    ----------
    activations, twin
        `[images, units]` of the model and of its random twin; None where the atlas was recorded without one.
    more
        Name → `[images, units]` of further controls.

    Returns
    -------
    dict
        For each kind (`random_twin`, `rotation`, `shuffled`) what `counts` gives, with `_KIND` behind every key: the largest over
        its runs, the mean over them as `mean_...`, the number of `runs`, and for mixtures and other models `participation_ratio`.
        None each where the atlas was recorded without it.
    """
    found: dict[str, dict[str, Any] | None] = {RANDOM_TWIN: None}
    if twin is not None:
        found[RANDOM_TWIN] = _largest([twin], design, criteria)
    found |= {kind: _largest([values], design, criteria) for kind, values in more.items()}
    mixtures = (
        rotated(activations, seed=seed * ROTATIONS + number, standardised=standardised)
        for number in range(ROTATIONS)
        for standardised in (True, False)
    )
    found[ROTATION] = _largest(mixtures, design, criteria)
    labelings = [shuffled(design, seed * SHUFFLES + number) for number in range(SHUFFLES)]
    scored = score_units(activations, design, labelings=labelings, criteria=criteria)
    found[SHUFFLED] = _over([counts(one, design) for one in scored])
    return {
        f"{key}_{kind}": None if one is None else one.get(key)
        for kind, one in found.items()
        for key in KEYS
    }


def _largest(
    runs: Iterator[Floating] | Sequence[Floating], design: Design, criteria: Criteria
) -> dict[str, Any]:
    found, ratios = [], []
    for activations in runs:
        found.append(counts(score_units(activations, design, criteria=criteria)[0], design))
        ratios.append(participation_ratio(activations))
    return _over(found) | {"participation_ratio": float(np.mean(ratios))}


def _over(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The largest and the mean over runs; concepts of the run with the most multimodal units."""
    worst = max(runs, key=lambda run: run["multimodal"])
    return {
        **{verdict: max(run[verdict] for run in runs) for verdict in _VERDICTS},
        **{
            f"mean_{verdict}": float(np.mean([run[verdict] for run in runs]))
            for verdict in _VERDICTS
        },
        "curve": np.max([run["curve"] for run in runs], axis=0).tolist(),
        "concepts": worst["concepts"],
        "runs": len(runs),
    }
