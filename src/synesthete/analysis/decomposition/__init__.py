"""How concepts are made of units: sparse sums, the exact path to the embedding, why an image got its label."""

from synesthete.analysis.decomposition.explain import Explanation, explain
from synesthete.analysis.decomposition.factors import WordFactors, word_factors
from synesthete.analysis.decomposition.fitted import Decomposition, Term, decompose

__all__ = [
    "Decomposition",
    "Explanation",
    "Term",
    "WordFactors",
    "decompose",
    "explain",
    "word_factors",
]
