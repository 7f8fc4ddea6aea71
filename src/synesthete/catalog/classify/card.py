"""The model card of a classifier: what it was made of, how well it does, and what it must not be used for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FILE = "MODEL_CARD.md"
NOT_A_DEVICE = "Research use, not a medical device."


def card(facts: Mapping[str, Any]) -> str:
    """The model card as Markdown, from what `classifier.json` says."""
    seen, promise = facts["measured"], facts["promises"]
    lines = [f"# {facts['name']}: {', '.join(facts['labels'])}", ""]
    if facts["template"] == "health":
        lines += [
            f"**{NOT_A_DEVICE}** It was not tested in any clinical setting, is cleared by no authority, and must not decide "
            "on the diagnosis or the treatment of anyone.",
            "",
        ]
    lines += [
        f"A linear probe on picture and text as `{facts['model']['name']}` embeds them, calibrated by "
        f"{facts['calibration']}. It tells {len(facts['labels'])} labels apart and abstains where it is not sure enough; what "
        "it abstains from goes to people.",
        "",
        "## Records",
        "",
        f"{facts['records']['used']:,} records"
        + (f" of {facts['records']['groups']:,} groups" if facts["records"]["groups"] else "")
        + f": {facts['records']['fit']:,} for the weights, {facts['records']['hold']:,} for the promises, "
        f"{facts['records']['test']:,} for the numbers below. {facts['records']['aside']:,} could not be used, "
        f"{facts['records']['corrected']:,} labels are people's corrections.",
        "",
        "| label | records |",
        "| --- | ---: |",
        *[f"| {_cell(label)} | {count:,} |" for label, count in facts["records"]["labels"].items()],
        "",
        "Columns not read: " + (", ".join(map(_cell, facts["records"]["ignored"])) or "none") + ". "
        "Texts, pictures and ids of records are not in this folder.",
        "",
        "## Numbers",
        "",
        "On records that took no part in making it:",
        "",
        "| | value | 95 % interval | n |",
        "| --- | ---: | --- | ---: |",
        _line("accuracy", seen["accuracy"]),
        f"| the most frequent label | {_percent(seen['majority'])} | | |",
        *[_line(f"control: {name}", one) for name, one in facts["controls"].items()],
        _line(
            f"sets that hold the right label (promised {_percent(promise['coverage'])})",
            seen["coverage"],
        ),
        *[_line(f"… of {_cell(label)}", one) for label, one in seen["label_coverage"].items()],
        _line("labels in a set", seen["set_size"], share=False),
        _line("decided by itself", seen["decided"]),
        _line(f"wrong among those (accepted {_percent(promise['risk'])})", seen["risk"]),
        _line("log loss", seen["log_loss"], share=False),
        f"| calibration error, before and after | {_percent(seen['raw_calibration_error'])}, "
        f"{_percent(seen['calibration_error'])} | | {seen['accuracy']['n']:,} |",
        "",
        "## Promises, and what they rest on",
        "",
        f"- **Sets** hold the right label for {_percent(promise['coverage'])} of the records, over all labels together, if new "
        "records come from where these came from. Label by label it can be less; the table says how much.",
        f"- **Triage**: of what it decides by itself, at most {_percent(promise['risk'])} is wrong, with 95 % certainty, under "
        "the same condition. "
        + (
            f"It decides from a confidence of {promise['threshold']:.3f} on."
            if promise["threshold"] is not None
            else "No confidence was high enough to promise that, so it decides nothing by itself."
        ),
        "- Neither holds for other cameras, other writers or another mix of labels. Measure again there.",
        "",
        "## Made by",
        "",
        f"synesthete {facts['versions']['synesthete']}, model weights `{facts['model']['weights_sha256'][:12]}`, seed "
        f"{facts['seed']}, ridge penalty C = {facts['penalty']:g}.",
        "",
    ]
    return "\n".join(lines)


def _line(name: str, one: Mapping[str, Any], *, share: bool = True) -> str:
    told = _percent if share else _number
    return f"| {name} | {told(one['value'])} | {told(one['low'])} to {told(one['high'])} | {one['n']:,} |"


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
