"""Splits by artist: a concept is chosen on the images of some artists and scored on those of held-out artists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synesthete._core.arrays import Bool, Int64

# One eligible concept outweighs a perfect balance of its images in every modality.
ELIGIBLE_WEIGHT = 4.0
SCORING_BONUS = 0.05  # an odd image goes to the scoring half, where the significance is decided
SWAPS_UP_TO = 64  # with more artists there are moves enough, and pairs too many
SWEEPS = 12


@dataclass(frozen=True, kw_only=True)
class ArtistSplit:
    """Which images choose a unit's concept and which score it.

    Attributes
    ----------
    scoring
        `[images]`, True on the scoring half, False on the selection half.
    selection_artists, scoring_artists
        Sorted names; images of unknown artist are not listed.
    unknown_artist
        Images without an artist; each counts as an artist of its own.
    testable
        `[modalities, concepts]`: the concept has images in both halves of the modality.
    eligible
        `[concepts]`: testable in enough modalities, the required one among them.
    """

    scoring: Bool
    selection_artists: tuple[str, ...]
    scoring_artists: tuple[str, ...]
    unknown_artist: int
    testable: Bool
    eligible: Bool


def split_artists(
    concept_codes: Int64,
    modality_codes: Int64,
    artists: Sequence[str],
    shape: tuple[int, int],
    *,
    required: int | Sequence[Sequence[int]] | None,
    at_least: int = 3,
) -> ArtistSplit:
    """Split artists in two halves; an artist is in the same half in every modality.

    Greedy by size, then moved and exchanged one by one while that makes more concepts eligible or halves
    more even, image counts per (concept, modality) being what evenness means. No randomness: the same
    labels always give the same halves, in whatever order the images come.

    Parameters
    ----------
    concept_codes, modality_codes
        `[images]`.
    artists
        `[images]` names; "" is unknown.
    shape
        `(modalities, concepts)`.
    required
        Code of the modality that an eligible concept must have (`word`), or groups of codes of which it must have one
        each; None when no image has it: then nothing is eligible.
    at_least
        Modalities, the required one included, that an eligible concept must have.

    Examples
    --------
    >>> import numpy as np
    >>> split = split_artists(
    ...     np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1]), ["a", "b", "c", "a"], (2, 1), required=0, at_least=2
    ... )
    >>> split.eligible.tolist(), split.testable.tolist()
    ([True], [[True], [True]])
    """
    names = [artist or f"\0image {i}" for i, artist in enumerate(artists)]
    labels, owner = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)
    groups = [[required]] if isinstance(required, int) else required
    goal = _Goal(concept_codes, modality_codes, owner.astype(np.int64), shape, groups, at_least)
    side = goal.greedy()
    goal.climb(side)
    known = [(name, bool(s)) for name, s in zip(labels, side, strict=True) if name[0] != "\0"]
    return ArtistSplit(
        scoring=side[owner],
        selection_artists=tuple(str(name) for name, s in known if not s),
        scoring_artists=tuple(str(name) for name, s in known if s),
        unknown_artist=sum(not artist for artist in artists),
        testable=goal.testable(),
        eligible=goal.eligible(),
    )


class _Goal:
    """What a split is worth, kept up to date while artists change sides."""

    def __init__(
        self,
        concepts: Int64,
        modalities: Int64,
        owner: Int64,
        shape: tuple[int, int],
        required: Sequence[Sequence[int]] | None,
        at_least: int,
    ) -> None:
        self.n_modalities, self.n_concepts = shape
        self.required, self.at_least = required, at_least
        self.n_artists = int(owner.max(initial=-1)) + 1
        self.size = np.bincount(owner, minlength=self.n_artists)
        cells = concepts * self.n_modalities + modalities
        order = np.lexsort((cells, owner))
        bounds = np.searchsorted(owner[order], np.arange(self.n_artists + 1))
        self.works: list[tuple[Int64, Int64]] = []
        for artist in range(self.n_artists):
            rows = order[bounds[artist] : bounds[artist + 1]]
            cell, count = np.unique(cells[rows], return_counts=True)
            self.works.append((cell, count.astype(np.int64)))
        self.modality_size = np.bincount(modalities, minlength=self.n_modalities)
        self.counts = np.zeros((2, self.n_concepts * self.n_modalities), np.int64)

    def greedy(self) -> Bool:
        """Largest artist first, to the half that has the smaller share of the artist's modalities."""
        side = np.zeros(self.n_artists, np.bool_)
        share = np.zeros((2, self.n_modalities))
        for artist in np.argsort(-self.size, kind="stable"):
            cell, count = self.works[artist]
            works = np.bincount(cell % self.n_modalities, count, minlength=self.n_modalities)
            weight = works / np.maximum(self.modality_size, 1)
            side[artist] = (share[1] * weight).sum() <= (share[0] * weight).sum()
            share[int(side[artist])] += weight
            self.counts[int(side[artist]), cell] += count
        return side

    def climb(self, side: Bool) -> None:
        """Move single artists, then exchange pairs, while the split gets better."""
        moves = [(artist,) for artist in range(self.n_artists)]
        pairs: list[tuple[int, ...]] = []
        if self.n_artists <= SWAPS_UP_TO:
            pairs = [(a, b) for a in range(self.n_artists) for b in range(a)]
        for _ in range(SWEEPS):
            better = False
            for move in [*moves, *pairs]:
                if len(move) == 2 and side[move[0]] == side[move[1]]:
                    continue
                better |= self._try(move, side)
            if not better:
                return

    def _try(self, move: tuple[int, ...], side: Bool) -> bool:
        cells = np.concatenate([self.works[artist][0] for artist in move])
        concepts = np.unique(cells // self.n_modalities)
        before = self._worth(concepts)
        for artist in move:
            self._flip(artist, side)
        if self._worth(concepts) > before + 1e-9:
            return True
        for artist in move:
            self._flip(artist, side)
        return False

    def _flip(self, artist: int, side: Bool) -> None:
        cell, count = self.works[artist]
        self.counts[int(side[artist]), cell] -= count
        side[artist] = not side[artist]
        self.counts[int(side[artist]), cell] += count

    def _worth(self, concepts: Int64) -> float:
        counts = self.counts.reshape(2, self.n_concepts, self.n_modalities)[:, concepts]
        fewer, total = counts.min(axis=0), counts.sum(axis=0)
        even = 2 * fewer / np.maximum(total, 1) + SCORING_BONUS * (counts[1] > counts[0])
        return float(ELIGIBLE_WEIGHT * self._eligible(fewer > 0).sum() + even.sum())

    def _eligible(self, testable: Bool) -> Bool:
        """`[concepts, modalities]` in, `[concepts]` out."""
        if self.required is None:
            return np.zeros(testable.shape[0], np.bool_)
        enough = testable.sum(axis=1) >= self.at_least
        for group in self.required:
            enough &= testable[:, list(group)].any(axis=1)
        return np.asarray(enough, np.bool_)

    def testable(self) -> Bool:
        """`[modalities, concepts]`."""
        both = (self.counts > 0).all(axis=0)
        return np.ascontiguousarray(both.reshape(self.n_concepts, self.n_modalities).T)

    def eligible(self) -> Bool:
        """`[concepts]`."""
        return self._eligible(self.testable().T)
