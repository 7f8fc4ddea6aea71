"""Reviews: people's verdicts, labels, flags and notes on units and on cases of a catalogue, never overwritten."""

from synesthete.reviews.acts import Act, append, log_of, read
from synesthete.reviews.agreement import Agreement, agreement
from synesthete.reviews.exchange import export_reviews, import_reviews
from synesthete.reviews.queue import labels, queue, session
from synesthete.reviews.state import State, current, foreign, ratings, request_review, say

__all__ = [
    "Act",
    "Agreement",
    "State",
    "agreement",
    "append",
    "current",
    "export_reviews",
    "foreign",
    "import_reviews",
    "labels",
    "log_of",
    "queue",
    "ratings",
    "read",
    "request_review",
    "say",
    "session",
]
