"""A report: its verdicts, and one JSON of a documented schema with a page beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from synesthete._core.json_reader import InvalidJson, plain, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.atlas.files import write_together
from synesthete.audits.registry import AUDITS, METRICS, Measure, Report, details, headline
from synesthete.errors import SynestheteError, one_of

SCHEMA = "synesthete.audit"
VERSION = 2
JSON_NAME, HTML_NAME, CARD_NAME = "report.json", "report.html", "MODEL_CARD_SECTION.md"
Verdict = Literal["pass", "undecided", "fail"]
FAIL_ON = ("fail", "undecided")


def write_report(report: Mapping[str, Any], folder: str | Path) -> dict[str, Path]:
    """`report.json`, `report.html` and `MODEL_CARD_SECTION.md` in a folder, which is created.

    `report.json` comes last: where it is, the others are of the same report.

    Raises
    ------
    SynestheteError
        The folder is a file.
    """
    from synesthete.audits.report.page import card_section, report_page

    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise SynestheteError(f"{place} is a file; the report needs a folder")
    content = plain(report)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files = {HTML_NAME: report_page(content), CARD_NAME: card_section(content), JSON_NAME: text}
    write_together(place, {name: text.encode() for name, text in files.items()})
    return {"json": place / JSON_NAME, "html": place / HTML_NAME, "card": place / CARD_NAME}


def read_report(path: str | Path) -> dict[str, Any]:
    """A report of this version of the schema.

    Parameters
    ----------
    path
        The JSON file, or the folder it is in.

    Raises
    ------
    SynestheteError
        No such file, no JSON, no report, or one of another version.
    """
    place = Path(path)
    place = place / JSON_NAME if place.is_dir() else place
    try:
        report = read_json(place)
    except UnusableFile as error:
        raise SynestheteError(
            f"{place} cannot be read: {error.reason}",
            hint="synesthete audit all MODEL --out DIR writes DIR/report.json",
        ) from None
    except InvalidJson as error:
        raise SynestheteError(f"{place} is not valid JSON: {error.reason}") from None
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise SynestheteError(
            f"{place} is not an audit report", hint=f'a report says "schema": "{SCHEMA}"'
        )
    if report.get("version") != VERSION:
        raise SynestheteError(
            f"{place} is a report of version {report.get('version')!r} of the schema, and {VERSION} is read",
            hint="run the audit again with this version of synesthete",
        )
    missing = [key for key in ("kind", "model", "settings", "verdicts") if key not in report]
    if missing or not any(kind in report for kind in AUDITS):
        raise SynestheteError(f"{place} is damaged: it lacks {', '.join(missing or AUDITS)}")
    try:
        details(report)
        _check(report)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SynestheteError(
            f"{place} is damaged: {type(error).__name__} {error}", hint="run the audit again"
        ) from error
    return report


def _check(report: Mapping[str, Any]) -> None:
    """What every reader of reports takes for granted; raises what Python raises."""
    for key in ("model", "settings"):
        if not isinstance(report[key], dict):
            raise TypeError(f"{key} is not a table")
    for row in report["verdicts"]:
        if not (isinstance(row["verdict"], str) and isinstance(row["metric"], str)):
            raise TypeError("a verdict is not text")
    for kind in AUDITS:
        if not isinstance(report.get(kind, {}), dict):
            raise TypeError(f"{kind} is not a table")


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
    for given_limit in given:
        name, _, number = given_limit.partition("=")
        if name not in METRICS:
            raise SynestheteError(f"no such threshold {name!r}", hint=one_of(name, METRICS))
        try:
            limits[name] = float(number)
        except ValueError:
            raise SynestheteError(
                f"{given_limit!r} gives no number",
                hint=f"write for example {name}={METRICS[name].limit:g}",
            ) from None
        if limits[name] != limits[name]:
            raise SynestheteError(f"{given_limit!r} gives no number")
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
        raise SynestheteError(f"--fail-on {fail_on!r} is not known", hint=one_of(fail_on, FAIL_ON))
    bad = {"fail"} if fail_on == "fail" else {"fail", "undecided"}
    return any(row["verdict"] in bad for row in rows)
