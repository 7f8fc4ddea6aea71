"""Pilots: two variants tried small, and a page that says what it showed, how surely, and what more data would settle."""

from synesthete.catalog.pilot.page import decision_page, lift_chart, rates_chart
from synesthete.catalog.pilot.trial import run_pilot
from synesthete.catalog.pilot.types import Pilot, Variant, summary_line, variant_of

__all__ = [
    "Pilot",
    "Variant",
    "decision_page",
    "lift_chart",
    "rates_chart",
    "run_pilot",
    "summary_line",
    "variant_of",
]
