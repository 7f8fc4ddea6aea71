"""Cells: how many images show a concept in a modality, and what so few can and cannot show, before they are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

import numpy as np

from synesthete._core.text import first_of
from synesthete.analysis.design import AT_LEAST, Design
from synesthete.analysis.multimodality import DEFAULT

LISTED = 6


@dataclass(frozen=True, kw_only=True)
class ModalityCells:
    """The concepts of a modality by what their images can show.

    Attributes
    ----------
    images
        How many there are of the modality.
    tested
        Concepts that are scored on some artists or images after they were chosen on others.
    single
        Concepts that cannot be tested: all their images are on one side.
    weak
        Concepts that are tested and cannot pass at the false discovery rate, even if a unit ranks their images before all others: concept → the
        smallest p that so few can have.
    scored
        Fewest and most images that a tested concept is scored on, and how many others it is compared with at the least.
    """

    modality: str
    images: int
    tested: tuple[str, ...]
    single: tuple[str, ...]
    weak: dict[str, float]
    scored: tuple[int, int, int]

    @property
    def strong(self) -> int:
        """How many concepts can pass."""
        return len(self.tested) - len(self.weak)


def cells_of(design: Design, *, q: float = DEFAULT.q) -> list[ModalityCells]:
    """What the cells of labelled images can show, modality by modality.

    The smallest p of a rank test with `n` images of a concept among `N` is 1 / C(N, n) (Mann & Whitney 1947); no correction for
    several tests makes it smaller.

    Examples
    --------
    >>> from synesthete.analysis.design import Design
    >>> few = Design.of(["a", "a", "b", "b", "c"], ["photo"] * 5, ["x", "y", "x", "y", "x"])
    >>> (photo,) = cells_of(few)
    >>> photo.tested, photo.single, photo.weak
    (('a', 'b'), ('c',), {'a': 0.3333333333333333, 'b': 0.3333333333333333})
    """
    found = []
    comparable = design.comparable
    for m, modality in enumerate(design.modalities):
        images, scored = design.images(m), design.images(m, scoring=True)
        shown = np.unique(design.concept[images])
        positive = np.bincount(design.concept[scored], minlength=len(design.concepts))
        tested = [int(c) for c in shown if comparable[m, c]]
        least = {c: 1 / comb(scored.size, int(positive[c])) for c in tested}
        sizes = [int(positive[c]) for c in tested] or [0]
        found.append(
            ModalityCells(
                modality=modality,
                images=int(images.size),
                tested=tuple(design.concepts[c] for c in tested),
                single=tuple(design.concepts[int(c)] for c in shown if not comparable[m, c]),
                weak={design.concepts[c]: p for c, p in least.items() if p > q},
                scored=(min(sizes), max(sizes), int(scored.size) - max(sizes)),
            )
        )
    return found


def cells_in_words(design: Design, *, q: float = DEFAULT.q) -> Iterator[str]:
    """The same in lines, the last of which says whether multimodality can be tested."""
    for one in cells_of(design, q=q):
        low, high, others = one.scored
        size = f"{low}" if low == high else f"{low} to {high}"
        line = (
            f"{one.modality}: images {one.images:,}, concepts {len(one.tested) + len(one.single):,}"
        )
        if one.tested:
            line += f"; {len(one.tested):,} tested, on {size} held-out against {others:,} of other concepts or more"
        if one.single:
            line += f"; too few to test (a single image or artist, or nothing to compare with): {first_of(one.single, LISTED)}"
        if one.weak:
            line += f"; tested but too few to pass: {first_of([f'{name} (p at least {p:.2g})' for name, p in one.weak.items()], LISTED)}"
        yield line
    problem = design.problem()
    if problem is None:
        eligible = int(design.split.eligible.sum())
        yield f"multimodal can be tested for {eligible:,} of {len(design.concepts):,} concepts: those with {AT_LEAST} such modalities, words among them"
    else:
        yield f"no neuron can be called multimodal: {problem.message} ({problem.hint}); which images excite it is shown in any case"
