"""Two rankers in one list: team-draft interleaving, which finds the better one with fewer visitors than two groups."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np


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
    >>> made = team_draft(["x", "y"], ["x", "z"], 3, seed=0)
    >>> sorted(made.items), len(made.teams)
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
