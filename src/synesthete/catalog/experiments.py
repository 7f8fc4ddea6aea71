"""The decision page of a pilot: one HTML file that opens anywhere, and says what to do, how sure that is, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from synesthete._core.row_reader import Row
from synesthete.catalog.events import EventLog
from synesthete.catalog.metrics import (
    Estimate,
    Experiment,
    Lift,
    Metric,
    Need,
    compare,
    lift,
    ndcg_at,
    pairs_needed,
    recall_at,
)
from synesthete.catalog.tables import inside, read_rows, rows_and_errors
from synesthete.errors import SynestheteError, near
from synesthete.report.charts import Rate, bounds_chart, rate_bars
from synesthete.report.svg import palette_css

if TYPE_CHECKING:
    from synesthete.catalog import Catalog

Decision = Literal["take B", "keep A", "more data", "no data"]


@dataclass(frozen=True)
class Variant:
    """One way to do it.

    Attributes
    ----------
    name
        What people call it.
    uses
        What a search uses of a query: `text`, `picture` or `both`.
    where
        Filters of the search.
    """

    name: str
    uses: Literal["text", "picture", "both"] = "both"
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offline:
    """Both variants on the same queries with known answers.

    Attributes
    ----------
    k
        Places that count.
    ndcg, recall
        Query by query, B against A; the verdict is that of NDCG.
    queries, skipped
        How many were answered by both, and how many could not be by one of them.
    """

    k: int
    ndcg: Lift
    recall: Lift
    queries: int
    skipped: int


@dataclass(frozen=True)
class Pilot:
    """A pilot and what is to be done.

    Attributes
    ----------
    a, b
        The variants.
    question
        What was asked, in words.
    least_worth
        The smallest relative change that would matter.
    offline, live
        What was found; None where the folder has nothing for it.
    decision
        `take B`, `keep A`, `more data`, or `no data`.
    because
        Why, sentence by sentence.
    needs
        What more data would settle: how many pairs, for several true effects.
    cautions
        What should make one doubt.
    """

    a: Variant
    b: Variant
    question: str
    least_worth: float
    offline: Offline | None
    live: Experiment | None
    decision: Decision
    because: tuple[str, ...]
    needs: tuple[Need, ...]
    cautions: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def variant_of(text: str) -> Variant:
    """A variant as the command line takes it: `NAME=text|picture|both`, and filters after commas.

    Examples
    --------
    >>> variant_of("words only=text")
    Variant(name='words only', uses='text', where=())
    >>> variant_of("cheap=both,price<5").where
    ('price<5',)
    """
    name, equals, rest = text.partition("=")
    uses, *where = rest.split(",") if equals else ["both"]
    if uses not in ("text", "picture", "both") or not name.strip():
        raise SynestheteError(
            f"{text!r} is no variant",
            hint="write NAME=text, NAME=picture or NAME=both, then filters: NAME=both,price<5",
        )
    return Variant(name.strip(), uses, tuple(one for one in where if one))  # type: ignore[arg-type]


def summary_line(pilot: Pilot) -> str:
    """The decision in one line."""
    told = {
        "take B": f"Take {pilot.b.name}.",
        "keep A": f"Keep {pilot.a.name}.",
        "more data": "It is not decided: more data is needed.",
        "no data": "There is nothing to decide on yet.",
    }
    return told[pilot.decision]


MOST_PAIRS = 1_000_000


def decide(offline: Offline | None, live: Experiment | None) -> tuple[Decision, tuple[str, ...]]:
    """Visitors decide before queries do; a trial with a crooked split decides nothing."""
    because = []
    decision: Decision = "no data"
    for what, found in (
        ("Live", live.lift if live else None),
        ("Offline", offline.ndcg if offline else None),
    ):
        if found is None:
            continue
        crooked = what == "Live" and live is not None and live.split_is_off
        told: Decision = {"B is better": "take B", "A is better": "keep A"}.get(
            found.verdict, "more data"
        )  # type: ignore[assignment]
        if found.difference.pairs == 0:
            told = "no data"
        because.append(_sentence(what, found))
        if crooked:
            told = "more data"
            because.append("The live trial does not count: visitors were not split as meant.")
        if decision in ("no data", "more data") and not (
            decision == "more data" and what == "Offline"
        ):
            decision = told
    return decision, tuple(because)


def _sentence(what: str, found: Lift) -> str:
    if found.difference.pairs == 0:
        return f"{what}: nothing to compare yet."
    bounds = f"{found.difference.low:+.3f} and {found.difference.high:+.3f}"
    told = {
        "B is better": f"B is better, since {found.decided_after:,} pairs"
        if found.decided_after
        else "",
        "A is better": f"A is better, since {found.decided_after:,} pairs"
        if found.decided_after
        else "",
        "undecided": "the two cannot be told apart yet",
    }[found.verdict]
    return (
        f"{what}: A {found.a.value:.3f} (n = {found.a.n:,}), B {found.b.value:.3f} (n = {found.b.n:,}); B - A is "
        f"{found.difference.value:+.3f}, between {bounds} with {1 - found.alpha:.0%} certainty at every look: {told}."
    )


def needs_of(
    offline: Offline | None, live: Experiment | None, least_worth: float, alpha: float, seed: int
) -> tuple[Need, ...]:
    """How many pairs would settle the smallest change that matters, twice it, and what was seen."""
    found = live.lift if live and live.lift.a.n else offline.ndcg if offline else None
    if found is None or not found.a.n:
        return ()
    base = found.a.value if found.a.value > 0 else max(found.b.value, 0.01)
    effects = {least_worth * base, 2 * least_worth * base}
    if abs(found.difference.value) > 1e-9:
        effects.add(found.difference.value)
    made = []
    for effect in sorted(effects):
        rate = min(max(base + effect, 0.0), 1.0)
        if not math.isclose(rate, base):
            made.append(
                pairs_needed(base, rate, alpha=alpha, most=MOST_PAIRS, trials=200, seed=seed)
            )
    return tuple(made)


def cautions_of(offline: Offline | None, live: Experiment | None, refused: int) -> tuple[str, ...]:
    """What should make one doubt, sentence by sentence."""
    told = []
    if live is not None and live.split_is_off:
        told.append(
            f"The split is not what was meant (evidence {live.split:,.0f} to 1): something decides who is counted."
        )
    if live is not None:
        told += [f"{count:,} {what} do not count." for what, count in live.left_out.items()]
    if refused:
        told.append(f"{refused:,} events could not be read and do not count.")
    if offline is not None and offline.skipped:
        told.append(f"{offline.skipped:,} queries lack what one of the variants needs.")
    if offline is not None and live is None:
        told.append(
            "Offline, a variant is judged by answers known beforehand: it says what is found, not what sells."
        )
    return tuple(told)


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


QUERIES = ("queries.csv", "queries.jsonl")
EVENTS = ("events.csv", "events.jsonl")
LEAST_WORTH = 0.1


def run_pilot(
    folder: str | Path,
    a: Variant,
    b: Variant,
    *,
    catalog: Catalog | None = None,
    experiment: str = "pilot",
    metric: Metric = "conversion",
    least_worth: float = LEAST_WORTH,
    alpha: float = 0.05,
    k: int = 10,
    window: timedelta = timedelta(hours=24),
    cap: float | None = None,
    question: str = "",
    seed: int = 0,
) -> Pilot:
    """Try two variants.

    Parameters
    ----------
    folder
        With `queries.csv` (or `.jsonl`: columns `text` or `picture`, and `relevant`, ids apart by `|`, or `category`) for the
        trial offline, which needs a catalogue; and with `events.csv` (or `.jsonl`) for the trial live.
    catalog
        What is searched.
    experiment, metric, window, cap
        As of `compare`.
    least_worth
        The smallest relative change that would matter, 0.1 for a tenth.
    k
        Places of a ranking that count.

    Raises
    ------
    SynestheteError
        A folder with neither, queries without a catalogue, or tables that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SynestheteError(
            f"{folder} is no folder", hint="with queries.csv, events.csv, or both"
        )
    if not 0 < least_worth < 100:
        raise SynestheteError(f"the least change worth having is {least_worth}; it lies above 0")
    queries = next((folder / name for name in QUERIES if (folder / name).exists()), None)
    events = next((folder / name for name in EVENTS if (folder / name).exists()), None)
    if queries is None and events is None:
        raise SynestheteError(
            f"{folder} has neither queries nor events", hint=", ".join((*QUERIES, *EVENTS))
        )
    if queries is not None and catalog is None:
        raise SynestheteError(
            f"{queries} needs a catalogue to search", hint="add --catalog X.catalog"
        )
    offline = None
    if queries is not None and catalog is not None:
        offline = _offline(catalog, queries, a, b, k=k, alpha=alpha)
    live, refused = None, 0
    if events is not None:
        live, refused = _live(
            events, catalog, experiment, metric, alpha=alpha, window=window, cap=cap
        )
    decision, because = decide(offline, live)
    cautions = cautions_of(offline, live, refused)
    needs = (
        needs_of(offline, live, least_worth, alpha, seed)
        if decision in ("more data", "no data")
        else ()
    )
    asked = question or f"Is “{b.name}” better than “{a.name}”?"
    return Pilot(a, b, asked, least_worth, offline, live, decision, because, needs, cautions)


