"""How concepts are made of units: sparse sums, the exact path to the embedding, why an image got its label."""

from synesthete.analysis.decomposition.causal import CausalCheck, causal_check
from synesthete.analysis.decomposition.explain import Explanation, explain
from synesthete.analysis.decomposition.factors import WordFactors, word_factors
from synesthete.analysis.decomposition.fitted import Decomposition, Term, decompose
from synesthete.analysis.decomposition.wanted import WantedTexts, wanted_texts

__all__ = [
    "CausalCheck",
    "Decomposition",
    "Explanation",
    "Term",
    "WantedTexts",
    "WordFactors",
    "causal_check",
    "decompose",
    "explain",
    "wanted_texts",
    "word_factors",
]
