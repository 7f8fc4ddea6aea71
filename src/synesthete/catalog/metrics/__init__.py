"""Metrics of a catalogue: of rankings with known answers, of visitors, of two variants, of drift; each with n and interval."""

from synesthete.catalog.metrics.drift import Drift, drift, stability
from synesthete.catalog.metrics.experiment import (
    Lift,
    Need,
    assign,
    lift,
    pairs_needed,
    split_evidence,
)
from synesthete.catalog.metrics.interleaving import Interleaved, credit, team_draft
from synesthete.catalog.metrics.lists import coverage, diversity, novelty
from synesthete.catalog.metrics.means import Estimate, mean_of, ratio_of, share_of
from synesthete.catalog.metrics.ranking import (
    Ranked,
    leave_one_out,
    ndcg_at,
    rankings_quality,
    recall_at,
    reciprocal_rank,
)
from synesthete.catalog.metrics.sequences import Bounds, bounds, evidence, pair
from synesthete.catalog.metrics.visitors import (
    METRICS,
    Duel,
    Experiment,
    Metric,
    Rates,
    Summary,
    compare,
    duel,
    histories,
    known_by,
    summarize,
)

__all__ = [
    "METRICS",
    "Bounds",
    "Drift",
    "Duel",
    "Estimate",
    "Experiment",
    "Interleaved",
    "Lift",
    "Metric",
    "Need",
    "Ranked",
    "Rates",
    "Summary",
    "assign",
    "bounds",
    "compare",
    "coverage",
    "credit",
    "diversity",
    "drift",
    "duel",
    "evidence",
    "histories",
    "known_by",
    "leave_one_out",
    "lift",
    "mean_of",
    "ndcg_at",
    "novelty",
    "pair",
    "pairs_needed",
    "rankings_quality",
    "ratio_of",
    "recall_at",
    "reciprocal_rank",
    "share_of",
    "split_evidence",
    "stability",
    "summarize",
    "team_draft",
]
