"""Reviews: people's verdicts, labels, flags and notes on units, never overwritten."""

from synesthete.reviews.acts import KINDS, Act, append, read
from synesthete.reviews.agreement import Agreement, agreement
from synesthete.reviews.exchange import export_reviews, import_reviews
from synesthete.reviews.queue import labels, queue, session
from synesthete.reviews.state import State, current, foreign, request_review, say

__all__ = [
    "KINDS",
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
    "queue",
    "read",
    "request_review",
    "say",
    "session",
]
