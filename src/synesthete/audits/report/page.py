"""A report as one page: it opens anywhere, prints well, and loads and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    PackageLoader,
    StrictUndefined,
    TemplateError,
    select_autoescape,
)
from markupsafe import Markup

from synesthete.audits.report import charts
from synesthete.audits.report.card import cost, notes, span, value
from synesthete.errors import SynestheteError

STYLE = Path(__file__).parent / "templates" / "report.css"
FACTORS = {
    "area": "Area of the label, by that of the picture",
    "font": "Font",
    "place": "Place",
    "colour": "Colours",
    "contrast": "Contrast of grey letters on white",
    "case": "Case",
    "language": "Language of the word",
}

LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian"}


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates."""
    made = Environment(
        loader=PackageLoader("synesthete.audits.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=charts.percent, number=charts.number)
    made.globals.update(
        charts=charts, FACTORS=FACTORS, LANGUAGES=LANGUAGES, cost=cost, value=value, span=span
    )
    return made


def report_body(report: Mapping[str, Any]) -> Markup:
    """The report as a piece of a page.

    Raises
    ------
    SynestheteError
        A report that lacks what its kind has.
    """
    with _damage():
        made = environment().get_template("body.html")
        return Markup(made.render(report=report, notes=notes(report)))


def report_page(report: Mapping[str, Any]) -> str:
    """The report as a page of its own; raises as `report_body`."""
    with _damage():
        return environment().get_template("report.html").render(
            report=report, body=report_body(report), style=Markup(STYLE.read_text(encoding="utf-8"))
        )  # fmt: skip


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (TemplateError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise SynestheteError(
            f"this report is damaged: {error}", hint="run the audit again"
        ) from error


def comparison_page(found: Mapping[str, Any]) -> str:
    """A comparison of two reports as a page of its own."""
    return environment().get_template("comparison.html").render(
        found=found, style=Markup(STYLE.read_text(encoding="utf-8"))
    )  # fmt: skip
