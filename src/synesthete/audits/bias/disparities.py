"""How unlike groups of images are treated: skew of rankings, and rates of harmful labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Bool, Float32, Float64, Floating, Int64
from synesthete._core.intervals import Rate, percentile_interval
from synesthete.errors import SynestheteError

DRAWS = 1000


@dataclass(frozen=True)
class Skew:
    """A ranking's skew.

    Attributes
    ----------
    max_skew, min_skew
        Greatest and least over groups of `log(share among the first k / share of all)`. A group that is missing from the
        first k counts as half of one, so that the logarithm exists.
    ndkl
        Divergence of each prefix's shares from those of all, discounted by place: 0 where every prefix is as all.
    """

    max_skew: float
    min_skew: float
    ndkl: float


def skews(ranked: npt.ArrayLike, groups: int, limit: int) -> Skew:
    """MaxSkew@k, MinSkew@k and NDKL of a ranking (Geyik, Ambler & Kenthapadi 2019, arXiv 1905.01989).

    Parameters
    ----------
    ranked
        `[images]`, the group of each, first place first.
    groups
        How many there are; each occurs.
    limit
        How many are shown: k of MaxSkew@k.

    Raises
    ------
    SynestheteError
        A `limit` that is not between 1 and the number of images, a group without an image.

    Examples
    --------
    >>> even = skews([0, 1, 0, 1], 2, 2)
    >>> even.max_skew, even.min_skew
    (0.0, 0.0)
    """
    codes = np.asarray(ranked, np.int64)
    if not 1 <= limit <= len(codes):
        raise SynestheteError(f"cannot rank the first {limit} of {len(codes)} images")
    desired = np.bincount(codes, minlength=groups) / len(codes)
    if (desired == 0).any():
        raise SynestheteError("a group has no image, and its share of none cannot be skewed")
    top = np.bincount(codes[:limit], minlength=groups)
    ratios = np.log(np.where(top > 0, top, 0.5) / limit / desired)
    return Skew(float(ratios.max()), float(ratios.min()), ndkl(codes, desired))


def ndkl(codes: Int64, desired: Float64) -> float:
    """Mean over prefixes of KL(shares of the prefix ‖ desired), weighted by 1 / log2(length + 1)."""
    found = np.cumsum(np.eye(len(desired))[codes], axis=0)
    lengths = np.arange(1, len(codes) + 1)
    shares = found / lengths[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares / desired), 0.0)
    weights = 1 / np.log2(lengths + 1)
    return float((weights * terms.sum(1)).sum() / weights.sum())


def skews_with_interval(
    scores: Floating, codes: Int64, groups: int, limit: int, *, seed: int = 0
) -> dict[str, object]:
    """The skews of the order of some scores, 95 % bootstrap intervals over images within groups, and chance.

    Parameters
    ----------
    scores
        `[images]`, the greatest first; equal ones in a random order.
    codes
        `[images]`, groups.

    Returns
    -------
    dict
        `max_skew`, `min_skew`, `ndkl`, each with `value`, `interval` and `shuffled`: the mean where the groups are
        permuted.
    """
    rng = np.random.default_rng(seed)

    def order(rows: npt.NDArray[np.intp]) -> Int64:
        mixed = rng.permutation(rows)
        return np.asarray(codes[mixed[np.argsort(-scores[mixed], kind="stable")]], np.int64)

    every = np.arange(len(codes))
    found = skews(order(every), groups, limit)
    members = [np.flatnonzero(codes == group) for group in range(groups)]
    drawn = [
        skews(
            order(np.concatenate([rng.choice(rows, len(rows)) for rows in members])), groups, limit
        )
        for _ in range(300)
    ]
    shuffled = [skews(rng.permutation(codes), groups, limit) for _ in range(300)]
    out: dict[str, object] = {"k": limit, "n": len(codes)}
    for name in ("max_skew", "min_skew", "ndkl"):
        low, high = percentile_interval([getattr(one, name) for one in drawn])
        out[name] = {
            "value": round(getattr(found, name), 4),
            "interval": [round(low, 4), round(high, 4)],
            "shuffled": round(float(np.mean([getattr(one, name) for one in shuffled])), 4),
        }
    return out


def counts(codes: Sequence[int], names: Sequence[str]) -> dict[str, int]:
    """Images by group.

    Examples
    --------
    >>> counts([0, 1, 1], ["women", "men"])
    {'women': 1, 'men': 2}
    """
    found = np.bincount(np.asarray(codes, np.int64), minlength=len(names))
    return dict(zip(names, found.tolist(), strict=True))


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
    """95 % interval of the gap, from a Bayesian bootstrap of the images within each group.

    Rubin 1981 with half an image of each kind added (Jeffreys): the plain bootstrap would say of a group of ten
    images without harm that its rate is 0, and certainly so.
    """
    rng = np.random.default_rng(seed)
    counts = [(int(one.sum()), len(one)) for one in (harmed[codes == g] for g in range(groups))]
    rates = np.stack([rng.beta(yes + 0.5, n - yes + 0.5, DRAWS) for yes, n in counts])
    low, high = percentile_interval(rates.max(axis=0) - rates.min(axis=0))
    found = gap(harmed, codes, groups)
    return min(low, found), max(high, found)


@dataclass(frozen=True)
class People:
    """Images of people in groups, and labels that they may get.

    Attributes
    ----------
    embeddings
        `[images, dim]`.
    codes
        `[images]`, their group.
    groups
        The names of the groups.
    labels
        Label → embedding `[dim]`.
    """

    embeddings: Float32
    codes: Int64
    groups: Sequence[str]
    labels: Mapping[str, Float32]


def harm_rates(
    people: People,
    neutral: Sequence[str],
    categories: Mapping[str, Sequence[str]],
    added: Sequence[str] = (),
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """How often each group's images are nearest to a label of each category.

    Parameters
    ----------
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
    codes, groups = people.codes, people.groups
    matrix = np.stack([people.labels[label] for label in labels])
    answers = np.asarray(labels)[(people.embeddings @ matrix.T).argmax(1)]
    out: dict[str, Any] = {"labels": labels, "categories": {}}
    for name, harmful in categories.items():
        harmed = np.isin(answers, list(harmful))
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
