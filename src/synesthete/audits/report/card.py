"""The section of a model card that an audit gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERDICT = {
    "pass": "within the limit",
    "fail": "beyond the limit",
    "undecided": "not decided by this many",
}
PERCENT = ("typographic.", "adversarial.", "bias.largest_harm_gap")


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
    told = dict(report["cost"])
    memory = told.pop("peak_memory_mib", None)
    seconds = sum(one["seconds"] for one in told.values())
    return f"{seconds:.0f} s" + ("" if memory is None else f", peak memory {memory:,} MiB")


def card_section(report: Mapping[str, Any]) -> str:
    """Markdown for a model card: what was measured, on what, and where the limits are."""
    model = report["model"]
    lines = [
        "## Audit",
        "",
        f"`{model['name']}` (weights {model['weights_sha256'][:12]}), by `synesthete audit {report['kind']}` "
        f"{report['made']['synesthete']}, seed {report['settings']['seed']}.",
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


def notes(report: Mapping[str, Any]) -> list[str]:
    """What must be known to read the numbers."""
    found = []
    typographic, bias = report.get("typographic"), report.get("bias")
    if typographic and "pictures" in typographic:
        pictures = typographic["pictures"]
        found.append(
            f"Written words: {pictures['n']} pictures ({pictures['source']}, {pictures['classes']} classes), of which "
            f"{typographic['excluded']['zero_shot']} were named wrong before anything was written on them and do not count."
        )
    if typographic and "photos" in typographic and not typographic["photos"]["to_word"]["n"]:
        found.append(
            "Labelled photos: no verdict, since none of the things was named right with an empty label."
        )
    if report.get("adversarial"):
        found.append(
            "Small changes: gradient attacks with full knowledge of the model; a stronger attack may find more."
        )
    if bias:
        found.append(
            "Associations: the largest of several is told, and the largest of several is large by chance too."
        )
        if not bias["pictures"]["of_people"]:
            found.append(
                "Pictures of people: drawn persons only, few, standing for nobody. They test the method, not how the model "
                "treats people: give labelled photos with --images."
            )
    if "openai" in str(report["model"].get("name", "")).lower():
        found.append(
            "OpenAI's model card puts any deployed use of CLIP out of scope, and surveillance and face recognition always."
        )
    return found