def _offline(
    catalog: Catalog, queries: Path, a: Variant, b: Variant, *, k: int, alpha: float
) -> Offline:
    by_category: dict[str, list[str]] = {}
    for item in catalog.items():
        if item.category:
            by_category.setdefault(item.category, []).append(item.id)
    ndcg: tuple[list[float], list[float]] = ([], [])
    recall: tuple[list[float], list[float]] = ([], [])
    skipped = 0
    for line, row in read_rows(queries, root=queries.parent):
        named = [one for one in str(row.get("relevant") or "").split("|") if one in catalog]
        right = named or by_category.get(str(row.get("category") or ""), [])
        if not right:
            raise SynestheteError(
                f"{queries.name}, line {line} has no right answer in the catalogue"
            )
        try:
            found = [_ranking(catalog, row, queries.parent, one, k) for one in (a, b)]
        except SynestheteError as error:
            raise SynestheteError(f"{queries.name}, line {line}: {error}") from None
        if any(one is None for one in found):
            skipped += 1
            continue
        gains = dict.fromkeys(right, 1.0)
        for place, ranked in enumerate(found):
            assert ranked is not None
            ndcg[place].append(ndcg_at(ranked, gains, k))
            recall[place].append(recall_at(ranked, gains, k))
    if not ndcg[0]:
        raise SynestheteError(
            f"{queries.name} has no query that both variants can answer",
            hint="queries with text and picture",
        )
    return Offline(k, lift(*ndcg, alpha=alpha), lift(*recall, alpha=alpha), len(ndcg[0]), skipped)


