"""From the log of events to numbers: click, add-to-cart, conversion and dismissal rates, and experiments.

What is counted is in the log's own tables (`synesthete.catalog.aggregates`): nothing here reads the events one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

import numpy as np

from synesthete._core.arrays import Float64
from synesthete.catalog.aggregates import ALL_DAYS, ANSWERS, MOMENTS, NEVER
from synesthete.catalog.events import EventLog, microseconds
from synesthete.catalog.metrics.estimates import Estimate, mean_of, ratio_of_sums, share_of
from synesthete.catalog.metrics.experiment import Lift, lift, split_evidence
from synesthete.errors import SynestheteError, near

Metric = Literal["click", "add", "conversion", "dismissal", "value"]
METRICS: tuple[Metric, ...] = ("click", "add", "conversion", "dismissal", "value")
SPLIT_ALARM = 1000.0
BOTH = "visitors seen in both variants"
INSIDE = "visitors still inside the attribution window"
NAMELESS = "events without a visitor's name"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How visitors answered to what they were shown.

    Attributes
    ----------
    visitors, impressions
        Who and how much; an item shown twice in one list is shown once.
    click, add, conversion, dismissal
        Share of the impressions that were answered so, once each; intervals allow for visitors with many.
    buyers
        Share of the visitors with a conversion.
    value
        Mean value of conversions per visitor.
    """

    visitors: int
    impressions: int
    click: Estimate
    add: Estimate
    conversion: Estimate
    dismissal: Estimate
    buyers: Estimate
    value: Estimate


