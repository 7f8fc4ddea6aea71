"""The report as one page that loads and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from synesthete.audits.report.page import page_style
from synesthete.report import svg


@lru_cache(maxsize=1)
def _environment() -> Environment:
    templates = Environment(
        loader=PackageLoader("synesthete.reproduction"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(number=svg.number)
    return templates


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
    page = _environment().get_template("report.html")
    return page.render(report=report, sections=sections, style=page_style())
