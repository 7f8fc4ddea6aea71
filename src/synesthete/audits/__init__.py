"""Audits: how a model is fooled by words and noise, what it associates with groups of people, and reports of it."""

from synesthete.audits.report import (
    compare_reports,
    read_report,
    report_page,
    verdicts,
    write_report,
)
from synesthete.audits.run import run_audit

__all__ = [
    "compare_reports",
    "read_report",
    "report_page",
    "run_audit",
    "verdicts",
    "write_report",
]
