"""Verdicts: a number and its interval against the limit that the user sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from synesthete.audits.report.measures import METRICS, Measure, Report, headline
from synesthete.errors import SynestheteError, near

Verdict = Literal["pass", "undecided", "fail"]
FAIL_ON = ("fail", "undecided")


def judge(measure: Measure, limit: float, better: str) -> Verdict:
    """`pass` or `fail` only where the whole interval lies on one side of the limit.

    Examples
    --------
    >>> [judge(Measure(0.2, 0.15, 0.26), limit, "low") for limit in (0.3, 0.2, 0.1)]
    ['pass', 'undecided', 'fail']
    >>> judge(Measure(0.2, 0.15, 0.26), 0.1, "high")
    'pass'
    """
    low, high = measure.low, measure.high
    if better == "high":
        low, high, limit = -high, -low, -limit
    if high <= limit:
        return "pass"
    return "fail" if low > limit else "undecided"


def parse_thresholds(given: Iterable[str]) -> dict[str, float]:
    """Limits as the command line has them: `typographic.success_rate=0.2`.

    Raises
    ------
    SynestheteError
        No such metric, no number.
    """
    limits = {}
    for one in given:
        name, _, told = one.partition("=")
        if name not in METRICS:
            hint = near(name, METRICS) or ", ".join(METRICS)
            raise SynestheteError(f"no such threshold {name!r}", hint=hint)
        try:
            limits[name] = float(told)
        except ValueError:
            raise SynestheteError(
                f"{one!r} gives no number", hint=f"write for example {name}={METRICS[name].limit:g}"
            ) from None
        if limits[name] != limits[name]:
            raise SynestheteError(f"{one!r} gives no number")
    return limits


def verdicts(report: Report, limits: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """One verdict for each metric that the report has.

    Parameters
    ----------
    limits
        Metric → limit; for others the default of `METRICS`.
    """
    rows = []
    for name, measure in headline(report).items():
        metric = METRICS[name]
        limit = (limits or {}).get(name, metric.limit)
        rows.append(
            {
                "metric": name,
                "title": metric.title,
                "value": measure.value,
                "interval": [measure.low, measure.high],
                "n": measure.n,
                "limit": limit,
                "better": metric.better,
                "verdict": judge(measure, limit, metric.better),
            }
        )
    return rows


def failed(rows: Iterable[Mapping[str, Any]], fail_on: str | None) -> bool:
    """Whether a verdict is as bad as `fail_on`, or worse.

    Raises
    ------
    SynestheteError
        Neither `fail` nor `undecided` nor nothing.
    """
    if fail_on is None:
        return False
    if fail_on not in FAIL_ON:
        raise SynestheteError(
            f"--fail-on {fail_on!r} is not known", hint=near(fail_on, FAIL_ON) or ", ".join(FAIL_ON)
        )
    bad = {"fail"} if fail_on == "fail" else {"fail", "undecided"}
    return any(row["verdict"] in bad for row in rows)
