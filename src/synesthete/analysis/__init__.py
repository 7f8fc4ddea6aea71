"""Analysis: which units answer to a concept in every modality, with controls and a false discovery rate."""

from synesthete.analysis.analyze import analyze, lifetime_sparseness
from synesthete.analysis.concept_tests import ConceptTests, run_concept_tests
from synesthete.analysis.design import Design, shuffled
from synesthete.analysis.multimodality import Scores, score_units
from synesthete.analysis.selectivity import AucTable, auc_table
from synesthete.analysis.significance import benjamini_hochberg, p_values

__all__ = [
    "AucTable",
    "ConceptTests",
    "Design",
    "Scores",
    "analyze",
    "auc_table",
    "benjamini_hochberg",
    "lifetime_sparseness",
    "p_values",
    "run_concept_tests",
    "score_units",
    "shuffled",
]
