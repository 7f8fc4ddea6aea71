"""Multimodality: does a unit respond to one concept in every modality, on held-out artists?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete._core.intervals import exact
from synesthete.analysis.design import AT_LEAST, Design
from synesthete.analysis.selectivity import (
    RANKED_AT_ONCE,
    AucTable,
    Ranking,
    auc_tables,
    concept_scores,
)
from synesthete.analysis.significance import benjamini_hochberg, p_values
from synesthete.errors import SynestheteError

# Merit of every concept for every unit: (auc [modalities, units, concepts], n_pos, n_neg [modalities,
# concepts]; NaN and 0 where not testable; code of `word`) -> [units, concepts].
Merit = Callable[[Float64, Int64, Int64, int], Float64]

# Groups of codes of modalities, of each of which one must pass; None where multimodality cannot be tested.
Needed: TypeAlias = Sequence[Sequence[int]] | None

TABLE_BYTES = 150_000_000  # tables of a chunk of units held at once


@dataclass(frozen=True)
class Criteria:
    """From where on a unit passes in a modality, on held-out artists.

    Attributes
    ----------
    auc, q
        Selective: AUC at least, false discovery rate at most.
    ap
        Multimodal: also average precision at least.
    cell
        Concept cell: also average precision at least.

    Raises
    ------
    SynestheteError
        When one is out of range.
    """

    auc: float = 0.9
    q: float = 0.01
    ap: float = 0.2
    cell: float = 0.5

    def __post_init__(self) -> None:
        if not 0.5 < self.auc <= 1:
            raise SynestheteError(
                f"the AUC threshold must be above 0.5 and at most 1, not {self.auc}"
            )
        if not 0 < self.q < 1:
            raise SynestheteError(
                f"the false discovery rate q must be between 0 and 1, not {self.q}"
            )
        if not 0 <= self.ap <= self.cell <= 1:
            raise SynestheteError(
                f"the thresholds of average precision must be 0 <= ap <= cell <= 1, not {self.ap} and {self.cell}"
            )


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
    ap, correlation
        `[units, modalities]` average precision (ties against the concept) and Pearson correlation with the label; NaN where AUC is.
    ap_low
        `[units, modalities]` lower end of the 95 % interval of `ap` over artists: the exact one with the artists as trials, which a mean
        of numbers from 0 to 1 keeps; its coverage is in docs/selectivity.md.
    n, artists
        `[units, modalities]` images of the concept on the scoring half, and artists who made them; 0 where it is not testable.
    passes
        `[units, modalities]`: AUC and q pass.
    multimodality
        `[units]`: the weakest AUC; 0.5 for a constant unit.
    unit_q
        `[units]`: the largest q among `word` and the two best other modalities; 1 for a constant unit.
    lower
        `[units]`: the smallest `ap_low` among `word` and the two best other modalities; 0 for a constant unit.
    passed
        `[units]`: modalities in which AUC, q and average precision pass.
    selective
        `[units]`: AUC and q pass in at least three modalities, `word` among them.
    multimodal, concept_cell
        `[units]`: average precision passes too, in at least three of those, `word` among them.
    hypotheses
        Cells that q was computed over.
    """

    concept: Int64
    auc: Float64
    p: Float64
    q: Float64
    ap: Float64
    correlation: Float64
    ap_low: Float64
    n: Int64
    artists: Int64
    passes: Bool
    multimodality: Float64
    unit_q: Float64
    lower: Float64
    passed: Int64
    selective: Bool
    multimodal: Bool
    concept_cell: Bool
    hypotheses: int

    def fine(self, ap: float) -> Bool:
        """`[units, modalities]`: AUC, q, and average precision of at least `ap`."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.passes & (self.ap >= ap))

    def at(self, ap: float, needed: Needed) -> Bool:
        """`[units]`: AUC, q, and average precision of at least `ap` in three modalities, one of each group of `needed` among them."""
        if needed is None:
            return np.zeros(len(self.concept), np.bool_)
        fine = self.fine(ap)
        enough = fine.sum(axis=1) >= AT_LEAST
        for group in needed:
            enough &= fine[:, list(group)].any(axis=1)
        return np.asarray(enough)


DEFAULT = Criteria()
THRESHOLD, LEVEL = DEFAULT.auc, DEFAULT.q


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
    criteria: Criteria = DEFAULT,
    merit: Merit = stouffer,
    concepts: Int64 | None = None,
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
    criteria
        From where on a modality passes.
    merit
        By which statistic of the selection half a concept is chosen.
    concepts
        Codes `[units]` that were chosen already (`choose_concepts`), -1 for none.

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
        _choose_and_score(
            np.asarray(activations[:, i : i + step]),
            design,
            labelings,
            merit,
            None if concepts is None else concepts[i : i + step],
        )
        for i in range(0, n_units, step)
    ]
    scores = []
    for codes, parts in zip(labelings, zip(*chunks, strict=True), strict=True):
        concept = np.concatenate([part[0] for part in parts])
        measured = np.concatenate([part[1] for part in parts], axis=1)
        scores.append(_call(concept, measured, design, codes, criteria))
    return scores


def score_halves(
    activations: Floating, designs: Sequence[Design], *, criteria: Criteria = DEFAULT
) -> list[Scores]:
    """`score_units` for several ways to halve or thin out the same images, sorting them once; without correlations.

    Parameters
    ----------
    activations
        `[images, units]`.
    designs
        Of the same images and labels: `Design.scored_on` and `Design.only` make them of one.

    Returns
    -------
    list of Scores
        One per design; `correlation` is NaN.
    """
    base = designs[0]
    n_units, modalities = activations.shape[1], range(len(base.modalities))
    largest = max(int((base.concept[base.images(m)]).size) for m in modalities)
    cells = len(base.concepts) * len(base.modalities)
    step = max(1, min(RANKED_AT_ONCE // max(largest, 1), TABLE_BYTES // (cells * 24)))
    concepts = np.full((len(designs), n_units), -1)
    measured = np.full((len(designs), 5, n_units, len(base.modalities)), np.nan)
    rows = [np.flatnonzero(base.modality == m) for m in modalities]
    for start in range(0, n_units, step):
        some = np.asarray(activations[:, start : start + step])
        units = slice(start, start + some.shape[1])
        constant = is_constant(some)
        rankings = [Ranking(some[r], base.concept[r], len(base.concepts)) for r in rows]
        for number, design in enumerate(designs):
            if not len(design.candidates):
                continue
            there = design.modality >= 0
            chosen_on, scored_on = there & ~design.split.scoring, there & design.split.scoring
            tables = [k.table(chosen_on[r]) for k, r in zip(rankings, rows, strict=True)]
            concept = choose(tables, design)
            concepts[number, units] = np.where(constant, -1, concept)
            for m in modalities:
                (auc, wins, ap), n_pos = rankings[m].scores(scored_on[rows[m]], concept)
                tested = design.split.testable[m, concept] & ~constant & ~np.isnan(auc)
                n_neg = int(scored_on[rows[m]].sum()) - n_pos
                p = np.full(len(concept), np.nan)
                p[tested] = p_values(wins[tested], n_pos[tested], n_neg[tested])
                found = np.stack([auc, p, ap, np.full_like(auc, np.nan), n_pos])
                measured[number, :, units, m] = np.where(tested, found, np.nan)
    return [
        _call(concept, values, design, design.concept, criteria)
        for concept, values, design in zip(concepts, measured, designs, strict=True)
    ]


def _choose_and_score(
    activations: Floating,
    design: Design,
    labelings: Sequence[Int64],
    merit: Merit,
    concepts: Int64 | None,
) -> list[tuple[Int64, Float64]]:
    """Per labeling: chosen concepts `[units]`; AUC, p, average precision, correlation and n on the scoring half `[5, units, modalities]`."""
    shape = (5, activations.shape[1], len(design.modalities))
    if not len(design.candidates):
        return [(np.full(shape[1], -1), np.full(shape, np.nan)) for _ in labelings]
    constant = is_constant(activations)
    if concepts is None:
        tables = _tables(activations, design, labelings)
        chosen = [choose(one, design, merit) for one in tables]
    else:
        constant |= concepts < 0
        chosen = [concepts for _ in labelings]
    found = [np.full(shape, np.nan) for _ in labelings]
    for m in range(len(design.modalities)):
        rows = design.images(m, scoring=True)
        if not rows.size:
            continue
        pairs = [(codes[rows], concept) for codes, concept in zip(labelings, chosen, strict=True)]
        scored = concept_scores(activations[rows], pairs, len(design.concepts))
        for measured, one, concept in zip(found, scored, chosen, strict=True):
            tested = design.split.testable[m, concept] & ~constant & ~np.isnan(one.auc)
            p = p_values(one.wins[tested], one.n_pos[tested], one.n_neg[tested])
            kept = (one.auc[tested], p, one.ap[tested], one.correlation[tested], one.n_pos[tested])
            measured[:, tested, m] = np.stack(kept)
    return [
        (np.where(constant, -1, concept), measured)
        for concept, measured in zip(chosen, found, strict=True)
    ]


def _tables(
    activations: Floating, design: Design, labelings: Sequence[Int64]
) -> list[list[AucTable]]:
    """AUC tables of the selection half, `[labeling][modality]`."""
    by_modality = []
    for m in range(len(design.modalities)):
        rows = design.images(m, scoring=False)
        codes = [labels[rows] for labels in labelings]
        by_modality.append(auc_tables(activations[rows], codes, len(design.concepts)))
    return [list(tables) for tables in zip(*by_modality, strict=True)]


def choose_concepts(activations: Floating, design: Design) -> Int64:
    """Codes `[units]` of the concepts that the selection half chooses among the design's candidates; -1 for a constant unit."""
    step = max(1, TABLE_BYTES // (len(design.concepts) * len(design.modalities) * 24))
    parts = [np.asarray(activations[:, i : i + step]) for i in range(0, activations.shape[1], step)]
    return np.concatenate(
        [
            np.where(
                is_constant(part), -1, choose(_tables(part, design, [design.concept])[0], design)
            )
            for part in parts
        ]
    )


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
    # Without a word no unit of images can be multimodal; the merit then takes any modality for it.
    first = merit(auc, n_pos, n_neg, design.needed[0][0] if design.needed else 0)
    best = first >= first.max(axis=1, keepdims=True) - 1e-9
    with np.errstate(invalid="ignore"):
        mean = np.where(best, np.nanmean(auc, axis=0), -1.0)
    return np.asarray(eligible[np.argmax(mean, axis=1)], np.int64)


def _call(
    concept: Int64, measured: Float64, design: Design, codes: Int64, criteria: Criteria
) -> Scores:
    """Apply the criteria to what was measured on the scoring half."""
    auc, p, ap, correlation, n = measured
    q = benjamini_hochberg(p)
    tested = np.asarray(~np.isnan(auc).all(axis=1))
    there = ~np.isnan(auc)
    artists = np.where(there, design.artists(codes)[:, concept].T, 0)
    ap_low = np.full_like(ap, np.nan)
    ap_low[there] = exact(ap[there], artists[there])[0]
    # Where multimodality cannot be tested, a unit is described by all the modalities there are.
    needed = design.needed if design.problem() is None else None
    with np.errstate(invalid="ignore"):
        passes = np.asarray((auc >= criteria.auc) & (q <= criteria.q))
    scores = Scores(
        concept=concept,
        auc=auc,
        p=p,
        q=q,
        ap=ap,
        correlation=correlation,
        ap_low=ap_low,
        n=np.where(there, n, 0).astype(np.int64),
        artists=artists,
        passes=passes,
        multimodality=np.where(tested, np.nanmin(np.where(tested[:, None], auc, 0.5), axis=1), 0.5),
        unit_q=np.where(tested, _needed(np.where(there, q, 1.0), there, needed), 1.0),
        lower=np.where(tested, -_needed(np.where(there, -ap_low, 0.0), there, needed), 0.0),
        passed=np.asarray((passes & (np.nan_to_num(ap) >= criteria.ap)).sum(axis=1)),
        selective=np.zeros(len(concept), np.bool_),
        multimodal=np.zeros(len(concept), np.bool_),
        concept_cell=np.zeros(len(concept), np.bool_),
        hypotheses=int((~np.isnan(p)).sum()),
    )
    return replace(
        scores,
        selective=scores.at(0.0, needed),
        multimodal=scores.at(criteria.ap, needed),
        concept_cell=scores.at(criteria.cell, needed),
    )


def _needed(worse: Float64, there: Bool, needed: Needed) -> Float64:
    """The largest among the modalities that a verdict needs, the best of each group and of all, `[units]`; without any, of all there are.

    Parameters
    ----------
    worse
        `[units, modalities]`, larger being worse.
    """
    if needed is None:
        return np.asarray(np.where(there, worse, -np.inf).max(axis=1, initial=-np.inf))
    found = np.sort(worse, axis=1)[:, AT_LEAST - 1]
    for group in needed:
        found = np.maximum(found, worse[:, list(group)].min(axis=1))
    return np.asarray(found)


def is_constant(activations: Floating) -> Bool:
    """`[units]`: the same finite value for every image, or none at all; nothing to test."""
    with np.errstate(invalid="ignore"):
        low = np.fmin.reduce(activations, axis=0)
        return np.asarray(~(np.fmax.reduce(activations, axis=0) > low), np.bool_)
