"""The catalogue: a shop's items searched, recommended, aligned and suggested, with reasons neuron by neuron."""

from synesthete.catalog.answers import (
    Alignment,
    Choice,
    Evaluation,
    Flag,
    Hit,
    Quarantined,
    Question,
    Reason,
    Region,
    Suggestion,
    Word,
    Written,
)
from synesthete.catalog.catalog import Catalog
from synesthete.catalog.types import Item, Picture, ReviewQueue, Signal

__all__ = [
    "Alignment",
    "Catalog",
    "Choice",
    "Evaluation",
    "Flag",
    "Hit",
    "Item",
    "Picture",
    "Quarantined",
    "Question",
    "Reason",
    "Region",
    "ReviewQueue",
    "Signal",
    "Suggestion",
    "Word",
    "Written",
]
