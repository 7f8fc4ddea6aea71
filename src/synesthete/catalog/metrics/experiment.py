"""A/B tests: lift with an anytime-valid confidence sequence, sample ratio mismatch, power, and interleaved lists."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from synesthete._core.arrays import Float64, Int64
from synesthete.catalog.metrics.estimates import Estimate, mean_of, share_of
from synesthete.catalog.metrics.sequences import (
    Bounds,
    Outcomes,
    bounds,
    evidence,
    pair,
    running_bounds,
)
from synesthete.errors import SynestheteError

Verdict = Literal["B is better", "A is better", "undecided"]
LOOKS = 60


@dataclass(frozen=True)
class Interleaved:
    """One list made of two.

    Attributes
    ----------
    items
        Ids in the order in which they are shown.
    teams
        Of each, `A` or `B`: the ranker that put it there.
    """

    items: list[str]
    teams: list[str]


def team_draft(a: Sequence[str], b: Sequence[str], k: int, *, seed: int) -> Interleaved:
    """Interleave two rankings as captains choose teams (Radlinski, Kurup & Joachims 2008, algorithm 2).

    Each turn, the team with fewer items (by lot when equal) takes its best item that is not yet shown.

    Parameters
    ----------
    a, b
        Item ids, best first.
    k
        At most this many; fewer where both rankings are used up.
    seed
        Of the lots; keep it with the list.

    Examples
    --------
    >>> mixed = team_draft(["x", "y"], ["x", "z"], 3, seed=0)
    >>> sorted(mixed.items), len(mixed.teams)
    (['x', 'y', 'z'], 3)
    """
    rng = np.random.default_rng(seed)
    items: list[str] = []
    teams: list[str] = []
    left = {"A": list(dict.fromkeys(a)), "B": list(dict.fromkeys(b))}
    while len(items) < k:
        for team in left:
            left[team] = [item for item in left[team] if item not in items]
        able = [team for team in ("A", "B") if left[team]]
        if not able:
            break
        counts = {team: teams.count(team) for team in able}
        fewest = [team for team in able if counts[team] == min(counts.values())]
        team = fewest[int(rng.integers(len(fewest)))]
        items.append(left[team][0])
        teams.append(team)
    return Interleaved(items, teams)


def credit(shown: Interleaved, clicked: Collection[str]) -> int:
    """Which ranker a list's clicks speak for: 1 for B, -1 for A, 0 for neither.

    Examples
    --------
    >>> credit(Interleaved(["x", "y", "z"], ["A", "B", "B"]), {"y", "z", "x"})
    1
    """
    of_b = sum(
        1 if team == "B" else -1
        for item, team in zip(shown.items, shown.teams, strict=True)
        if item in clicked
    )
    return int(np.sign(of_b))


@dataclass(frozen=True)
class Look:
    """What was known after so many pairs: estimate and bounds of B - A."""

    pairs: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Lift:
    """How B does against A.

    Attributes
    ----------
    a, b
        Mean result of each variant, over its visitors.
    difference
        B - A, with bounds that hold at every look.
    relative
        B / A - 1, with bounds of the same kind.
    e_value
        Evidence against "no difference"; at most 1 on average, however often one looks, where there is none.
    p_value
        Valid at any time: 1 / the highest evidence at any of the looks.
    verdict
        `undecided` until zero lies outside.
    decided_after
        Pairs after which the verdict first stood; None while undecided.
    alpha
        Chance that a verdict is false though nothing differs.
    unpaired
        Visitors who wait for one of the other variant.
    looks
        How the bounds narrowed.
    """

    a: Estimate
    b: Estimate
    difference: Bounds
    relative: Bounds
    e_value: float
    p_value: float
    verdict: Verdict
    decided_after: int | None
    alpha: float
    unpaired: int
    looks: list[Look]


def lift(a: npt.ArrayLike, b: npt.ArrayLike, *, alpha: float = 0.05, looks: int = LOOKS) -> Lift:
    """Compare two variants by the results of their visitors.

    Parameters
    ----------
    a, b
        Result per visitor in order of arrival, within 0 to 1.
    alpha
        Error that is accepted.
    looks
        At how many moments the way there is traced (evenly spread in the logarithm of pairs). A verdict needs
        no more than one of them; looking more often is free.

    Examples
    --------
    >>> lift([0, 1] * 200, [1, 1, 0, 1] * 100).verdict
    'B is better'
    """
    of_a, of_b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    pairs = pair(of_a, of_b)
    n = int(pairs.counts.sum())
    moments = np.unique(np.geomspace(1, n, looks).astype(np.int64)) if n else np.array([], np.int64)
    running = running_counts(of_a[:n], of_b[:n], pairs, moments)
    highest = float(np.max(evidence(running), initial=0.0))
    path = []
    decided: int | None = None
    verdict: Verdict = "undecided"
    for moment, now in zip(moments, running_bounds(running, "difference", alpha), strict=True):
        path.append(Look(int(moment), now.value, now.low, now.high))
        if decided is None and (now.low > 0 or now.high < 0):
            decided = int(moment)
            verdict = "B is better" if now.low > 0 else "A is better"
    ratio = bounds(pairs, "ratio", alpha)
    return Lift(
        a=_rate(of_a),
        b=_rate(of_b),
        difference=bounds(pairs, "difference", alpha),
        relative=Bounds(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.pairs),
        e_value=float(evidence(pairs)) if n else 1.0,
        p_value=min(1.0, 1 / highest) if highest else 1.0,
        verdict=verdict,
        decided_after=decided,
        alpha=alpha,
        unpaired=len(of_a) + len(of_b) - 2 * n,
        looks=path,
    )


def running_counts(
    a: Float64,
    b: Float64,
    kinds: Outcomes,
    moments: Int64,
) -> Outcomes:
    """Counts of the kinds of pairs after the first m pairs, for each moment m: counts `[moments, kinds]`."""
    if not len(moments):
        return Outcomes(kinds.a, kinds.b, np.zeros((0, len(kinds.a))))
    order = np.lexsort((kinds.b, kinds.a))
    place = {(kinds.a[i], kinds.b[i]): i for i in order}
    codes = np.array([place[one] for one in zip(a.tolist(), b.tolist(), strict=True)])
    edges = np.concatenate([[0], moments])
    parts = [
        np.bincount(codes[first:last], minlength=len(kinds.a)) for first, last in pairwise(edges)
    ]
    return Outcomes(kinds.a, kinds.b, np.cumsum(parts, axis=0).astype(np.float64))


def split_evidence(a: int, b: int, share_of_b: float = 0.5) -> float:
    """E-value for a sample ratio mismatch (SRM: visitors were not split as configured; Lindon & Malek 2022, *Anytime-valid inference for multinomial
    count data*). From 1,000 on, at any time, the experiment is invalid.

    Examples
    --------
    >>> split_evidence(500, 510) < 1, split_evidence(500, 700) > 1000
    (True, True)
    """
    if not 0 < share_of_b < 1:
        raise SynestheteError(f"the share of B is {share_of_b}; it lies between 0 and 1")
    # A beta law about the meant share: as good as 100 visitors of belief.
    prior_b, prior_a = 100 * share_of_b, 100 * (1 - share_of_b)
    log_e = (
        float(betaln(prior_b + b, prior_a + a) - betaln(prior_b, prior_a))
        - b * math.log(share_of_b)
        - a * math.log(1 - share_of_b)
    )
    return math.exp(min(log_e, 700.0))


def assign(subject: str, experiment: str, share_of_b: float = 0.5) -> Literal["A", "B"]:
    """Which variant a visitor sees: always the same one, and in another experiment by another lot.

    Examples
    --------
    >>> assign("visitor-1", "spring") == assign("visitor-1", "spring")
    True
    """
    digest = hashlib.sha256(f"{experiment}\0{subject}".encode()).digest()
    return "B" if int.from_bytes(digest[:8], "big") < share_of_b * 2**64 else "A"


@dataclass(frozen=True)
class Need:
    """How many pairs a question takes.

    Attributes
    ----------
    pairs
        After so many, a true effect of this size is found with the stated power; None beyond `most`.
    effect
        B - A that was assumed.
    power
        Share of simulated trials that had found it by then, with interval.
    most
        Where the search ended.
    """

    pairs: int | None
    effect: float
    power: Estimate
    most: int


def pairs_needed(
    rate_a: float,
    rate_b: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    most: int = 2_000_000,
    trials: int = 400,
    seed: int = 0,
) -> Need:
    """Pairs after which an effect would be found, by simulating the very test that `lift` makes, at its looks.

    Parameters
    ----------
    rate_a, rate_b
        True shares of visitors who convert.
    power
        Chance of finding it.
    most
        Pairs above which the search gives up.

    Examples
    --------
    >>> need = pairs_needed(0.3, 0.6)
    >>> 50 < need.pairs < 200
    True
    """
    for rate in (rate_a, rate_b):
        if not 0 <= rate <= 1:
            raise SynestheteError(f"{rate} is no share; it lies within 0 to 1")
    a, b = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    law = np.where(a == 1, rate_a, 1 - rate_a) * np.where(b == 1, rate_b, 1 - rate_b)
    rng = np.random.default_rng(seed)
    counts = np.zeros((trials, 4))
    found = np.zeros(trials, bool)
    before = 0
    for moment in np.unique(np.geomspace(8, max(most, 8), 120).astype(int)):
        counts += rng.multinomial(moment - before, law, size=trials)
        before = int(moment)
        found |= evidence(Outcomes(a, b, counts)) >= 1 / alpha
        if found.mean() >= power:
            return Need(before, rate_b - rate_a, share_of(int(found.sum()), trials), most)
    return Need(None, rate_b - rate_a, share_of(int(found.sum()), trials), most)


def _rate(results: Float64) -> Estimate:
    if np.isin(results, (0.0, 1.0)).all():
        return share_of(int(results.sum()), len(results))
    others = results[results != 0]
    return mean_of(others, zeros=len(results) - len(others))
