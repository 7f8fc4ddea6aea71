"""Families of neurons: regions, people, emotions and the others of the paper, or a user's own."""

from synesthete.analysis.families.driver import assign_families, geographic_share
from synesthete.analysis.families.listing import Families, Family, load_families, paper_families
from synesthete.analysis.families.wordnet import nouns, wordnet

__all__ = [
    "Families",
    "Family",
    "assign_families",
    "geographic_share",
    "load_families",
    "nouns",
    "paper_families",
    "wordnet",
]
