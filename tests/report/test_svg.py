"""One palette: every style sheet that charts stand in has its colours, and the rules by which charts take them."""

from __future__ import annotations

import re
from pathlib import Path

import synesthete.server
from synesthete.audits.report.page import report_page
from synesthete.report.charts import Rate, bounds_chart, rate_bars
from synesthete.report.svg import DARK, LIGHT, chart_css, palette_css
from tests.audits.small_report import small_report

STYLE = Path(synesthete.server.__file__).parent / "static" / "style.css"


def variables(css: str) -> list[dict[str, str]]:
    """The variables of each block of a style sheet that sets the ground."""
    blocks = [block for block in re.findall(r"\{([^{}]*)\}", css) if "--ground:" in block]
    return [dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in blocks]


def test_the_microscope_has_the_palette_in_each_theme() -> None:
    css = STYLE.read_text(encoding="utf-8")
    light, *dark = variables(css)
    assert len(dark) == 2  # by the button, and by the system
    assert LIGHT.items() <= light.items()
    assert all(DARK.items() <= theme.items() for theme in dark)
    assert chart_css() in css


def test_pages_of_files_have_the_palette() -> None:
    light, dark = variables(palette_css())
    assert (light, dark) == (dict(LIGHT), dict(DARK))


def test_the_page_of_an_audit_has_the_palette() -> None:
    assert palette_css() in report_page(small_report())


def test_every_colour_of_a_chart_is_of_the_palette() -> None:
    rows = [Rate(label="<a>", value=0.5, low=0.4, high=0.6, control=0.1, note="n = 9")]
    looks = [(8, 0.0, -0.1, 0.1), (16, 0.05, -0.01, 0.1)]
    svg = rate_bars(rows, "one & two") + bounds_chart(looks, "b", unit="pairs")
    assert set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg)) <= {*LIGHT.values(), "none"}
    classes = {name for one in re.findall(r' class="([^"]+)"', svg) for name in one.split()}
    assert classes - {"chart", "wide-chart", "scroll"} <= {
        f"{c}{e}" for c in LIGHT for e in ("", "-line")
    }
    assert "&lt;a&gt;" in svg
    assert "one &amp; two" in svg


def test_a_rate_that_was_not_measured_is_no_bar() -> None:
    svg = rate_bars([Rate(label="a", value=None, note="not measured")], "b")
    assert "not measured" in svg
    assert svg.count("<rect") == 1
