"""Reports of audits: one JSON of a documented schema, one page, verdicts, a model card section, comparisons."""

from synesthete.audits.report.compare import compare_reports
from synesthete.audits.report.page import comparison_page, report_body, report_page
from synesthete.audits.report.report import (
    failed,
    parse_thresholds,
    read_report,
    verdicts,
    write_report,
)

__all__ = [
    "compare_reports",
    "comparison_page",
    "failed",
    "parse_thresholds",
    "read_report",
    "report_body",
    "report_page",
    "verdicts",
    "write_report",
]