@dataclass(frozen=True)
class Summary:
    """A log in numbers.

    Attributes
    ----------
    total
        Of all events that count.
    days
        Day (UTC) → its rates.
    left_out
        Events that do not count: of items the catalogue lacks, and answers to what was not shown in a list.
    skewed
        Events counted at the time when they came, as the sender's clock could not be right.
    """

    total: Rates
    days: dict[str, Rates]
    left_out: dict[str, int]
    skewed: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def summarize(log: EventLog, *, days: bool = True) -> Summary:
    """Rates of a log, in total and by day.

    An impression is an item in a list; a click, add, conversion or dismissal counts for the impression of the same
    visitor, list and item, whichever of the two came first: send the same visitor and list with both. A visitor without
    a name is as many as their lists.
    """
    of_day = "" if days else f" WHERE day = {ALL_DAYS}"
    moments: dict[int, dict[str, int]] = {}
    values: dict[int, list[float]] = {}
    totals: dict[str, int] = {}
    with log.reading() as connection:
        if connection:
            query = f"SELECT day, {', '.join(MOMENTS)} FROM moments{of_day}"
            for day, *sums in connection.execute(query).fetchall():
                moments[day] = dict(zip(MOMENTS, sums, strict=True))
            query = (
                f"SELECT day, value FROM visits WHERE value <> 0{of_day.replace('WHERE', 'AND')}"
            )
            for day, value in connection.execute(query).fetchall():
                values.setdefault(day, []).append(value)
            totals.update(connection.execute("SELECT name, count FROM totals").fetchall())
    rates = {
        day: _rates(sums, np.sort(values.get(day, [])))
        for day, sums in sorted(moments.items())
        if sums["visitors"]
    }
    left_out = {
        "unknown item": totals.get("unknown", 0),
        "answer to what was not shown": totals.get("not shown", 0),
    }
    nothing = _rates(dict.fromkeys(MOMENTS, 0), np.array([]))
    return Summary(
        rates.pop(ALL_DAYS, nothing),
        {date.fromordinal(day + 1).isoformat(): found for day, found in rates.items()},
        {what: count for what, count in left_out.items() if count},
        totals.get("skewed", 0),
    )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an experiment showed.

    Attributes
    ----------
    name, metric
        Which experiment, and what counted.
    lift
        B against A, by visitors in the order in which they first saw the experiment.
    split
        E-value against the configured split; from 1,000 on there is a sample ratio mismatch (SRM), and the lift is invalid.
    split_is_off
        Whether there is a sample ratio mismatch.
    left_out
        Visitors that do not count: seen in both variants, or without a name; and those still inside the attribution window.
    cap
        For `value`, the highest value of a visitor that counts; results are shares of it.
    """

    name: str
    metric: str
    lift: Lift
    split: float
    split_is_off: bool
    left_out: dict[str, int]
    cap: float | None = None


def compare(
    log: EventLog,
    experiment: str,
    metric: Metric = "conversion",
    *,
    alpha: float = 0.05,
    share_of_b: float = 0.5,
    window: timedelta = timedelta(hours=24),
    now: datetime | None = None,
    cap: float | None = None,
) -> Experiment:
    """Compare the two variants of an experiment.

    A visitor belongs to the variant that they were first shown, from the first impression on. The result is whether
    they did what the metric counts within the attribution window after it, so that a visitor counts only when it is over:
    else early buyers would count before those who do not buy.

    Parameters
    ----------
    metric
        `click`, `add`, `conversion`, `dismissal`: at least one; `value`: of their conversions, up to `cap`.
    window
        The attribution window.
    now
        The moment of looking; without it that of the last event.
    cap
        Highest value of a visitor that counts; needed for `value`, chosen before looking.

    Raises
    ------
    SynestheteError
        Unknown metric, or `value` without cap.
    """
    if metric not in METRICS:
        raise SynestheteError(f"no such metric: {metric!r}", hint=near(metric, METRICS))
    if metric == "value" and not (cap and cap > 0):
        raise SynestheteError(
            "the metric value needs a cap above 0", hint="add --cap, chosen before looking"
        )
    width = min(window // timedelta(microseconds=1), NEVER - 1)
    counts = {"A": 0, "B": 0}
    results = {"A": np.array([]), "B": np.array([])}
    left_out = dict.fromkeys((BOTH, INSIDE, NAMELESS), 0)
    with log.reading() as connection:
        given: dict[str, Any] = {"name": experiment}
        query = "SELECT received, nameless FROM experiments WHERE name = :name"
        found = connection.execute(query, given).fetchone() if connection else None
        if connection and found:
            last, left_out[NAMELESS] = found
            until = now or (datetime.fromisoformat(last) if last else None)
            given["over"] = NEVER if until is None else microseconds(until) - width
            query = "SELECT COUNT(*) FROM exposed WHERE experiment = :name AND mixed = 1"
            (left_out[BOTH],) = connection.execute(query, given).fetchone()
            query = (
                "SELECT variant, COUNT(*), SUM(CASE WHEN time > :over THEN 1 ELSE 0 END)"
                " FROM exposed WHERE experiment = :name AND mixed = 0 GROUP BY variant"
            )
            for variant, seen, inside in connection.execute(query, given).fetchall():
                counts[variant] = seen
                left_out[INSIDE] += inside
            results = _results(connection, given, metric, width, cap)
    odd = split_evidence(counts["A"], counts["B"], share_of_b)
    return Experiment(
        name=experiment,
        metric=metric,
        lift=lift(results["A"], results["B"], alpha=alpha),
        split=odd,
        split_is_off=odd >= SPLIT_ALARM,
        left_out={what: count for what, count in left_out.items() if count},
        cap=cap if metric == "value" else None,
    )


@dataclass(frozen=True)
class Duel:
    """Two rankers in interleaved lists.

    Attributes
    ----------
    lift
        Per list that has a winner, whether B won (1) or A (as its pair): B - A is the preference for B, -1 to 1.
    lists, ties
        Lists with a winner, and those without (no click, or as many for each).
    """

    lift: Lift
    lists: int
    ties: int


def duel(log: EventLog, experiment: str, *, alpha: float = 0.05) -> Duel:
    """Which of two rankers do clicks in interleaved lists speak for? Each list counts once, ties do not count."""
    mine = (
        "FROM events WHERE experiment = :name AND experiment <> '' AND unknown = 0 AND list <> ''"
    )
    query = (
        # The ranker that last put an item into a list is the one that it is credited to.
        "WITH put AS (SELECT list, item, team, place, ROW_NUMBER() OVER (PARTITION BY list, item ORDER BY place DESC) AS number"
        f" {mine} AND kind = 'impression' AND team <> ''),"
        f" clicked AS (SELECT DISTINCT list, item {mine} AND kind = 'click')"
        " SELECT MIN(put.place), SUM(CASE WHEN number > 1 OR clicked.item IS NULL THEN 0"
        " WHEN team = 'B' THEN 1 ELSE -1 END) FROM put"
        " LEFT JOIN clicked ON clicked.list = put.list AND clicked.item = put.item"
        " GROUP BY put.list ORDER BY 1"
    )
    with log.reading() as connection:
        rows = connection.execute(query, {"name": experiment}).fetchall() if connection else []
    won = np.sign([credit for _, credit in rows])
    decided = won[won != 0]
    return Duel(lift(decided < 0, decided > 0, alpha=alpha), len(decided), len(won) - len(decided))


def known_by(log: EventLog) -> tuple[dict[str, int], int]:
    """How many visitors were shown each item, and how many visitors there are; for `novelty`."""
    shown = "SELECT item, COUNT(DISTINCT who) FROM shown WHERE day IS NOT NULL GROUP BY item"
    everyone = f"SELECT COUNT(*) FROM visits WHERE day = {ALL_DAYS}"
    with log.reading() as connection:
        if not connection:
            return {}, 0
        seen = dict(tuple(row) for row in connection.execute(shown).fetchall())
        return seen, connection.execute(everyone).fetchone()[0]


def histories(
    log: EventLog, kinds: Iterable[str] = ("click", "add", "conversion")
) -> Mapping[str, list[str]]:
    """Named visitor → the items they answered to, in order of time; for `leave_one_out`."""
    wanted = {f"kind{i}": kind for i, kind in enumerate(kinds)}
    query = (
        f"SELECT subject, item FROM events WHERE kind IN ({', '.join(f':{name}' for name in wanted)})"
        " AND subject <> '' AND unknown = 0 ORDER BY time, place"
    )
    found: dict[str, list[str]] = {}
    with log.reading() as connection:
        for subject, item in connection.execute(query, wanted) if connection else ():
            found.setdefault(subject, []).append(item)
    return found


def _rates(sums: Mapping[str, int], values: Float64) -> Rates:
    """Rates of a day's moments, and the values of those who bought."""
    visitors = sums["visitors"]

    def rate(kind: str) -> Estimate:
        name = ANSWERS[kind]
        return ratio_of_sums(
            visitors,
            hits=sums[name],
            trials=sums["shown"],
            hits_hits=sums[f"{name}_{name}"],
            hits_trials=sums[f"{name}_shown"],
            trials_trials=sums["shown_shown"],
        )

    return Rates(
        visitors=visitors,
        impressions=sums["shown"],
        click=rate("click"),
        add=rate("add"),
        conversion=rate("conversion"),
        dismissal=rate("dismissal"),
        buyers=share_of(sums["buyers"], visitors),
        value=mean_of(values, zeros=visitors - len(values)),
    )


