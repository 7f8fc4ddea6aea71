"""Rates, experiments and histories from the events one by one: what the SQL of `catalog.aggregates` must agree with."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from scipy.stats import t as student

from synesthete.catalog.events import Logged
from synesthete.catalog.metrics import Duel, Experiment, Metric, Rates, Summary
from synesthete.catalog.metrics.estimates import NOTHING, Estimate, mean_of, share_of
from synesthete.catalog.metrics.experiment import Interleaved, credit, lift, split_evidence


@dataclass
class _Visitor:
    shown: set[tuple[str, str]] = field(default_factory=set)
    answers: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    value: float = 0.0


def summarize(events: Iterable[Logged], *, days: bool = True) -> Summary:
    """Rates of a log, in total and by day."""
    kept = list(events)
    shown = {_place(one) for one in kept if one.event.kind == "impression" and not one.unknown}
    left_out: Counter[str] = Counter()
    counted = []
    for one in kept:
        if one.unknown:
            left_out["unknown item"] += 1
        elif _place(one) not in shown:
            left_out["answer to what was not shown"] += 1
        else:
            counted.append(one)
    by_day: dict[str, list[Logged]] = defaultdict(list)
    day_of: dict[tuple[str, str, str], str] = {}
    for one in counted:
        if one.event.kind == "impression":
            day_of.setdefault(_place(one), one.time.date().isoformat())
    if days:
        for one in counted:
            by_day[day_of[_place(one)]].append(one)
    return Summary(
        _rates(counted),
        {day: _rates(some) for day, some in sorted(by_day.items())},
        dict(left_out),
        sum(one.skewed for one in kept),
    )


def compare(
    events: Iterable[Logged],
    experiment: str,
    metric: Metric = "conversion",
    *,
    alpha: float = 0.05,
    share_of_b: float = 0.5,
    window: timedelta = timedelta(hours=24),
    now: datetime | None = None,
    cap: float | None = None,
) -> Experiment:
    """Compare the two variants of an experiment."""
    mine = sorted(
        (one for one in events if one.event.experiment == experiment and not one.unknown),
        key=lambda one: (one.time, one.place),
    )
    now = now or max((one.received for one in mine), default=None)
    left_out: Counter[str] = Counter()
    first: dict[str, tuple[datetime, str]] = {}
    both: set[str] = set()
    for one in mine:
        who, variant = one.event.subject, one.event.variant
        if not who:
            left_out["events without a visitor's name"] += 1
        elif variant and who in first and first[who][1] != variant:
            both.add(who)
        elif variant and one.event.kind == "impression":
            first.setdefault(who, (one.time, variant))
    got: dict[str, float] = defaultdict(float)
    for one in mine:
        who = one.event.subject
        if who in first and timedelta(0) <= one.time - first[who][0] <= window:
            if metric == "value" and one.event.kind == "conversion":
                got[who] += max(one.event.value, 0.0)
            elif one.event.kind == metric:
                got[who] = 1.0
    results: dict[str, list[float]] = {"A": [], "B": []}
    counts = Counter(variant for who, (_, variant) in first.items() if who not in both)
    for who, (began, variant) in first.items():
        if who in both:
            left_out["visitors seen in both variants"] += 1
        elif now is not None and began + window > now:
            left_out["visitors still inside the attribution window"] += 1
        else:
            results[variant].append(
                min(got[who] / cap, 1.0) if cap and metric == "value" else got[who]
            )
    odd = split_evidence(counts["A"], counts["B"], share_of_b)
    return Experiment(
        name=experiment,
        metric=metric,
        lift=lift(results["A"], results["B"], alpha=alpha),
        split=odd,
        split_is_off=odd >= 1000,
        left_out=dict(left_out),
        cap=cap if metric == "value" else None,
    )


def duel(events: Iterable[Logged], experiment: str, *, alpha: float = 0.05) -> Duel:
    """Which of two rankers do clicks in interleaved lists speak for? Each list counts once, ties do not count."""
    teams: dict[str, dict[str, str]] = {}
    clicks: dict[str, set[str]] = defaultdict(set)
    for one in events:
        event = one.event
        if event.experiment != experiment or one.unknown or not event.list:
            continue
        if event.kind == "impression" and event.team:
            teams.setdefault(event.list, {})[event.item] = event.team
        elif event.kind == "click":
            clicks[event.list].add(event.item)
    won = []
    for name, items in teams.items():
        shown = Interleaved(list(items), list(items.values()))
        won.append(credit(shown, clicks[name]))
    decided = np.array([one for one in won if one], np.float64)
    return Duel(lift(decided < 0, decided > 0, alpha=alpha), len(decided), len(won) - len(decided))


def known_by(events: Iterable[Logged]) -> tuple[dict[str, int], int]:
    """How many visitors were shown each item, and how many visitors there are; for `novelty`."""
    seen: dict[str, set[str]] = defaultdict(set)
    for one in events:
        if one.event.kind == "impression" and not one.unknown:
            seen[one.event.item].add(_who(one))
    everyone = set().union(*seen.values()) if seen else set()
    return {item: len(people) for item, people in seen.items()}, len(everyone)


def histories(
    events: Iterable[Logged], kinds: Iterable[str] = ("click", "add", "conversion")
) -> Mapping[str, list[str]]:
    """Named visitor → the items they answered to, in order of time; for `leave_one_out`."""
    wanted = frozenset(kinds)
    found: dict[str, list[str]] = defaultdict(list)
    for one in sorted(events, key=lambda one: (one.time, one.place)):
        if one.event.kind in wanted and one.event.subject and not one.unknown:
            found[one.event.subject].append(one.event.item)
    return dict(found)


def _rates(events: list[Logged]) -> Rates:
    visitors: dict[str, _Visitor] = defaultdict(_Visitor)
    for one in events:
        visitor, place = visitors[_who(one)], _place(one)[1:]
        if one.event.kind == "impression":
            visitor.shown.add(place)
        else:
            visitor.answers[one.event.kind].add(place)
            if one.event.kind == "conversion":
                visitor.value += one.event.value
    trials = [len(one.shown) for one in visitors.values()]

    def rate(kind: str) -> Estimate:
        return _ratio([len(one.answers[kind]) for one in visitors.values()], trials)

    buyers = sum(bool(one.answers["conversion"]) for one in visitors.values())
    return Rates(
        visitors=len(visitors),
        impressions=sum(trials),
        click=rate("click"),
        add=rate("add"),
        conversion=rate("conversion"),
        dismissal=rate("dismissal"),
        buyers=share_of(buyers, len(visitors)),
        value=_mean([one.value for one in visitors.values()]) if visitors else NOTHING,
    )


def _mean(values: list[float]) -> Estimate:
    given = sorted(value for value in values if value)
    return mean_of(given, zeros=len(values) - len(given))


def _ratio(successes: list[int], trials: list[int]) -> Estimate:
    hits, tried = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    n = len(hits)
    if n == 0:
        return NOTHING
    value = float(hits.sum() / tried.sum())
    if (tried == 1).all() or (value in (0.0, 1.0) and n > 1):
        found = share_of(int(hits.sum()) if (tried == 1).all() else n * int(value), n)
        return Estimate(value, found.low, found.high, n)
    if n == 1:
        return Estimate(value, 0.0, 1.0, 1)
    spread = float(np.std(hits - value * tried, ddof=1)) / float(tried.mean()) / math.sqrt(n)
    half = float(student.ppf(0.975, n - 1)) * spread
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n)


def _who(one: Logged) -> str:
    return one.event.subject or f"list {one.event.list or one.place}"


def _place(one: Logged) -> tuple[str, str, str]:
    """What joins an answer to its impression; what has neither visitor nor list joins nothing."""
    alone = not (one.event.subject or one.event.list)
    return one.event.subject, f"#{one.place}" if alone else one.event.list, one.event.item
