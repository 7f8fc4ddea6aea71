"""Analysis: which units answer to a concept in every modality, with controls and a false discovery rate."""

from synesthete.analysis.answers import Answers, answer_units
from synesthete.analysis.design import Design, shuffled
from synesthete.analysis.driver import analyze
from synesthete.analysis.multimodality import Scores, score_units
from synesthete.analysis.selectivity import AucTable, auc_table
from synesthete.analysis.significance import benjamini_hochberg, p_values
from synesthete.analysis.sparseness import lifetime_sparseness

__all__ = [
    "Answers",
    "AucTable",
    "Design",
    "Scores",
    "analyze",
    "answer_units",
    "auc_table",
    "benjamini_hochberg",
    "lifetime_sparseness",
    "p_values",
    "score_units",
    "shuffled",
]