def _results(
    connection: Any, given: Mapping[str, Any], metric: Metric, width: int, cap: float | None
) -> dict[str, Float64]:
    """Results of the visitors of each variant, in the order in which they first saw the experiment."""
    values = {**given, "width": width}
    result, spent = f"CASE WHEN {ANSWERS.get(metric)} <= :width THEN 1.0 ELSE 0.0 END", ""
    if metric == "value":
        result = "COALESCE(spent.value, 0)"
        spent = (
            " LEFT JOIN (SELECT x.subject AS subject, SUM(CASE WHEN e.value > 0 THEN e.value ELSE 0 END) AS value"
            " FROM events AS e JOIN exposed AS x ON x.experiment = e.experiment AND x.subject = e.subject"
            " WHERE e.kind = 'conversion' AND e.experiment = :name AND e.unknown = 0"
            " AND e.time >= x.time AND e.time - x.time <= :width GROUP BY x.subject) AS spent"
            " ON spent.subject = x.subject"
        )
    query = (
        f"SELECT variant, {result} FROM exposed AS x{spent}"
        " WHERE experiment = :name AND mixed = 0 AND time <= :over ORDER BY x.time, x.place"
    )
    rows = connection.execute(query, values).fetchall()
    variants = np.array([variant for variant, _ in rows], dtype="U1")
    found = np.array([result for _, result in rows], np.float64)
    if cap and metric == "value":
        found = np.minimum(found / cap, 1.0)
    return {variant: found[variants == variant] for variant in ("A", "B")}
