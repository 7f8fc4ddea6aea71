"""The report as one page that loads and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from synesthete.audits.report.page import page_style
from synesthete.report.templates import templates_of


def report_page(report: Mapping[str, Any]) -> str:
    """The report, as `reproduce` gives it, as HTML.

    The figures are this package's own drawings, so they are put in as they are.
    """
    sections = {
        name: {
            **one,
            "figures": {title: Markup(drawing) for title, drawing in one["figures"].items()},
        }
        for name, one in report["sections"].items()
    }
    page = templates_of("synesthete.reproduction").get_template("report.html")
    return page.render(report=report, sections=sections, style=page_style())
