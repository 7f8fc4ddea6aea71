"""What people say of units: labels, verdicts, flags and notes, kept for ever and never overwritten."""

from synesthete.reviews.acts import KINDS, Act
from synesthete.reviews.agreement import Agreement, agreement
from synesthete.reviews.exchange import export_reviews, import_reviews
from synesthete.reviews.queue import labels, queue, session
from synesthete.reviews.state import State, current, foreign, request_review, say
from synesthete.reviews.store import append, read

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
