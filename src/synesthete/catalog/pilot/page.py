"""The decision page of a pilot: one HTML file that opens anywhere, and says what to do, how sure that is, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from synesthete.catalog.metrics import Estimate, Lift
from synesthete.catalog.pilot.types import Pilot, summary_line
from synesthete.report.charts import Rate, bounds_chart, rate_bars
from synesthete.report.svg import palette_css

FIRST = 8  # pairs: bounds of fewer span everything
STYLE = (
    palette_css()
    + """
* { box-sizing: border-box; } body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.55 Inter, "Helvetica Neue", "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; } h1, h2 { font-family: "Iowan Old Style", Palatino, "URW Palladio L", Georgia, serif; line-height: 1.15; text-wrap: balance; } h1 { font-size: clamp(2rem, 6vw, 3rem); margin: .2em 0 .4em; } h2 { font-size: 1.4rem; margin: 2.5rem 0 .6rem; }
.kicker { color: var(--faint); margin: 0; } .lead { font-size: 1.12rem; color: var(--soft); } .take-B { color: var(--accent); } .more-data, .no-data { color: var(--against); }
.card { background: var(--raised); border: 1px solid var(--line); border-radius: 14px; padding: 1.2rem 1.4rem; margin: 1rem 0; } ul { padding-left: 1.2rem; } li { margin: .3rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; } th { text-align: left; color: var(--soft); font-size: .85rem; } th, td { padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); } .n { text-align: right; font-variant-numeric: tabular-nums; }
.chart { display: block; width: 100%; height: auto; font: 13px sans-serif; } .chart .faint { font-size: 11.5px; }
footer { color: var(--faint); font-size: .85rem; border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1rem; }
"""
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ line }}</title><style>{{ style }}</style></head><body><main>
<p class="kicker">Pilot · {{ p.a.name }} (A) against {{ p.b.name }} (B)</p>
<h1 class="{{ p.decision|replace(' ', '-') }}">{{ line }}</h1>
<p class="lead">{{ p.question }}</p>
<ul>{% for one in p.because %}<li>{{ one }}</li>{% endfor %}</ul>
{% for part in parts %}
<h2>{{ part.title }}</h2>
<p>{{ part.told }}</p>
<div class="card">{{ part.rates }}</div>
<div class="card">{{ part.lift }}<p class="kicker">B − A, with bounds that hold at every look, {{ part.certainty }}. The bounds may be looked at after every visitor; a decision is never taken too early by looking often.</p></div>
<table><thead><tr><th>variant</th><th class="n">value</th><th>bounds</th></tr></thead><tbody>
<tr><td>B − A</td><td class="n">{{ part.difference[0] }}</td><td>{{ part.difference[1] }}</td></tr>
<tr><td>B / A − 1</td><td class="n">{{ part.relative[0] }}</td><td>{{ part.relative[1] }}</td></tr>
<tr><td>p, valid at any time</td><td class="n">{{ part.p }}</td><td>evidence {{ part.e }} to 1</td></tr>
</tbody></table>
{% endfor %}
{% if p.needs %}
<h2>What more data would settle</h2>
<p>So many pairs of visitors (one of A, one of B) find a true difference of this size four times of five, by simulation of this very test:</p>
<table><thead><tr><th>if B − A is truly</th><th class="n">pairs needed</th></tr></thead><tbody>
{% for one in p.needs %}<tr><td>{{ '%+.4f'|format(one.effect) }}</td><td class="n">{% if one.pairs is none %}more than {{ '{:,}'.format(one.most) }}{% else %}{{ '{:,}'.format(one.pairs) }}{% endif %}</td></tr>{% endfor %}
</tbody></table>
<p class="kicker">The smallest change said to matter: {{ '%.0f'|format(100 * p.least_worth) }} % of A.</p>
{% endif %}
{% if p.cautions %}<h2>What should make you doubt</h2><ul>{% for one in p.cautions %}<li>{{ one }}</li>{% endfor %}</ul>{% endif %}
<h2>The variants</h2>
<table><thead><tr><th>variant</th><th>name</th><th>searches with</th><th>filters</th></tr></thead><tbody>
{% for letter, one in [('A', p.a), ('B', p.b)] %}<tr><td>{{ letter }}</td><td>{{ one.name }}</td><td>{{ one.uses }}</td><td>{{ one.where|join(', ') or '–' }}</td></tr>{% endfor %}
</tbody></table>
<footer>Made by synesthete {{ version }}. The machine says what was measured; people decide.</footer>
</main></body></html>
"""


def decision_page(pilot: Pilot) -> str:
    """The page, as HTML without anything outside of it."""
    from synesthete import __version__

    parts = []
    if pilot.live is not None:
        told = (
            f"Visitors of the experiment “{pilot.live.name}”; what counts is: {pilot.live.metric}."
        )
        parts.append(_part("What visitors did", told, pilot.live.lift))
    if pilot.offline is not None:
        told = (
            f"{pilot.offline.queries:,} queries with known answers, asked of both; what counts is NDCG at "
            f"{pilot.offline.k} (1 where the right ones come first)."
        )
        parts.append(_part("What was found", told, pilot.offline.ndcg))
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(PAGE).render(
        p=pilot, parts=parts, style=Markup(STYLE), line=summary_line(pilot), version=__version__
    )


def _part(title: str, told: str, lift: Lift) -> dict[str, Any]:
    rows: list[tuple[str, Estimate]] = [("A", lift.a), ("B", lift.b)]
    return {
        "title": title,
        "told": told,
        "rates": rates_chart(rows),
        "lift": lift_chart(lift),
        "certainty": f"{1 - lift.alpha:.0%} certain",
        "difference": (
            _signed(lift.difference.value),
            _span(lift.difference.low, lift.difference.high),
        ),
        "relative": (
            _percent(lift.relative.value),
            _span(lift.relative.low, lift.relative.high, _percent),
        ),
        "p": f"{lift.p_value:.3g}",
        "e": f"{lift.e_value:.3g}",
    }


def rates_chart(rows: Sequence[tuple[str, Estimate]]) -> Markup:
    """A bar with its interval for each variant, on one scale; a variant without a number says so."""
    top = max([one.high for _, one in rows if one.n] + [0.01]) * 1.1
    bars = [
        Rate(
            label=name,
            value=one.value if one.n else None,
            low=one.low,
            high=one.high,
            note=f"{100 * one.value:.3g} % · n = {one.n:,}" if one.n else "nothing yet",
            colour="other" if name == "A" else "accent",
        )
        for name, one in rows
    ]
    return rate_bars(bars, "; ".join(f"{name} {one}" for name, one in rows), top=top)


def lift_chart(lift: Lift) -> Markup:
    """The bounds of B - A after so many pairs; the moment of the verdict is marked."""
    looks = [(one.pairs, one.value, one.low, one.high) for one in lift.looks if one.pairs >= FIRST]
    description = (
        f"B - A is {lift.difference.value:+.3g}, between {lift.difference.low:+.3g} and {lift.difference.high:+.3g} "
        f"after {lift.difference.pairs:,} pairs: {lift.verdict}"
    )
    return bounds_chart(
        looks, description, unit="pairs of visitors", decided_after=lift.decided_after
    )


def _span(low: float, high: float, told: Any = None) -> str:
    made = told or _signed
    return f"{made(low)} to {made(high)}"


def _signed(value: float) -> str:
    return "–" if value != value else f"{value:+.4f}"


def _percent(value: float) -> str:
    if value != value:
        return "–"
    return "∞" if value == float("inf") else f"{100 * value:+.1f} %"
