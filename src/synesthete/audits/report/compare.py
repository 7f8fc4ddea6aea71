"""Two reports side by side: before and after a repair, or one model and another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from synesthete.audits.registry import AUDITS, METRICS, Measure, details
from synesthete.errors import SynestheteError


def change(before: Measure, after: Measure) -> tuple[float, float, float]:
    """After minus before, with a 95 % interval from the two intervals (Newcombe 1998, method 10; MOVER).

    It takes the two as independent. Of two audits of the same images it is therefore on the wide side.

    Examples
    --------
    >>> [round(v, 3) for v in change(Measure(0.5, 0.4, 0.6), Measure(0.2, 0.1, 0.3))]
    [-0.3, -0.441, -0.159]
    """
    rise = after.value - before.value
    low = rise - math.hypot(after.value - after.low, before.high - before.value)
    high = rise + math.hypot(after.high - after.value, before.value - before.low)
    return rise, low, high


def compare_reports(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Every number that both reports have.

    Returns
    -------
    dict
        `before`, `after` (the models), `differences`, what besides the model is different, so that numbers may not be
        comparable; and `rows`: `metric`, `before`, `after`, `change`, `interval` and `verdict`, which is `better`,
        `worse`, `changed` (for numbers of which neither side is better) or `no change shown` where the interval holds 0.

    Raises
    ------
    SynestheteError
        They have no number in common.
    """
    ours, theirs = details(before), details(after)
    rows = []
    for name in ours:
        if name in theirs:
            rows.append(_row(name, ours[name], theirs[name]))
    if not rows:
        raise SynestheteError(
            f"a report of {before['kind']} and one of {after['kind']} have no number in common",
            hint="compare two reports of the same kind",
        )
    return {
        "before": _model(before),
        "after": _model(after),
        "differences": _differences(before, after),
        "rows": rows,
    }


def _row(name: str, before: Measure, after: Measure) -> dict[str, Any]:
    rise, low, high = change(before, after)
    shown = not low <= 0 <= high
    better = METRICS[name].better if name in METRICS else _better(name)
    if not shown:
        verdict = "no change shown"
    elif better is None:
        verdict = "changed"
    else:
        verdict = "better" if (rise < 0) == (better == "low") else "worse"
    return {
        "metric": name,
        "title": METRICS[name].title if name in METRICS else name.partition(".")[2],
        "before": {"value": before.value, "interval": [before.low, before.high], "n": before.n},
        "after": {"value": after.value, "interval": [after.low, after.high], "n": after.n},
        "change": rise,
        "interval": [low, high],
        "verdict": verdict,
    }


def _better(name: str) -> str | None:
    if "clean_accuracy" in name or "right at" in name:
        return "high"
    return None if name.startswith("bias.") else "low"


def _model(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report["model"].get(key) for key in ("name", "weights_sha256")}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What the two audits did differently."""
    found = [
        f"{key}: {before['settings'].get(key)!r} and {after['settings'].get(key)!r}"
        for key in sorted({*before["settings"], *after["settings"]})
        if before["settings"].get(key) != after["settings"].get(key)
    ]
    for kind in (kind for kind, audit in AUDITS.items() if "images" in audit.settings):
        one, other = ((r.get(kind) or {}).get("images") for r in (before, after))
        if isinstance(one, dict) and isinstance(other, dict) and one != other:
            keys = [key for key in one if one[key] != other.get(key)]
            found.append(f"{kind} images differ in {', '.join(keys)}")
    if before["model"].get("weights_sha256") == after["model"].get("weights_sha256"):
        found.append("the models have the same weights")
    return found
