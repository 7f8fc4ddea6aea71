"""Multimodality: does a unit respond to one concept in every modality, on held-out artists?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete.analysis.design import AT_LEAST, Design
from synesthete.analysis.selectivity import AucTable, auc_tables
from synesthete.analysis.significance import benjamini_hochberg, p_values

# Merit of every concept for every unit: (auc [modalities, units, concepts], n_pos, n_neg [modalities,
# concepts]; NaN and 0 where not testable; code of `word`) -> [units, concepts].
Merit = Callable[[Float64, Int64, Int64, int], Float64]

THRESHOLD = 0.9
LEVEL = 0.01
TABLE_BYTES = 150_000_000  # tables of a chunk of units held at once


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Each unit's concept, chosen on the selection half, measured on the scoring half.

    Attributes
    ----------
    concept
        `[units]` code; -1 for a constant unit, and where no concept can be compared with others.
    auc, p, q
        `[units, modalities]` on the scoring half; NaN where the concept is not testable. q is over all
        cells of the three arrays that are not NaN.
    multimodality
        `[units]`: the weakest AUC; 0.5 for a constant unit.
    unit_q
        `[units]`: the largest q among `word` and the two best other modalities; 1 for a constant unit.
    multimodal
        `[units]`: AUC and q pass in at least three modalities, `word` among them.
    hypotheses
        Cells that q was computed over.
    """

    concept: Int64
    auc: Float64
    p: Float64
    q: Float64
    multimodality: Float64
    unit_q: Float64
    multimodal: Bool
    hypotheses: int


def stouffer(auc: Float64, n_pos: Int64, n_neg: Int64, word: int) -> Float64:
    """Sum of z over modalities, divided by the root of their number."""
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.sqrt(12.0 * n_pos * n_neg / (n_pos + n_neg + 1.0))
        z = (auc - 0.5) * weight[:, None, :]
        return np.asarray(np.nansum(z, axis=0) / np.sqrt((n_pos > 0).sum(axis=0)))


