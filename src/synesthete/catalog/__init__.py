"""The catalogue: items searched, recommended, aligned and suggested, with reasons neuron by neuron."""

from synesthete.catalog.catalog import Catalog
from synesthete.catalog.schema import (
    Alignment,
    Choice,
    Evaluation,
    Flag,
    Hit,
    ImageSource,
    Item,
    Quarantined,
    Question,
    Reason,
    Region,
    ReviewQueue,
    Signal,
    Suggestion,
    Word,
    Written,
)

__all__ = [
    "Alignment",
    "Catalog",
    "Choice",
    "Evaluation",
    "Flag",
    "Hit",
    "ImageSource",
    "Item",
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
