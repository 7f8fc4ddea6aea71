"""A report for people: one page that loads and runs nothing, and the section of a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, TemplateError
from markupsafe import Markup

from synesthete.audits.registry import AUDITS, notes
from synesthete.errors import SynestheteError
from synesthete.report import charts, svg
from synesthete.report.charts import Rate, Series
from synesthete.report.templates import templates_of

STYLE = Path(__file__).parent / "templates" / "report.css"
FACTORS = {
    "area": "Area of the label, by that of the image",
    "font": "Font",
    "place": "Place",
    "colour": "Colours",
    "contrast": "Contrast of grey letters on white",
    "case": "Case",
    "language": "Language of the word",
}

LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian"}

VERDICT = {
    "pass": "within the limit",
    "fail": "beyond the limit",
    "undecided": "not decided by this many",
}
PERCENT = ("typographic.", "adversarial.", "spurious.", "bias.largest_harm_gap")


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates."""
    templates = templates_of("synesthete.audits.report")
    templates.globals.update(
        AUDITS=AUDITS,
        FACTORS=FACTORS,
        LANGUAGES=LANGUAGES,
        cost=cost,
        value=value,
        span=span,
        rate_bars=rate_bars,
        accuracy_curves=accuracy_curves,
        units_off=units_off,
        intervals=charts.intervals,
        matrix=charts.matrix,
    )
    return templates


def report_body(report: Mapping[str, Any]) -> Markup:
    """The report as a piece of a page.

    Raises
    ------
    SynestheteError
        A report that lacks what its kind has.
    """
    with _damage():
        template = environment().get_template("body.html")
        return Markup(template.render(report=report, notes=notes(report)))


def report_page(report: Mapping[str, Any]) -> str:
    """The report as a page of its own; raises as `report_body`."""
    with _damage():
        template = environment().get_template("report.html")
        return template.render(report=report, body=report_body(report), style=page_style())


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
    return environment().get_template("comparison.html").render(found=found, style=page_style())


def page_style() -> Markup:
    """The style sheet of a report that stands alone."""
    return Markup(svg.palette_css() + STYLE.read_text(encoding="utf-8"))


def rate_bars(
    rows: Sequence[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]], description: str
) -> Markup:
    """A bar for each rate of a report: label, rate, and the rate of the control (or None)."""
    return charts.rate_bars([_rate(*row) for row in rows], description)


def _rate(label: str, rate: Mapping[str, Any] | None, control: Mapping[str, Any] | None) -> Rate:
    if rate is None or rate["rate"] is None:
        return Rate(label=label, value=None, note="not measured")
    low, high = rate["interval"]
    return Rate(
        label=label,
        value=rate["rate"],
        low=low,
        high=high,
        note=f"{svg.percent(rate['rate'])} of {rate['n']:,}",
        control=None if control is None else control["rate"],
    )


def accuracy_curves(
    sizes: Sequence[float], lines: Mapping[str, Sequence[Mapping[str, Any]]], description: str
) -> Markup:
    """Accuracy over the size of the change, with the interval of the `worst` line; `noise` is the control."""
    looks: dict[str, dict[str, Any]] = {
        "worst": {"colour": "accent", "stroke": 2.4},
        "noise": {"colour": "where", "dashed": True},
    }
    series = [
        Series(
            name=name,
            values=[row["rate"] for row in rows],
            interval=[tuple(row["interval"]) for row in rows] if name == "worst" else (),
            **looks.get(name, {}),
        )
        for name, rows in lines.items()
    ]
    return charts.line_chart([f"{size:g}/255" for size in sizes], series, description)


def units_off(rows: Sequence[Mapping[str, Any]], description: str) -> Markup:
    """Attack and clean accuracy while units are switched off, beside as many random units."""
    series = []
    for name, key, colour in (("attack", "to_word", "against"), ("clean", "clean", "accent")):
        own = [row[key]["rate"] for row in rows]
        random = [(row.get("random") or row)[key]["rate"] for row in rows]
        series.append(Series(name=name, values=own, colour=colour, stroke=2.4))
        series.append(
            Series(name=f"{name}, random", values=random, colour=colour, stroke=1.6, dashed=True)
        )
    labels = [f"{row['units']} units off" if place else "all on" for place, row in enumerate(rows)]
    return charts.line_chart(labels, series, description, base=186.0)


def value(metric: str, number: float) -> str:
    """A measured number as people read it.

    Examples
    --------
    >>> value("typographic.success_rate", 0.123), value("bias.largest_effect", 0.5)
    ('12.3 %', '0.50')
    """
    return f"{100 * number:.1f} %" if metric.startswith(PERCENT) else f"{number:.2f}"


def span(metric: str, interval: list[float]) -> str:
    """An interval as people read it."""
    return " to ".join(value(metric, bound) for bound in interval)


def cost(report: Mapping[str, Any]) -> str:
    """What the audit took.

    Examples
    --------
    >>> cost({"cost": {"bias": {"seconds": 18.2}, "typographic": {"seconds": 60}, "peak_memory_mib": 1785}})
    '78 s, peak memory 1,785 MiB'
    """
    costs = dict(report["cost"])
    memory = costs.pop("peak_memory_mib", None)
    seconds = sum(one["seconds"] for one in costs.values())
    return f"{seconds:.0f} s" + ("" if memory is None else f", peak memory {memory:,} MiB")


def card_section(report: Mapping[str, Any]) -> str:
    """Markdown for a model card: what was measured, on what, and where the limits are."""
    model = report["model"]
    lines = [
        "## Audit",
        "",
        f"`{model['name']}` (weights {model['weights_sha256'][:12]}), by `synesthete audit {report['kind']}` "
        f"{report['versions']['synesthete']}, seed {report['settings']['seed']}.",
        "",
        "| measured | value | 95 % interval | n | limit | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in report["verdicts"]:
        name = row["metric"]
        sign = "≤" if row["better"] == "low" else "≥"
        n = "" if row["n"] is None else f"{row['n']:,}"
        lines.append(
            f"| {row['title']} (`{name}`) | {value(name, row['value'])} | {span(name, row['interval'])} | {n} "
            f"| {sign} {value(name, row['limit'])} | {VERDICT[row['verdict']]} |"
        )
    lines += ["", *(f"- {note}" for note in notes(report)), ""]
    return "\n".join(lines)