def score_units(
    activations: Floating,
    design: Design,
    *,
    labelings: Sequence[Int64] | None = None,
    threshold: float = THRESHOLD,
    level: float = LEVEL,
    merit: Merit = stouffer,
) -> list[Scores]:
    """Choose each unit's concept on one half of the artists and score it on the other.

    Parameters
    ----------
    activations
        `[images, units]`, the images in the order of `design`.
    design
        Labels and halves. Where no concept is eligible, a unit is described by the concept that it separates best
        in the modalities there are, and none is multimodal.
    labelings
        Concept codes `[images]`; the design's own when None. Several share the ranking.
    threshold, level
        AUC and q at which a modality passes.
    merit
        By which statistic of the selection half a concept is chosen.

    Returns
    -------
    list of Scores
        One per labeling.
    """
    labelings = [design.concept] if labelings is None else labelings
    n_units, n_concepts = activations.shape[1], len(design.concepts)
    cells = n_concepts * len(design.modalities) * len(labelings)
    step = max(1, TABLE_BYTES // (cells * 24))
    chunks = [
        _choose_and_score(np.asarray(activations[:, i : i + step]), design, labelings, merit)
        for i in range(0, n_units, step)
    ]
    scores = []
    for parts in zip(*chunks, strict=True):  # one labeling, all chunks
        concept, auc, p = (np.concatenate(column) for column in zip(*parts, strict=True))
        scores.append(_call(concept, auc, p, design, threshold, level))
    return scores


def _choose_and_score(
    activations: Floating,
    design: Design,
    labelings: Sequence[Int64],
    merit: Merit,
) -> list[tuple[Int64, Float64, Float64]]:
    """Per labeling: chosen concepts `[units]`, their scoring AUC and p `[units, modalities]`."""
    n_units, n_modalities = activations.shape[1], len(design.modalities)
    selection = _tables(activations, design, labelings, scoring=False)
    scoring = _tables(activations, design, labelings, scoring=True)
    constant = is_constant(activations)
    if not len(design.candidates):
        nothing = np.full((n_units, n_modalities), np.nan)
        return [(np.full(n_units, -1), nothing, nothing.copy()) for _ in labelings]
    found = []
    for chosen_on, scored_on in zip(selection, scoring, strict=True):
        concept = choose(chosen_on, design, merit)
        auc = np.full((n_units, n_modalities), np.nan)
        p = np.full((n_units, n_modalities), np.nan)
        units = np.arange(n_units)
        for m, table in enumerate(scored_on):
            counts = table.n_pos[concept], table.n_neg[concept]
            tested = design.split.testable[m, concept] & ~constant & (counts[1] > 0)
            auc[tested, m] = table.auc[units, concept][tested]
            p[tested, m] = p_values(table.wins[units, concept], *counts)[tested]
        found.append((np.where(constant, -1, concept), auc, p))
    return found


def _tables(
    activations: Floating,
    design: Design,
    labelings: Sequence[Int64],
    *,
    scoring: bool,
) -> list[list[AucTable]]:
    """AUC tables of one half, `[labeling][modality]`."""
    by_modality = []
    for m in range(len(design.modalities)):
        rows = design.images(m, scoring=scoring)
        codes = [labels[rows] for labels in labelings]
        by_modality.append(auc_tables(activations[rows], codes, len(design.concepts)))
    return [list(tables) for tables in zip(*by_modality, strict=True)]


def choose(tables: Sequence[AucTable], design: Design, merit: Merit = stouffer) -> Int64:
    """The candidate of most merit; ties: the larger mean AUC, then the first name.

    Parameters
    ----------
    tables
        One per modality, of the selection half.

    Returns
    -------
    array `[units]`
        Concept codes.
    """
    eligible = design.candidates
    testable = design.split.testable[:, eligible]
    auc = np.stack([table.auc[:, eligible] for table in tables]).astype(np.float64)
    auc[np.broadcast_to(~testable[:, None, :], auc.shape)] = np.nan
    n_pos = np.where(testable, np.stack([table.n_pos[eligible] for table in tables]), 0)
    n_neg = np.where(testable, np.stack([table.n_neg[eligible] for table in tables]), 0)
    # Without a word no unit can be multimodal; the merit then takes any modality for it.
    first = merit(auc, n_pos, n_neg, design.required or 0)
    best = first >= first.max(axis=1, keepdims=True) - 1e-9
    with np.errstate(invalid="ignore"):
        mean = np.where(best, np.nanmean(auc, axis=0), -1.0)
    return np.asarray(eligible[np.argmax(mean, axis=1)], np.int64)


def _call(
    concept: Int64, auc: Float64, p: Float64, design: Design, threshold: float, level: float
) -> Scores:
    """Apply the definition to the scoring half's AUC and p."""
    q = benjamini_hochberg(p)
    if design.problem() is not None:
        return _describe(concept, auc, p, q)
    word = design.required
    assert word is not None
    with np.errstate(invalid="ignore"):
        passes = np.asarray((auc >= threshold) & (q <= level))
    tested = np.asarray(~np.isnan(auc).all(axis=1))
    others = np.sort(np.where(np.isnan(q), 1.0, q)[:, np.arange(q.shape[1]) != word], axis=1)
    needed = np.maximum(np.where(tested, q[:, word], 1.0), others[:, AT_LEAST - 2])
    return Scores(
        concept=concept,
        auc=auc,
        p=p,
        q=q,
        multimodality=np.where(tested, np.nanmin(np.where(tested[:, None], auc, 0.5), axis=1), 0.5),
        unit_q=np.where(tested, needed, 1.0),
        multimodal=passes[:, word] & (passes.sum(axis=1) >= AT_LEAST),
        hypotheses=int((~np.isnan(p)).sum()),
    )


def _describe(concept: Int64, auc: Float64, p: Float64, q: Float64) -> Scores:
    """Scores where multimodality cannot be tested: the weakest of the modalities there are."""
    tested = np.asarray(~np.isnan(auc).all(axis=1))
    return Scores(
        concept=concept,
        auc=auc,
        p=p,
        q=q,
        multimodality=np.where(tested, np.nanmin(np.where(tested[:, None], auc, 0.5), axis=1), 0.5),
        unit_q=np.where(tested, np.nanmax(np.where(tested[:, None], q, 1.0), axis=1), 1.0),
        multimodal=np.zeros(len(concept), np.bool_),
        hypotheses=int((~np.isnan(p)).sum()),
    )


def is_constant(activations: Floating) -> Bool:
    """`[units]`: the same finite value for every image, or none at all; nothing to test."""
    with np.errstate(invalid="ignore"):
        low = np.fmin.reduce(activations, axis=0)
        return np.asarray(~(np.fmax.reduce(activations, axis=0) > low), np.bool_)
