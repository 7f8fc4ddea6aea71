"""Families of neurons: regions, people, emotions and the others of the paper, or a user's own."""

from synesthete.analysis.families.assign import assign_families, geographic_share
from synesthete.analysis.families.definitions import (
    Families,
    Family,
    load_families,
    nouns,
    published_families,
    wordnet,
)

__all__ = [
    "Families",
    "Family",
    "assign_families",
    "geographic_share",
    "load_families",
    "nouns",
    "published_families",
    "wordnet",
]
