"""Reviews: people's verdicts, labels, flags and notes on units and on cases of a catalogue, never overwritten."""

from synesthete.reviews.acts import CASES, NEURONS, Act, Log, append, read
from synesthete.reviews.agreement import Agreement, agreement
from synesthete.reviews.exchange import export_reviews, import_reviews
from synesthete.reviews.queue import labels, queue, session
from synesthete.reviews.state import State, current, foreign, request_review, say, verdicts_of

__all__ = [
    "CASES",
    "NEURONS",
    "Act",
    "Agreement",
    "Log",
    "State",
    "agreement",
    "append",
    "current",
    "export_reviews",
    "foreign",
    "import_reviews",
    "labels",
    "queue",
    "read",
    "request_review",
    "say",
    "session",
    "verdicts_of",
]
