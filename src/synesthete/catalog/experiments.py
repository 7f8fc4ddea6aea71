"""The decision page of a pilot: one HTML file that opens anywhere, and says what to do, how sure that is, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from synesthete._core.row_reader import Row
from synesthete.catalog.evaluate import LabelledQuery, labelled_queries, naming
from synesthete.catalog.events import EventLog
from synesthete.catalog.metrics import (
    Estimate,
    Experiment,
    Lift,
    Metric,
    Need,
    compare,
    lift,
    measured,
    pairs_needed,
)
from synesthete.catalog.tables import rows_and_errors
from synesthete.errors import SynestheteError, near
from synesthete.report.charts import Rate, bounds_chart, rate_bars
from synesthete.report.svg import palette_css

if TYPE_CHECKING:
    from synesthete.catalog import Catalog

Decision = Literal["take B", "keep A", "more data", "no data"]

MOST_PAIRS = 1_000_000
FIRST = 8  # pairs: bounds of fewer span everything
QUERIES = ("queries.csv", "queries.jsonl")
EVENTS = ("events.csv", "events.jsonl")
LEAST_WORTH = 0.1


@dataclass(frozen=True)
class Variant:
    """One way to do it.

    Attributes
    ----------
    name
        What people call it.
    uses
        What a search uses of a query: `text`, `image` or `both`.
    where
        Filters of the search.
    """

    name: str
    uses: Literal["text", "image", "both"] = "both"
    where: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
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
    """A variant as the command line takes it: `NAME=text|image|both`, and filters after commas.

    Examples
    --------
    >>> variant_of("words only=text")
    Variant(name='words only', uses='text', where=())
    >>> variant_of("cheap=both,price<5").where
    ('price<5',)
    """
    name, equals, rest = text.partition("=")
    uses, *where = rest.split(",") if equals else ["both"]
    if uses not in ("text", "image", "both") or not name.strip():
        raise SynestheteError(
            f"{text!r} is not a valid variant",
            hint="write NAME=text, NAME=image or NAME=both, then filters: NAME=both,price<5",
        )
    return Variant(name.strip(), uses, tuple(one for one in where if one))  # type: ignore[arg-type]


def summary_line(pilot: Pilot) -> str:
    """The decision in one line."""
    return {
        "take B": f"Take {pilot.b.name}.",
        "keep A": f"Keep {pilot.a.name}.",
        "more data": "It is not decided: more data is needed.",
        "no data": "There is nothing to decide on yet.",
    }[pilot.decision]


def decide(offline: Offline | None, live: Experiment | None) -> tuple[Decision, tuple[str, ...]]:
    """Visitors decide before queries do; a sample ratio mismatch (SRM) invalidates the live trial."""
    because: list[str] = []
    decisions: list[Decision] = []
    if live is not None:
        because.append(_sentence("Live", live.lift))
        decisions.append(_decision(live.lift))
        if live.split_is_off:
            because.append("The live trial does not count: sample ratio mismatch (SRM).")
            decisions[0] = "more data"
    if offline is not None:
        because.append(_sentence("Offline", offline.ndcg))
        decisions.append(_decision(offline.ndcg))
    # Queries decide only where there is no visitor at all.
    decided = [one for one in decisions if one != "no data"]
    return decided[0] if decided else "no data", tuple(because)


def _decision(found: Lift) -> Decision:
    if found.difference.pairs == 0:
        return "no data"
    if found.verdict == "undecided":
        return "more data"
    return "take B" if found.verdict == "B is better" else "keep A"


def _sentence(what: str, found: Lift) -> str:
    if found.difference.pairs == 0:
        return f"{what}: nothing to compare yet."
    verdict = "the two cannot be distinguished yet"
    if found.verdict != "undecided":
        verdict = f"{found.verdict}, since {found.decided_after:,} pairs"
    return (
        f"{what}: A {found.a.value:.3f} (n = {found.a.n:,}), B {found.b.value:.3f} (n = {found.b.n:,}); B - A is "
        f"{found.difference.value:+.3f}, between {found.difference.low:+.3f} and {found.difference.high:+.3f} with "
        f"{1 - found.alpha:.0%} certainty at every look: {verdict}."
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
    rates = [min(max(base + effect, 0.0), 1.0) for effect in sorted(effects)]
    return tuple(
        pairs_needed(base, rate, alpha=alpha, most=MOST_PAIRS, trials=200, seed=seed)
        for rate in rates
        if not math.isclose(rate, base)
    )


def cautions_of(offline: Offline | None, live: Experiment | None, refused: int) -> tuple[str, ...]:
    """What should make one doubt, sentence by sentence."""
    cautions = []
    if live is not None and live.split_is_off:
        cautions.append(
            f"Sample ratio mismatch (SRM): the split is not the configured one (evidence {live.split:,.0f} to 1)."
        )
    if live is not None:
        cautions += [f"{count:,} {what} do not count." for what, count in live.left_out.items()]
    if refused:
        cautions.append(f"{refused:,} events could not be read and do not count.")
    if offline is not None and offline.skipped:
        cautions.append(f"{offline.skipped:,} queries lack what one of the variants needs.")
    if offline is not None and live is None:
        cautions.append(
            "Offline, a variant is judged by answers known beforehand: it says what is found, not what sells."
        )
    return tuple(cautions)


def decision_page(pilot: Pilot) -> str:
    """The page as HTML that loads nothing: one file that opens anywhere."""
    from synesthete import __version__

    parts = []
    if pilot.live is not None:
        text = (
            f"Visitors of the experiment “{pilot.live.name}”; what counts is: {pilot.live.metric}."
        )
        parts.append(_part("What visitors did", text, pilot.live.lift))
    if pilot.offline is not None:
        text = (
            f"{pilot.offline.queries:,} queries with known answers, searched by both; what counts is NDCG at "
            f"{pilot.offline.k} (1 where the right ones come first)."
        )
        parts.append(_part("What was found", text, pilot.offline.ndcg))
    loader = PackageLoader("synesthete.catalog")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("decision.html").render(
        p=pilot,
        parts=parts,
        palette=Markup(palette_css()),
        line=summary_line(pilot),
        version=__version__,
    )


def _part(title: str, text: str, lift: Lift) -> dict[str, Any]:
    rows: list[tuple[str, Estimate]] = [("A", lift.a), ("B", lift.b)]
    return {
        "title": title,
        "text": text,
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


def _span(low: float, high: float, shown: Callable[[float], str] = lambda one: _signed(one)) -> str:
    return f"{shown(low)} to {shown(high)}"


def _signed(value: float) -> str:
    return "–" if value != value else f"{value:+.4f}"


def _percent(value: float) -> str:
    if value != value:
        return "–"
    return "∞" if value == float("inf") else f"{100 * value:+.1f} %"


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
        With `queries.csv` (or `.jsonl`, as for `Catalog.evaluate`) for the
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
            f"{folder} is not a folder", hint="with queries.csv, events.csv, or both"
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
    undecided = decision in ("more data", "no data")
    return Pilot(
        a=a,
        b=b,
        question=question or f"Is “{b.name}” better than “{a.name}”?",
        least_worth=least_worth,
        offline=offline,
        live=live,
        decision=decision,
        because=because,
        needs=needs_of(offline, live, least_worth, alpha, seed) if undecided else (),
        cautions=cautions_of(offline, live, refused),
    )


def _offline(
    catalog: Catalog, queries: Path, a: Variant, b: Variant, *, k: int, alpha: float
) -> Offline:
    found: tuple[list[list[str]], list[list[str]]] = ([], [])
    truth: list[dict[str, int]] = []
    skipped = 0
    for query in labelled_queries(catalog.snapshot(), queries, root=queries.parent):
        with naming(query.row):
            rankings = [_ranking(catalog, query, variant, k) for variant in (a, b)]
        if any(ranked is None for ranked in rankings):
            skipped += 1
            continue
        truth.append(dict.fromkeys(query.relevant, 1))
        for some, ranked in zip(found, rankings, strict=True):
            some.append(ranked or [])
    if not truth:
        raise SynestheteError(
            f"{queries.name} has no query that both variants can answer",
            hint="queries with text and image",
        )
    quality = [measured(some, truth, [k]) for some in found]
    ndcg, recall = ([one[f"{name}@{k}"] for one in quality] for name in ("ndcg", "recall"))
    return Offline(
        k=k,
        ndcg=lift(*ndcg, alpha=alpha),
        recall=lift(*recall, alpha=alpha),
        queries=len(truth),
        skipped=skipped,
    )


def _ranking(catalog: Catalog, query: LabelledQuery, variant: Variant, k: int) -> list[str] | None:
    """Ids, best first; None where the query lacks what the variant searches with."""
    text = query.text if variant.uses in ("text", "both") else None
    image = query.image if variant.uses in ("image", "both") else None
    if (text is None and image is None) or (variant.uses == "both" and None in (text, image)):
        return None
    hits = catalog.search(text, image, where=variant.where, limit=k, group=False, reasons=0)
    return [hit.id for hit in hits]


def _live(
    events: Path,
    catalog: Catalog | None,
    experiment: str,
    metric: Metric,
    *,
    alpha: float,
    window: timedelta,
    cap: float | None,
) -> tuple[Experiment, int]:
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
        # A file is of the past: the moment of looking is its last event, by the clock of its sender.
        found = compare(
            log,
            experiment,
            metric,
            alpha=alpha,
            window=window,
            now=log.last_time(experiment),
            cap=cap,
        )
        return found, refused
