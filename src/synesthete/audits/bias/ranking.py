"""Skew of rankings: how far the groups at the top of a list are from their share of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete._core.intervals import percentile_interval
from synesthete.errors import SynestheteError

Int64 = npt.NDArray[np.int64]


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


def skews(ranked: npt.ArrayLike, groups: int, k: int) -> Skew:
    """MaxSkew@k, MinSkew@k and NDKL of a ranking (Geyik, Ambler & Kenthapadi 2019, arXiv 1905.01989).

    Parameters
    ----------
    ranked
        `[pictures]`, the group of each, first place first.
    groups
        How many there are; each occurs.
    k
        How many are shown.

    Raises
    ------
    SynestheteError
        A `k` that is not between 1 and the number of pictures, a group without a picture.

    Examples
    --------
    >>> even = skews([0, 1, 0, 1], 2, 2)
    >>> even.max_skew, even.min_skew
    (0.0, 0.0)
    """
    codes = np.asarray(ranked, np.int64)
    if not 1 <= k <= len(codes):
        raise SynestheteError(f"the first {k} of {len(codes)} pictures cannot be looked at")
    desired = np.bincount(codes, minlength=groups) / len(codes)
    if (desired == 0).any():
        raise SynestheteError("a group has no picture, and its share of none cannot be skewed")
    top = np.bincount(codes[:k], minlength=groups)
    ratios = np.log(np.where(top > 0, top, 0.5) / k / desired)
    return Skew(float(ratios.max()), float(ratios.min()), ndkl(codes, desired))


def ndkl(codes: Int64, desired: npt.NDArray[np.float64]) -> float:
    """Mean over prefixes of KL(shares of the prefix ‖ desired), weighted by 1 / log2(length + 1)."""
    found = np.cumsum(np.eye(len(desired))[codes], axis=0)
    lengths = np.arange(1, len(codes) + 1)
    shares = found / lengths[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares / desired), 0.0)
    weights = 1 / np.log2(lengths + 1)
    return float((weights * terms.sum(1)).sum() / weights.sum())


def skews_with_interval(
    scores: npt.NDArray[np.floating], codes: Int64, groups: int, k: int, *, seed: int = 0
) -> dict[str, object]:
    """The skews of the order of some scores, 95 % bootstrap intervals over pictures within groups, and chance.

    Parameters
    ----------
    scores
        `[pictures]`, the greatest first; equal ones in a random order.
    codes
        `[pictures]`, groups.

    Returns
    -------
    dict
        `max_skew`, `min_skew`, `ndkl`, each with `value`, `interval` and `shuffled`: the mean where the groups are dealt
        out at random.
    """
    rng = np.random.default_rng(seed)

    def order(rows: npt.NDArray[np.intp]) -> Int64:
        mixed = rng.permutation(rows)
        return np.asarray(codes[mixed[np.argsort(-scores[mixed], kind="stable")]], np.int64)

    every = np.arange(len(codes))
    found = skews(order(every), groups, k)
    members = [np.flatnonzero(codes == group) for group in range(groups)]
    drawn = [
        skews(order(np.concatenate([rng.choice(rows, len(rows)) for rows in members])), groups, k)
        for _ in range(300)
    ]
    dealt = [skews(rng.permutation(codes), groups, k) for _ in range(300)]
    out: dict[str, object] = {"k": k, "n": len(codes)}
    for name in ("max_skew", "min_skew", "ndkl"):
        low, high = percentile_interval([getattr(one, name) for one in drawn])
        out[name] = {
            "value": round(getattr(found, name), 4),
            "interval": [round(low, 4), round(high, 4)],
            "shuffled": round(float(np.mean([getattr(one, name) for one in dealt])), 4),
        }
    return out


def counts(codes: Sequence[int], names: Sequence[str]) -> dict[str, int]:
    """Pictures by group.

    Examples
    --------
    >>> counts([0, 1, 1], ["women", "men"])
    {'women': 1, 'men': 2}
    """
    found = np.bincount(np.asarray(codes, np.int64), minlength=len(names))
    return dict(zip(names, found.tolist(), strict=True))
