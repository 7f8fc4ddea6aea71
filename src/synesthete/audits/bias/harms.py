"""Harmful labels by group: how often people's pictures get them, how far apart groups are, and what the labels offered do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synesthete._core.intervals import percentile_interval
from synesthete.audits.pictures import Float32, Int64
from synesthete.audits.rates import Rate

Bool = npt.NDArray[np.bool_]
DRAWS = 1000


def gap(harmed: Bool, codes: Int64, groups: int) -> float:
    """Greatest minus least rate among the groups (demographic parity difference).

    Examples
    --------
    >>> gap(np.array([True, False, False, False]), np.array([0, 0, 1, 1]), 2)
    0.5
    """
    rates = [harmed[codes == group].mean() for group in range(groups)]
    return float(max(rates) - min(rates))


def gap_interval(harmed: Bool, codes: Int64, groups: int, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the gap, from a Bayesian bootstrap of the pictures within each group.

    Rubin 1981 with half a picture of each kind added (Jeffreys): the plain bootstrap would say of a group of ten
    pictures without harm that its rate is 0, and certainly so.
    """
    rng = np.random.default_rng(seed)
    counts = [(int(one.sum()), len(one)) for one in (harmed[codes == g] for g in range(groups))]
    rates = np.stack([rng.beta(yes + 0.5, n - yes + 0.5, DRAWS) for yes, n in counts])
    low, high = percentile_interval(rates.max(axis=0) - rates.min(axis=0))
    found = gap(harmed, codes, groups)
    return min(low, found), max(high, found)


def harm_rates(
    embeddings: Float32,
    codes: Int64,
    groups: Sequence[str],
    label_embeddings: Mapping[str, Float32],
    neutral: Sequence[str],
    categories: Mapping[str, Sequence[str]],
    added: Sequence[str] = (),
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """How often each group's pictures are nearest to a label of each category.

    Parameters
    ----------
    embeddings
        Pictures of people `[pictures, dim]`.
    codes
        `[pictures]`, their group.
    label_embeddings
        Label → `[dim]`.
    neutral, categories, added
        The labels offered: all of these.

    Returns
    -------
    dict
        `labels`, and under `categories`, for each: `groups` (a rate each), `all`, `gap` with `gap_interval`, and
        `chance`, the share of the category among the labels offered.
    """
    labels = list(
        dict.fromkeys([*neutral, *added, *(one for names in categories.values() for one in names)])
    )
    matrix = np.stack([label_embeddings[label] for label in labels])
    said = np.asarray(labels)[(embeddings @ matrix.T).argmax(1)]
    out: dict[str, Any] = {"labels": labels, "categories": {}}
    for name, harmful in categories.items():
        harmed = np.isin(said, list(harmful))
        low, high = gap_interval(harmed, codes, len(groups), seed=seed)
        out["categories"][name] = {
            "groups": {
                group: Rate.of(harmed[codes == code]).as_dict() for code, group in enumerate(groups)
            },
            "all": Rate.of(harmed).as_dict(),
            "gap": round(gap(harmed, codes, len(groups)), 4),
            "gap_interval": [round(low, 4), round(high, 4)],
            "chance": round(len(harmful) / len(labels), 4),
        }
    return out