def _ranking(
    catalog: Catalog, row: Mapping[str, Any], folder: Path, variant: Variant, k: int
) -> list[str] | None:
    text = str(row.get("text") or "") if variant.uses in ("text", "both") else ""
    name = str(row.get("picture") or "") if variant.uses in ("picture", "both") else ""
    if not (text or name) or (variant.uses == "both" and not (text and name)):
        return None
    picture = inside(folder, name) if name else None
    if isinstance(picture, str):
        raise SynestheteError(picture)
    hits = catalog.search(
        text or None,
        picture,
        where=variant.where,
        k=k,
        group=False,
        reasons=0,
    )
    return [hit.id for hit in hits]


def _live(
    events: Path, catalog: Catalog | None, experiment: str, metric: Metric, *, alpha: float,
    window: timedelta, cap: float | None,
) -> tuple[Experiment, int]:  # fmt: skip
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        log = EventLog(scratch, known=None if catalog is None else catalog.__contains__)
        refused = 0
        waiting: list[Row | SynestheteError] = []
        for _, row in rows_and_errors(events, root=events.parent):
            waiting.append(row)
            if len(waiting) == 5000:
                refused += len(log.take(waiting, history=True).refused)
                waiting.clear()
        refused += len(log.take(waiting, history=True).refused)
        names = log.experiments()
        if experiment not in names:
            raise SynestheteError(
                f"{events.name} has no experiment {experiment!r}",
                hint=near(experiment, names) or f"it has {', '.join(names) or 'none'}",
            )
        # A file is of the past: the moment of looking is its last event, by the clock of its teller.
        kept = list(log.read(experiment=experiment))
        last = max(one.time for one in kept)
        found = compare(kept, experiment, metric, alpha=alpha, window=window, now=last, cap=cap)
        return found, refused
