"""Design: who shows what, how, and by whose hand, as arrays that the analysis works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.analysis.halves import Halves, split_artists
from synesthete.errors import SynestheteError

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

REQUIRED_MODALITY = "word"
AT_LEAST = 3  # modalities that must pass, the required one among them
MODALITY_ORDER = ("photo", "drawing", "symbol", "word")


@dataclass(frozen=True)
class Design:
    """The labels of the probe images, coded, and their two halves.

    Attributes
    ----------
    concepts
        Names, sorted; code `i` is `concepts[i]`.
    modalities
        Names: photo, drawing, symbol, word first, then others sorted.
    concept, modality
        `[images]` codes.
    halves
        The split of artists.
    """

    concepts: tuple[str, ...]
    modalities: tuple[str, ...]
    concept: Int64
    modality: Int64
    halves: Halves

    @property
    def required(self) -> int | None:
        """Code of `word`, or None when no image shows a word."""
        names = self.modalities
        return names.index(REQUIRED_MODALITY) if REQUIRED_MODALITY in names else None

    @classmethod
    def of(
        cls,
        concepts: Sequence[str],
        modalities: Sequence[str],
        artists: Sequence[str],
        *,
        at_least: int = 2,
    ) -> Design:
        """Code the labels of `[images]` and split the artists.

        Parameters
        ----------
        at_least
            How many concepts there must be.

        Raises
        ------
        SynestheteError
            When there are fewer: nothing to tell apart.

        Examples
        --------
        >>> design = Design.of(["dog", "apple"], ["word", "photo"], ["Lato", "anna"])
        >>> design.concepts, design.modalities, design.concept.tolist()
        (('apple', 'dog'), ('photo', 'word'), [1, 0])
        """
        names = tuple(sorted(set(concepts)))
        if len(names) < at_least:
            raise _too_few(names)
        present = set(modalities)
        kinds = tuple(m for m in MODALITY_ORDER if m in present)
        kinds += tuple(sorted(present - set(MODALITY_ORDER)))
        concept = _codes(concepts, names)
        modality = _codes(modalities, kinds)
        halves = split_artists(
            concept,
            modality,
            artists,
            (len(kinds), len(names)),
            required=kinds.index(REQUIRED_MODALITY) if REQUIRED_MODALITY in kinds else None,
            at_least=AT_LEAST,
        )
        return cls(names, kinds, concept, modality, halves)

    def images(self, modality: int, *, scoring: bool | None = None) -> Int64:
        """Image numbers of one modality, of one half or (None) of both."""
        chosen = self.modality == modality
        if scoring is not None:
            chosen &= self.halves.scoring == scoring
        return np.flatnonzero(chosen)

    @property
    def comparable(self) -> Bool:
        """`[modalities, concepts]`: testable, and in both halves there are images of other concepts."""
        fine = self.halves.testable.copy()
        for m in range(len(self.modalities)):
            for scoring in (False, True):
                codes = self.concept[self.images(m, scoring=scoring)]
                fine[m] &= np.bincount(codes, minlength=len(self.concepts)) < len(codes)
        return fine

    @property
    def candidates(self) -> Int64:
        """Codes of the concepts that a unit may be given.

        The eligible ones; where none is eligible, all that are comparable in some modality.
        """
        if self.problem() is None:
            return np.flatnonzero(self.halves.eligible)
        return np.flatnonzero(self.comparable.any(axis=0))

    def require_testable(self) -> None:
        """Refuse probes on which no unit could be called multimodal, saying what is missing.

        Raises
        ------
        SynestheteError
            When no concept is eligible.
        """
        problem = self.problem()
        if problem is not None:
            raise problem

    def problem(self) -> SynestheteError | None:
        """Why no unit can be called multimodal on these images, and what to add; None when that can be tested."""
        if len(self.concepts) < 2:
            return _too_few(self.concepts)
        if self.halves.eligible.any():
            return None
        found = ", ".join(self.modalities)
        if self.required is None:
            return SynestheteError(
                f"multimodality needs written words; the probe images are: {found}",
                hint="record with --words, which draws what the shipped fonts can write, or add images of modality 'word'",
            )
        if len(self.modalities) < AT_LEAST:
            return SynestheteError(
                f"multimodality needs {AT_LEAST} modalities; the probe images are: {found}",
                hint="add drawings, symbols, photos or words of the same concepts",
            )
        per_modality = ", ".join(
            f"{name} {int(count)}"
            for name, count in zip(self.modalities, self.halves.testable.sum(axis=1), strict=True)
        )
        return SynestheteError(
            f"no concept is shown in {AT_LEAST} modalities by two or more artists each "
            f"(concepts with both halves: {per_modality})",
            hint="concepts are chosen on one half of the artists and scored on the other",
        )


def shuffled(design: Design, seed: int) -> Int64:
    """Concept codes permuted among the images of each modality and half: the label-free control.

    Every concept keeps its number of images in every modality and half, so the same concepts are eligible
    and the same laws apply.

    Returns
    -------
    array `[images]`
    """
    codes = design.concept.copy()
    for modality in range(len(design.modalities)):
        for scoring in (False, True):
            rows = design.images(modality, scoring=scoring)
            generator = np.random.default_rng([seed, modality, int(scoring)])
            codes[rows] = design.concept[generator.permutation(rows)]
    return codes


def _too_few(names: Sequence[str]) -> SynestheteError:
    if any(names):
        shown, hint = f"only {names[0]!r}", "selectivity compares at least two concepts"
    else:
        shown, hint = "no named concept", "name them: FOLDER/CONCEPT/IMAGE or a metadata.csv"
    return SynestheteError(f"the probe images show {shown}", hint=hint)


def _codes(labels: Sequence[str], names: tuple[str, ...]) -> Int64:
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[label] for label in labels], np.int64)
