"""How concepts are made of units: sparse sums, the exact path to the embedding, why an image got its label."""

from synesthete.analysis.decomposition.causal import (
    CausalCheck,
    WantedTexts,
    causal_check,
    wanted_texts,
)
from synesthete.analysis.decomposition.explain import Explanation, explain
from synesthete.analysis.decomposition.fit import (
    Decomposition,
    Term,
    WordFactors,
    decompose,
    word_factors,
)

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
