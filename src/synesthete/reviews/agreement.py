"""Do raters agree? Krippendorff's alpha with an interval, and plain agreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import krippendorff
import numpy as np

from synesthete._core.arrays import Float64
from synesthete._core.intervals import bootstrap_interval

RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far raters agree.

    Attributes
    ----------
    alpha, low, high
        Krippendorff's alpha for nominal data (1 is agreement, 0 what chance gives) and its 95 % interval
        (bootstrap over items); NaN where it is undefined, as when all say the same.
    percent
        Share of the pairs of labels of the same item that are the same.
    items, raters, labels
        Items that two or more raters labelled, raters of those, labels in all.
    """

    alpha: float
    low: float
    high: float
    percent: float
    items: int
    raters: int
    labels: int


def agreement(given: Mapping[str, Mapping[str, str]], *, seed: int = 0) -> Agreement:
    """Agreement between raters (Krippendorff 2011, *Computing Krippendorff's Alpha-Reliability*).

    Parameters
    ----------
    given
        Item → rater → label. Items of one rater do not count.

    Examples
    --------
    >>> found = agreement({"a": {"x": "yes", "y": "yes"}, "b": {"x": "no", "y": "no"}})
    >>> found.alpha, found.percent, found.items
    (1.0, 1.0, 2)
    """
    shared = {item: by for item, by in given.items() if len(by) >= 2}
    raters = sorted({rater for by in shared.values() for rater in by})
    values = sorted({label for by in shared.values() for label in by.values()})
    code = {label: i for i, label in enumerate(values)}
    table = np.full((len(raters), len(shared)), np.nan)
    for column, by in enumerate(shared.values()):
        for rater, label in by.items():
            table[raters.index(rater), column] = code[label]
    pairs = same = 0
    for by in shared.values():
        labels = list(by.values())
        pairs += len(labels) * (len(labels) - 1)
        same += sum(labels.count(label) - 1 for label in labels)
    low, high = bootstrap_interval(
        lambda items: _alpha(items.T), table.T, draws=RESAMPLES, seed=seed
    )
    return Agreement(
        alpha=_alpha(table),
        low=low,
        high=high,
        percent=same / pairs if pairs else float("nan"),
        items=len(shared),
        raters=len(raters),
        labels=int(np.isfinite(table).sum()),
    )


def _alpha(table: Float64) -> float:
    if len(np.unique(table[np.isfinite(table)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="nominal"))
