"""Tests of every unit for every concept, on all images, with the false discovery rate controlled over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synesthete._core.arrays import Bool, Float32, Float64, Floating, Int64
from synesthete.analysis.design import AT_LEAST, Design
from synesthete.analysis.multimodality import LEVEL, THRESHOLD, is_constant
from synesthete.analysis.selectivity import auc_tables
from synesthete.analysis.significance import benjamini_hochberg, p_values


@dataclass(frozen=True, kw_only=True)
class ConceptTests:
    """Selectivity of every unit for every concept in every modality, on all images.

    Attributes
    ----------
    auc, p, q
        `[modalities, units, concepts]`; NaN where the concept has no image in the modality, and p and q
        for constant units. q is over all cells that are not NaN.
    n_pos
        `[modalities, concepts]` images.
    passes
        `[units, concepts]`: AUC and q pass in at least three modalities, `word` among them.
    hypotheses
        Cells that q was computed over.
    """

    auc: Float32
    p: Float64
    q: Float64
    n_pos: Int64
    passes: Bool
    hypotheses: int

    @property
    def n_concepts(self) -> Int64:
        """`[units]`: how many concepts pass on their own; polysemantic units have several."""
        return np.asarray(self.passes.sum(axis=1), np.int64)


def run_concept_tests(
    activations: Floating,
    design: Design,
    *,
    labelings: Sequence[Int64] | None = None,
    threshold: float = THRESHOLD,
    level: float = LEVEL,
) -> list[ConceptTests]:
    """Test every unit for every concept in every modality.

    No concept is chosen here, so no images need be held back: the false discovery rate is controlled over
    all (unit, concept, modality) instead.

    Parameters
    ----------
    activations
        `[images, units]`, the images in the order of `design`.
    design
        Labels.
    labelings
        Concept codes `[images]`; the design's own when None. Several share the ranking.
    threshold, level
        AUC and q at which a modality passes.

    Returns
    -------
    list of ConceptTests
        One per labeling.
    """
    labelings = [design.concept] if labelings is None else labelings
    constant = is_constant(activations)
    by_modality = []
    for modality in range(len(design.modalities)):
        rows = design.images(modality)
        codes = [labels[rows] for labels in labelings]
        by_modality.append(auc_tables(activations[rows], codes, len(design.concepts)))
    results = []
    for tables in zip(*by_modality, strict=True):
        auc = np.stack([table.auc for table in tables])
        p = np.stack([p_values(table.wins, table.n_pos, table.n_neg) for table in tables])
        p[:, constant] = np.nan
        q = benjamini_hochberg(p)
        with np.errstate(invalid="ignore"):
            passes = np.asarray((auc >= threshold) & (q <= level))
        enough = passes.sum(axis=0) >= AT_LEAST
        for group in design.needed or ():
            enough &= passes[list(group)].any(axis=0)
        results.append(
            ConceptTests(
                auc=auc,
                p=p,
                q=q,
                n_pos=np.stack([table.n_pos for table in tables]),
                passes=enough if design.needed is not None else np.zeros_like(enough),
                hypotheses=int((~np.isnan(p)).sum()),
            )
        )
    return results
